"""Trained weights that come with distax, by name; beside each file lies its model card."""

import hashlib
from pathlib import Path

from distax.imaging.sensor import Sensor
from distax.models import Model
from distax.runtime.errors import DistaxError, unknown
from distax.weights.storage import export, read, write

__all__ = ["export", "load", "names", "read", "write"]

_SHA256 = {
    "cfgn": "52f2f6f4e8f8fbf2528a9e79447ba6a258eaebb24076c1fc315f3c2a5d18b0c5",
    "density": "5aa97f42fa8132c189e180e9f060bb5b43402f5c021fddc1e981011fc23c09d7",
    "dista": "0bbcb96ec069b49f3973cd056d6a0b5769c29a6c55a6afb634d289e26930bf1c",
}


def names() -> list[str]:
    """Names of the weights that come with distax."""
    return sorted(_SHA256)


def load(name: str) -> tuple[Model, Sensor]:
    """A trained model, and the sensor whose images it was trained on.

    Raises:
      DistaxError: an unknown name (the message lists the known ones), or a file that is not the
        one distax was released with.
    """
    if name not in _SHA256:
        raise unknown("weights", name, _SHA256)
    path = Path(__file__).with_name(f"{name}.safetensors")
    if not path.is_file() or hashlib.sha256(path.read_bytes()).hexdigest() != _SHA256[name]:
        raise DistaxError(f"{path}: missing, incomplete or changed; install distax again")
    model, config = read(path)
    return model, config.sensor
