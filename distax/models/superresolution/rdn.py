"""RDN: residual dense network for image super-resolution (Zhang et al., CVPR 2018)."""

import jax
import jax.numpy as jnp
from flax import nnx
from jaxtyping import Array, Float

from distax.imaging.sensor import Sensor
from distax.models.base import GridModel
from distax.models.layers.basic import Affine, Conv, Maps
from distax.models.layers.resampling import Tail
from distax.models.registry import register
from distax.runtime.errors import check_positive


class DenseBlock(nnx.Module):
    """Residual dense block: each layer sees the maps of all layers before it.

    A 1×1 convolution of all maps is added to the input.

    Args:
      channels: number of maps of the input and the output.
      growth: number of maps that each layer adds.
      layers: number of layers.
      rngs: keys for the initial parameters.
    """

    def __init__(self, channels: int, growth: int, layers: int, *, rngs: nnx.Rngs):
        self.layers = nnx.List(
            Conv(channels + layer * growth, growth, rngs=rngs) for layer in range(layers)
        )
        self.fuse = Affine(channels + layers * growth, channels, rngs=rngs)

    def __call__(self, x: Maps) -> Maps:
        maps = x
        for layer in self.layers:
            maps = jnp.concatenate([maps, jax.nn.relu(layer(maps))], axis=-1)
        return x + self.fuse(maps)


@register("rdn")
class Rdn(GridModel):
    """RDN: residual dense network (Zhang et al., CVPR 2018).

    Residual dense blocks on the coarse grid are fused and followed by the pixel shuffle. The
    defaults are one of the two sizes of the paper (D = 16, C = 8, G = 64).

    Args:
      factor: grid nodes per pixel along each axis, odd.
      channels: number of maps between the blocks.
      growth: number of maps that each layer of a block adds (the paper's G).
      blocks: number of dense blocks (the paper's D).
      layers: number of layers of a block (the paper's C).
      sensor: the sensor whose images the model takes.
      rngs: keys for the initial parameters.

    Raises:
      DistaxError: the factor is even, or a size is not positive.
    """

    def __init__(
        self,
        *,
        factor: int = 3,
        channels: int = 64,
        growth: int = 64,
        blocks: int = 16,
        layers: int = 8,
        sensor: Sensor = Sensor(),
        rngs: nnx.Rngs,
    ):
        super().__init__(factor, sensor)
        check_positive(channels=channels, growth=growth, blocks=blocks, layers=layers)
        self.first = Conv(1, channels, rngs=rngs)
        self.second = Conv(channels, channels, rngs=rngs)
        self.blocks = nnx.List(
            DenseBlock(channels, growth, layers, rngs=rngs) for _ in range(blocks)
        )
        self.fuse = Affine(blocks * channels, channels, rngs=rngs)
        self.last = Conv(channels, channels, rngs=rngs)
        self.tail = Tail(channels, factor, rngs=rngs)

    def __call__(
        self, images: Float[Array, "B height width"]
    ) -> Float[Array, "B fine_height fine_width"]:
        head = self.first(images[..., None])
        maps, outputs = self.second(head), []
        for block in self.blocks:
            maps = block(maps)
            outputs.append(maps)
        fused = self.fuse(jnp.concatenate(outputs, axis=-1))
        return self.tail(head + self.last(fused)).astype(images.dtype)
