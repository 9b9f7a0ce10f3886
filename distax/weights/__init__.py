"""Trained weights that come with distax, by name. A model card (.md) lies beside each file."""

import hashlib
from pathlib import Path

from distax.imaging.sensor import Sensor
from distax.models import Model
from distax.runtime.errors import DistaxError, unknown
from distax.weights.storage import export, read, write

__all__ = ["export", "load", "names", "read", "write"]

_SHA256 = {
    "cfgn": "9c9474fa1a544a6a832b4e81c3b943cb47517dbd45bd7c6464e4db427cda6ff9",
    "density": "712e41c6085789af3cc3e725aeacdcdd7da4576ab8079550462df646ae732d6d",
    "dista": "95e5899429bc8476051a6646f48644c812cedeac10c029833acf91e154d7ac03",
}


def names() -> list[str]:
    """Lists the names of the weights that come with distax."""
    return sorted(_SHA256)


def load(name: str) -> tuple[Model, Sensor]:
    """Loads a trained model and the sensor that its training images were simulated with.

    Raises:
      DistaxError: the name is unknown (the message lists the known ones), or the file's checksum is
        not that of the release.
    """
    if name not in _SHA256:
        raise unknown("weights", name, _SHA256)
    path = Path(__file__).with_name(f"{name}.safetensors")
    if not path.is_file() or hashlib.sha256(path.read_bytes()).hexdigest() != _SHA256[name]:
        raise DistaxError(f"{path}: missing, incomplete or changed; install distax again")
    model, config = read(path)
    return model, config.sensor
