"""Descriptions of the inputs and the outputs of an exported method, stored in its file."""

from typing import Any

import jax

from distax.export.numbers import MEANING
from distax.imaging.targets import CREDIBLE_LEVELS
from distax.metrics import RADII

# Unit and meaning of every array. `Targets` documents those of targets in full.
_MEANING = {
    "images": ("counts", "raw images"),
    "grid": ("counts", "intensity on the sub-pixel grid"),
    "position": ("px", "row and column; (0, 0) is the centre of the first pixel"),
    "intensity": ("counts", "total flux"),
    "mask": ("", "false where a slot holds no target"),
    "score": ("", "value that targets are ranked by"),
    "covariance": ("px²", "covariance of the position"),
    "intensity_std": ("counts", "standard deviation of the intensity"),
    "hit_probability": ("", f"probability that the target lies within {RADII} px"),
    "credible_radius": (
        "px",
        f"radius within which the target lies with probability {CREDIBLE_LEVELS}",
    ),
    "count_probability": ("", "probability that the image has the reported number of targets"),
    "misfit": ("", "residual in units of noise and rounding; about 1 where the model holds"),
    "trusted": ("", "false where the answer should not be relied upon"),
    **MEANING,
}


def described(arrays: dict[str, jax.core.ShapedArray]) -> dict[str, dict[str, Any]]:
    """Describes arrays by name: shape, type, unit and meaning.

    "batch" in a shape is the number of images, or of sequences.
    """
    return {
        name: {
            "shape": [size if isinstance(size, int) else str(size) for size in array.shape],
            "dtype": array.dtype.name,
            "unit": _MEANING[name][0],
            "meaning": _MEANING[name][1],
        }
        for name, array in arrays.items()
    }
