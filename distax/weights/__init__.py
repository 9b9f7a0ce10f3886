"""Trained weights that come with distax, by name. A model card (.md) lies beside each file."""

import hashlib
from pathlib import Path

from etils import epath

from distax.imaging.sensor import Sensor
from distax.models import Model
from distax.runtime.buckets import as_path
from distax.runtime.errors import DistaxError, unknown
from distax.training import checkpoints
from distax.training.config import TrainConfig
from distax.weights.starting import matching_parameters
from distax.weights.storage import export, read, write

__all__ = ["export", "find", "load", "matching_parameters", "names", "read", "write"]

_SHA256 = {
    "cfgn": "ed3f168997d99d91de6036b15194e7bb984deb78330b7eae62e5d00b356093d4",
    "cfgn_offset": "31e523a1f8f95cd5bf55fb50d73f141a0d0e6a72d6c92ce0106eac415fdf5cc4",
    "density": "558aaef0290c2978aa366c5a8c1591cab9bd34a319c2117a3c89e37a51572084",
    "dista": "0263189b6d43983b3eb153d70f7de370fd3ae2772f5906574654de03e4930580",
    "dista_offset": "dea42025826da3c3c1d6211d56f5ddf5a6138340c70db8b2d305ae34da63035d",
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
    model, config = _load(name)
    return model, config.sensor


def find(name: epath.PathLike) -> tuple[Model, TrainConfig]:
    """Loads a trained model and its configuration, by a name or from where it is stored.

    Args:
      name: a name that `names` lists, a safetensors file of distax, or the folder of a training
        run, whose best model is loaded.

    Raises:
      DistaxError: there is no such file or folder, or it cannot be read.
    """
    if str(name) in _SHA256:
        return _load(str(name))
    path = as_path(name)
    if path == Path(path.name) and not path.exists():
        raise DistaxError(
            f"{unknown('weights', str(name), _SHA256)}; or give a training run's folder or a "
            ".safetensors file"
        )
    return read(path) if path.suffix == ".safetensors" else checkpoints.load_model(path)


def _load(name: str) -> tuple[Model, TrainConfig]:
    if name not in _SHA256:
        raise unknown("weights", name, _SHA256)
    path = Path(__file__).with_name(f"{name}.safetensors")
    if not path.is_file() or hashlib.sha256(path.read_bytes()).hexdigest() != _SHA256[name]:
        raise DistaxError(f"{path}: missing, incomplete or changed; install distax again")
    return read(path)
