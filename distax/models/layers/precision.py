"""Precision of maps: float32, or bfloat16 for less memory and more speed on accelerators.

Parameters, the physics (Φ, Q and gradient steps), grids and objectives are float32 in both. A layer
that takes maps in rounds them to the model's precision, and the layers after it compute in the
precision of their input.
"""

from typing import Literal, get_args

import jax.numpy as jnp
from flax import nnx
from jaxtyping import Array, Float

from distax.runtime.errors import unknown

Precision = Literal["float32", "bfloat16"]


class MapLayer(nnx.Module):
    """Layer that takes maps into the model's precision.

    Attributes:
      precision: the precision of its maps; `set_precision` changes it.
    """

    precision: str = "float32"

    def enter(self, maps: Float[Array, "*shape"]) -> Float[Array, "*shape"]:
        """Rounds maps to the precision; float32 leaves maps as they are, also in float64."""
        return maps if self.precision == "float32" else maps.astype(jnp.dtype(self.precision))


def set_precision(model: nnx.Module, precision: str) -> bool:
    """Sets the precision of a model's maps.

    Returns:
      False if the model has no layers whose precision can be set.

    Raises:
      DistaxError: unknown precision.
    """
    if precision not in get_args(Precision):
        raise unknown("precision", precision, get_args(Precision))
    layers = [module for _, module in nnx.iter_modules(model) if isinstance(module, MapLayer)]
    for layer in layers:
        layer.precision = precision
    return bool(layers)
