"""FOCUS: coarse-to-fine unmixing of closely-spaced infrared targets (preprint)."""

import jax
from flax import nnx
from jaxtyping import Array, Float

from distax.imaging.sensor import Sensor
from distax.models.base import GridModel
from distax.models.layers.basic import Conv, Maps, PRelu
from distax.models.layers.resampling import pixel_shuffle
from distax.models.registry import register


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

    One unit estimates a map on the sub-pixel grid. A second unit of the same form corrects it.

    Args:
      factor: grid nodes per pixel along each axis, odd.
      sensor: the sensor whose images the model takes.
      rngs: keys for the initial parameters.

    Raises:
      DistaxError: the factor is even.
    """

    def __init__(self, *, factor: int = 3, sensor: Sensor = Sensor(), rngs: nnx.Rngs):
        super().__init__(factor, sensor)
        self.coarse = Unit(factor, rngs=rngs)
        self.activation = PRelu(rngs=rngs)
        self.fine = Unit(1, rngs=rngs)

    def __call__(
        self, images: Float[Array, "B height width"]
    ) -> Float[Array, "B fine_height fine_width"]:
        start = self.activation(self.coarse(images[..., None]))
        return (start + self.fine(start))[..., 0].astype(images.dtype)
