"""Storage of a model as one safetensors file: arrays by name, configuration as metadata."""

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import jax.numpy as jnp
import numpy as np
from etils import epath
from flax import nnx

from distax.models import Model
from distax.runtime.checksums import (
    check_arrays_intact,
    check_finite_arrays,
    check_version,
    checksum_of_settings,
    checksums,
)
from distax.runtime.errors import DistaxError
from distax.runtime.files import atomic_write, local_copy
from distax.runtime.plain_json import format_json, parse_json, parse_table
from distax.runtime.pytree import named_leaves, with_leaves
from distax.training.building import stored_model
from distax.training.checkpoints import check_arrays, load_model
from distax.training.config import TrainConfig
from distax.training.foreign import read_foreign

_ABOUT = "distax"
"""Name of the description in the metadata."""
_CHECKSUMS = "checksum", "checksums"
_VERSION = 1
"""Version of the files. A change that earlier releases cannot read adds one."""


def export(run: epath.PathLike, path: Path, half: bool = False) -> None:
    """Writes the best model of a training run to a safetensors file.

    Args:
      run: the run's folder, which can be in a bucket.
      path: the file.
      half: as for `write`.

    Raises:
      DistaxError: as `training.checkpoints.load_model`, or the file cannot be written.
    """
    write(*load_model(run), path, half)


def write(model: Model, config: TrainConfig, path: Path, half: bool = False) -> None:
    """Writes a model to a safetensors file by an atomic write.

    Args:
      model: the model.
      config: the configuration of a run with this model, sensor and prior; `read` makes the model
        from it.
      path: the file.
      half: True to store floating-point arrays as float16. It halves the file, and changes a value
        by less than a thousandth of it or less than 1e-7.

    Raises:
      DistaxError: the file cannot be written, or a number is beyond half precision.
    """
    from safetensors.numpy import save

    arrays = {
        name: _to_stored(name, leaf, half) for name, leaf in named_leaves(nnx.state(model)).items()
    }
    # Readers would not run the Python file of a model, and its path is that of the writer.
    shipped = replace(config, model=replace(config.model, module=None))
    check_finite_arrays(str(path), arrays)
    settings = {"version": _VERSION, "config": shipped.to_dict()}
    about = {**settings, "checksum": checksum_of_settings(settings), "checksums": checksums(arrays)}
    # All under one name, as safetensors writes names in any order.
    content = save(arrays, metadata={_ABOUT: format_json(path, about)})
    with atomic_write(path) as unfinished:
        unfinished.write_bytes(content)


def _to_stored(name: str, leaf: Any, half: bool) -> np.ndarray:
    """Converts an array to the type in which the file stores it."""
    array = np.asarray(leaf)
    if not (half and np.issubdtype(array.dtype, np.floating)):
        return array
    if np.abs(array[np.isfinite(array)]).max(initial=0) > np.finfo(np.float16).max:
        raise DistaxError(f"array {name} has numbers beyond half precision; store it in full")
    return array.astype(np.float16)


def read(path: Path) -> tuple[Model, TrainConfig]:
    """Reads the model and its configuration from a file that `write` wrote.

    Raises:
      DistaxError: there is no such file, it is damaged, its arrays do not fit the model that its
        configuration names, or that model is not registered. The Python file that it names is not
        imported.
    """
    config, arrays = _read_file(path)
    check_finite_arrays(str(path), arrays)
    model = stored_model(config, [array.shape for array in arrays.values()], str(path))
    state = nnx.state(model)
    check_arrays(str(path), {name: list(array.shape) for name, array in arrays.items()}, state)
    wanted = named_leaves(state)
    _check_types(path, arrays, wanted)
    restored = with_leaves(
        state, {name: _restored(path, name, array, wanted[name]) for name, array in arrays.items()}
    )
    return nnx.merge(nnx.graphdef(model), restored), config


def _check_types(path: Path, arrays: dict[str, Any], wanted: Mapping[str, Any]) -> None:
    """Raises DistaxError for integers in place of floats: checksums cover bytes, not types."""
    for name, array in arrays.items():
        if array.dtype.kind != np.dtype(wanted[name].dtype).kind:
            raise DistaxError(
                f"{path}: array {name} holds {array.dtype}, but the model has "
                f"{wanted[name].dtype}; the file is damaged, use another copy"
            )


def _restored(path: Path, name: str, array: Any, wanted: Any) -> jnp.ndarray:
    """Converts a stored array to the type that the model has.

    Raises:
      DistaxError: a number is beyond the range of that type.
    """
    with np.errstate(over="ignore"):
        converted = np.asarray(array).astype(wanted.dtype)
    if not np.isfinite(converted).all():
        raise DistaxError(
            f"{path}: array {name} has numbers beyond the range of {wanted.dtype}, in which the "
            "model computes; the file is damaged, use another copy"
        )
    return jnp.asarray(converted)


def _read_file(path: Path) -> tuple[TrainConfig, dict[str, Any]]:
    from safetensors import SafetensorError, safe_open

    try:
        with local_copy(path) as local, safe_open(local, framework="numpy") as file:
            about = _parse(file.metadata() or {})
            arrays = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
        config = about["config"]
    except OSError as error:
        raise DistaxError(f"{path}: cannot be read ({error.strerror or error})") from error
    except (SafetensorError, KeyError, ValueError) as error:
        raise DistaxError(f"{path}: not a whole file of distax weights ({error})") from error
    _check_intact(path, about, arrays)
    return read_foreign(config, str(path)), arrays


def _parse(metadata: dict[str, str]) -> dict[str, Any]:
    """Parses what is stored beside the arrays; files of the first releases hold "config" alone."""
    if _ABOUT not in metadata:
        return {"config": parse_json(metadata["config"])}
    return parse_table(metadata[_ABOUT])


def _check_intact(path: Path, about: dict[str, Any], arrays: dict[str, Any]) -> None:
    """Compares a file's contents with their checksums; files of the first releases have none."""
    version, stored = about.get("version", _VERSION), about.get("checksums")
    check_version(path, "weights", version, _VERSION)
    settings = {key: value for key, value in about.items() if key not in _CHECKSUMS}
    checksum = checksum_of_settings(settings)
    if about.get("checksum", checksum) != checksum or not isinstance(stored or {}, dict):
        raise DistaxError(
            f"{path}: its settings differ from their checksum, so it is damaged; use another copy"
        )
    check_arrays_intact(str(path), stored, arrays)
