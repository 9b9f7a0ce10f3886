"""What every grid model offers."""

from abc import abstractmethod

import jax.numpy as jnp
from flax import nnx
from jaxtyping import Array, Float


class Constant(nnx.Variable):
    """An array a model is built around and never trains, saved with its parameters."""


class GridModel(nnx.Module):
    """A network from images to intensity on the sub-pixel grid.

    Subclasses define `__call__`, and `loss` where their training objective is more than the mean
    square. Every array they hold is an `nnx.Param` (trained) or a `Constant` (not).
    """

    @abstractmethod
    def __call__(
        self, images: Float[Array, "B height width"]
    ) -> Float[Array, "B fine_height fine_width"]:
        """Intensity in counts on the sub-pixel grid, from raw images in counts."""

    def loss(
        self,
        images: Float[Array, "B height width"],
        grids: Float[Array, "B fine_height fine_width"],
    ) -> Float[Array, ""]:
        """Training objective for images and their true grids: the mean square error."""
        return jnp.mean((self(images) - grids) ** 2)
