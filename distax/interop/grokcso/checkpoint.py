"""Reading of the original toolkit's checkpoints and matrices."""

import pickle
import zipfile
from collections.abc import Iterator, Mapping, Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np

from distax.io.apart import decode_apart
from distax.io.arrays import parse_npy
from distax.io.faults import translated
from distax.runtime.archive import most_unpacked
from distax.runtime.errors import DistaxError, first_line, shown
from distax.runtime.files import local_copy
from distax.runtime.optional import require

_MOST_BYTES, _MOST_OF_ARRAY = 2**30, 2**27
"""Largest size of all arrays of a model and of one of them. The largest models have about 10⁸
numbers, and the largest arrays a few 10⁶. A damaged file may promise more memory than there is."""
_MATLAB_DECODER = Path(__file__).with_name("matlab_decoding.py")


def read_checkpoint(path: Path) -> dict[str, np.ndarray]:
    """Reads the arrays of a PyTorch or mmengine checkpoint by their original names.

    No code in the file is executed.

    Args:
      path: a `.pth` file of the arrays, alone or under the key "state_dict".

    Raises:
      DistaxError: PyTorch is not installed, or the file is missing, damaged, holds pickled code or
        holds no arrays.
    """
    require(
        "torch",
        f"{path}: PyTorch checkpoints",
        otherwise="save the arrays as an .npz file of their original names",
    )
    import torch

    if not path.is_file():
        raise DistaxError(f"{path}: no such file")
    try:
        with local_copy(path) as local:
            content: Any = torch.load(local, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError as error:
        raise DistaxError(_describe_refusal(path, str(error))) from error
    except (RuntimeError, EOFError, OSError, ValueError, KeyError, zipfile.BadZipFile) as error:
        raise DistaxError(
            f"{path}: not a whole PyTorch checkpoint ({first_line(error)})"
        ) from error
    arrays = content.get("state_dict", content) if isinstance(content, Mapping) else {}
    found = {
        str(name): value.detach().to(torch.float32).numpy()
        for name, value in arrays.items()
        if isinstance(value, torch.Tensor) and not str(name).endswith("num_batches_tracked")
    }
    if not found:
        raise DistaxError(f"{path}: holds no arrays by name; give a checkpoint of a model")
    return found


def _describe_refusal(path: Path, reason: str) -> str:
    # PyTorch names the code that it refuses after the word "GLOBAL". Errors of damaged files do not
    # have that word.
    words = reason.replace("`", " ").split()
    if "GLOBAL" not in words:
        return f"{path}: not a whole PyTorch checkpoint"
    code = words[words.index("GLOBAL") + 1]
    return (
        f"{path}: refused: it holds pickled code ({code}), which would run while loading; if "
        "you trust it, save its weights alone: "
        'torch.save({"state_dict": checkpoint["state_dict"]}, path)'
    )


def read_arrays(path: Path) -> dict[str, np.ndarray]:
    """Reads arrays by their original names from a PyTorch checkpoint or an NPZ file, as float32.

    Raises:
      DistaxError: as for `read_checkpoint`, or the NPZ file cannot be read, holds a name twice,
        or unpacks to more than any model's arrays.
    """
    if path.suffix != ".npz":
        return read_checkpoint(path)
    if not path.is_file():
        raise DistaxError(f"{path}: no such file")
    with translated(path, "NPZ"), local_copy(path) as local, zipfile.ZipFile(local) as file:
        _check_members(path, file.infolist(), local.stat().st_size)
        return {
            info.filename.removesuffix(".npy"): _narrow(parse_npy(file.read(info), path))
            for info in file.infolist()
        }


def _check_members(path: Path, members: Sequence[zipfile.ZipInfo], stored: int) -> None:
    """Raises DistaxError for arrays of one name, or larger ones than a model can have."""
    names = sorted(member.filename.removesuffix(".npy") for member in members)
    if twice := [name for name, following in pairwise(names) if name == following]:
        raise DistaxError(f"{path}: holds two arrays {shown(twice[0])}; save each array once")
    size = sum(member.file_size for member in members)
    largest = max((member.file_size for member in members), default=0)
    if size > min(_MOST_BYTES, most_unpacked(stored)) or largest > _MOST_OF_ARRAY:
        raise DistaxError(
            f"{path}: unpacks to {size:,} bytes, {largest:,} of them in one array, more than any "
            "model's weights; give the weights of one model"
        )


def read_matrix(path: Path) -> np.ndarray:
    """Reads a sampling matrix or an initial estimator from an NPY or MATLAB file, as float32.

    Raises:
      DistaxError: the file cannot be read, or does not hold one matrix of real numbers.
    """
    if not path.is_file():
        raise DistaxError(f"{path}: no such file")
    with translated(path, "NPY or MATLAB"), local_copy(path) as local:
        found = _read_arrays(local)
    if len(found) != 1 or np.ndim(found[0]) != 2:
        raise DistaxError(f"{path}: holds no single matrix; give a file with one matrix")
    if found[0].dtype.kind not in "uifb":
        raise DistaxError(f"{path}: holds {found[0].dtype}, not numbers; save it as numbers")
    return _narrow(found[0])


def _narrow(array: np.ndarray) -> np.ndarray:
    """Converts numbers to float32. Those beyond it become infinite, as PyTorch converts them."""
    with np.errstate(over="ignore"):
        return array.astype(np.float32)


def _read_arrays(path: Path) -> list[np.ndarray]:
    """Reads the arrays of an NPY or MATLAB file on disk."""
    if path.suffix == ".npy":
        return [parse_npy(path.read_bytes(), path)]
    return decode_apart(_MATLAB_DECODER, str(path))


def candidate_prefixes(arrays: Mapping[str, np.ndarray]) -> Iterator[str]:
    """Yields the prefixes that wrappers may have put before all names, the empty one first."""
    yield ""
    first = min(arrays, default="")
    for end in (position + 1 for position, letter in enumerate(first) if letter == "."):
        if all(name.startswith(first[:end]) for name in arrays):
            yield first[:end]
