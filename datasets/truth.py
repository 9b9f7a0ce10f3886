"""The true targets in a dataset's records, which somebody else may have written."""

import numpy as np
from jaxtyping import Bool

from distax.datasets.annotated import SMALLEST
from distax.datasets.storage import Record
from distax.imaging.checks import LARGEST_COUNT
from distax.imaging.scenes import IMAGE_SHAPE
from distax.imaging.targets import Targets
from distax.runtime.errors import DistaxError


def read_truth(record: Record) -> Targets:
    """Returns the targets of a record, or of records stacked along leading axes.

    Args:
      record: positions `[*batch, ..., K, 2]` and intensities `[*batch, ..., K]` in K slots, and the
        number of targets and the id `[*batch]`.

    Returns:
      Targets `[*batch, ..., K]` of NumPy arrays with the intensity as score.

    Raises:
      DistaxError: a record has no number of targets, or another one than 1 to K; a target outside
        its image; or an intensity that is not positive or exceeds 1e15 counts. NaN and infinite
        numbers are refused too.
    """
    position = np.asarray(record["position"], np.float32)
    intensity = np.asarray(record["intensity"], np.float32)
    count, slots = np.asarray(record["count"]), intensity.shape[-1]
    if count.dtype.kind not in "iu":
        raise DistaxError("records have no number of targets: build the dataset again")
    _refuse(record, (count < 1) | (count > slots), f"has not 1 to {slots} targets")
    each = count.reshape(count.shape + (1,) * (intensity.ndim - count.ndim))
    mask = np.broadcast_to(np.arange(slots) < each, intensity.shape)
    inside = (position >= -0.5) & (position <= np.array(IMAGE_SHAPE) - 0.5)
    _refuse(record, mask & ~inside.all(axis=-1), "has a target outside its image")
    bright = (intensity >= SMALLEST) & (intensity <= LARGEST_COUNT)
    _refuse(record, mask & ~bright, f"has an intensity that is not between 0 and {LARGEST_COUNT:g}")
    return Targets(position=position, intensity=intensity, mask=mask, score=intensity)


def _refuse(record: Record, wrong: np.bool | Bool[np.ndarray, "..."], problem: str) -> None:
    """Raises DistaxError for the first record that is wrong."""
    identifier = np.asarray(record["id"])
    found = np.any(wrong, axis=tuple(range(identifier.ndim, wrong.ndim)))
    if found.any():
        first = identifier[found].flat[0]
        raise DistaxError(f"the record of id {first} {problem}: build the dataset again")
