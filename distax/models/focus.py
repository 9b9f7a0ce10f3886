"""FOCUS: coarse-to-fine unmixing of closely-spaced infrared targets (preprint)."""

import jax
import jax.numpy as jnp
from flax import nnx
from jaxtyping import Array, Float

from distax.imaging.sensor import Sensor
from distax.models.base import GridModel
from distax.models.layers.basic import Conv, Maps, PRelu
from distax.models.layers.resampling import pixel_shuffle
from distax.models.registry import register
from distax.runtime.errors import check_not_negative


class Unit(nnx.Module):
    """Network that multiplies an intensity by a mask in 0..1, on a grid `factor` times finer."""

    def __init__(self, factor: int, *, rngs: nnx.Rngs):
        self.factor = factor
        self.wide = Conv(1, 64, 5, rngs=rngs)
        self.narrow = Conv(64, 32, rngs=rngs)
        self.intensity = Conv(32, factor**2, rngs=rngs)
        self.mask = Conv(32, factor**2, rngs=rngs)

    def __call__(self, maps: Maps) -> Float[Array, "B fine_height fine_width 1"]:
        maps = jax.nn.relu(self.narrow(jax.nn.relu(self.wide(maps))))
        masked = self.intensity(maps) * jax.nn.sigmoid(self.mask(maps))
        return pixel_shuffle(masked, self.factor)


@register("focus")
class Focus(GridModel):
    """FOCUS: coarse-to-fine unmixing of closely-spaced infrared targets (preprint).

    One unit estimates a map on the sub-pixel grid. A second unit of the same form corrects it. The
    original adds white noise of at most 0.05 counts to its training images, which is left out here.

    Args:
      factor: grid nodes per pixel along each axis, odd.
      energy_weight: weight in the training objective of the error of each image's total counts.
      sparsity_weight: weight in the training objective of the mean magnitude of the grids.
      sensor: the sensor whose images the model takes.
      rngs: keys for the initial parameters.

    Raises:
      DistaxError: the factor is even, or a weight is negative.
    """

    def __init__(
        self,
        *,
        factor: int = 3,
        energy_weight: float = 0.1,
        sparsity_weight: float = 0.01,
        sensor: Sensor = Sensor(),
        rngs: nnx.Rngs,
    ):
        super().__init__(factor, sensor)
        check_not_negative(energy_weight=energy_weight, sparsity_weight=sparsity_weight)
        self.energy_weight, self.sparsity_weight = energy_weight, sparsity_weight
        self.coarse = Unit(factor, rngs=rngs)
        self.activation = PRelu(rngs=rngs)
        self.fine = Unit(1, rngs=rngs)

    def __call__(
        self, images: Float[Array, "B height width"]
    ) -> Float[Array, "B fine_height fine_width"]:
        start = self.activation(self.coarse(images[..., None]))
        return (start + self.fine(start))[..., 0].astype(images.dtype)

    def objective(
        self,
        images: Float[Array, "B height width"],
        grids: Float[Array, "B fine_height fine_width"],
    ) -> Float[Array, ""]:
        """Returns the mean square error, and the weighted energy and sparsity terms (`terms`)."""
        error, energy, sparsity = self.terms(self(images), images, grids)
        return error + self.energy_weight * energy + self.sparsity_weight * sparsity

    @staticmethod
    def terms(
        found: Float[Array, "B fine_height fine_width"],
        images: Float[Array, "B height width"],
        grids: Float[Array, "B fine_height fine_width"],
    ) -> tuple[Float[Array, ""], Float[Array, ""], Float[Array, ""]]:
        """Returns the terms of the objective without their weights.

        They are the mean square error of the grids found, the mean error in counts of their sum
        against the image's, and the mean of their magnitudes.
        """
        excess = jnp.sum(found, axis=(1, 2)) - jnp.sum(images, axis=(1, 2))
        return jnp.mean((found - grids) ** 2), jnp.mean(jnp.abs(excess)), jnp.mean(jnp.abs(found))
