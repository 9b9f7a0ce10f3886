"""DCTLSA: a densely connected transformer with linear self-attention (Zeng et al., TIM 2023)."""

import jax
import jax.numpy as jnp
from flax import nnx
from jaxtyping import Array, Float

from distax.imaging.sensor import Sensor
from distax.models.base import GridModel
from distax.models.layers.basic import (
    Affine,
    BatchNorm,
    Conv,
    FeedForward,
    LayerNorm,
    Maps,
    check_multiple,
)
from distax.models.layers.resampling import SubPixel
from distax.models.layers.windows import join_windows, pad_by_reflection, split_windows
from distax.models.registry import register
from distax.runtime.errors import check_positive

_WINDOW = 16  # side in positions of the attention windows
_BLOCKS = 6


class LocalMixing(nnx.Module):
    """Mixing of neighbouring positions: a depthwise 3×3 between two 1×1 convolutions."""

    def __init__(self, channels: int, rngs: nnx.Rngs):
        self.norm = BatchNorm(channels, rngs=rngs)
        self.first = Affine(channels, channels, bias=False, rngs=rngs)
        self.depthwise = Conv(channels, channels, groups=channels, bias=False, rngs=rngs)
        self.second_norm = BatchNorm(channels, rngs=rngs)
        self.second = Affine(channels, channels, bias=False, rngs=rngs)

    def __call__(self, maps: Maps) -> Maps:
        maps = self.depthwise(self.first(self.norm(maps)))
        return self.second(self.second_norm(maps))


class LinearAttention(nnx.Module):
    """Linear self-attention within windows: the time is linear in the number of positions.

    The softmax is applied to the keys over the positions, not to products of queries and keys, so
    that keys and values can be multiplied first.
    """

    def __init__(self, channels: int, heads: int, rngs: nnx.Rngs):
        self.heads = heads
        self.qkv = Affine(channels, 3 * channels, rngs=rngs)
        self.out = Affine(channels, channels, rngs=rngs)

    def __call__(self, maps: Maps) -> Maps:
        queries, keys, values = jnp.split(split_windows(self.qkv(maps), _WINDOW), 3, axis=-1)
        keys = jax.nn.softmax(keys, axis=1)
        # One product for all heads with the blocks between different heads set to zero is faster
        # than one small product per head.
        size = maps.shape[-1] // self.heads
        within_heads = jnp.kron(jnp.eye(self.heads), jnp.full((size, size), size**-0.5))
        context = jnp.einsum("npc,npd->ncd", keys, values) * within_heads.astype(maps.dtype)
        return self.out(join_windows(queries @ context, _WINDOW, maps.shape))


class Layer(nnx.Module):
    """Local mixing, attention in windows that begin at `shift`, and a feed-forward network.

    Each has a skip connection.
    """

    def __init__(self, channels: int, heads: int, shift: int, rngs: nnx.Rngs):
        self.shift = shift
        self.local = LocalMixing(channels, rngs)
        self.attention = LinearAttention(channels, heads, rngs)
        self.feed_forward = FeedForward(channels, 2 * channels, channels, rngs=rngs)

    def __call__(self, maps: Maps) -> Maps:
        maps = jnp.roll(maps, (-self.shift, -self.shift), (1, 2))
        maps = maps + self.local(maps)
        maps = maps + self.attention(maps)
        maps = jnp.roll(maps, (self.shift, self.shift), (1, 2))
        return maps + self.feed_forward(maps)


class Group(nnx.Module):
    """Two layers, the second with shifted windows, on maps padded to whole windows."""

    def __init__(self, channels: int, heads: int, rngs: nnx.Rngs):
        self.norm = LayerNorm(channels, rngs=rngs)
        self.layers = nnx.List(Layer(channels, heads, shift, rngs) for shift in (0, _WINDOW // 2))

    def __call__(self, maps: Maps) -> Maps:
        height, width = maps.shape[1:3]
        maps = self.norm(pad_by_reflection(maps, _WINDOW))
        for layer in self.layers:
            maps = layer(maps)
        return maps[:, :height, :width]


@register("dctlsa")
class Dctlsa(GridModel):
    """DCTLSA: densely connected transformer with linear self-attention (Zeng et al., TIM 2023).

    Each of the six blocks takes a learned mixture of the outputs of all blocks before it. Images
    smaller than a window of 16×16 pixels, such as CSIST-100K's, are padded by reflection to fill
    it, and all positions take part in the attention.

    Args:
      factor: grid nodes per pixel along each axis, odd.
      channels: number of feature maps.
      heads: number of attention heads.
      sensor: the sensor whose images the model takes.
      rngs: keys for the initial parameters.

    Raises:
      DistaxError: the factor is even, a size is not positive, or the channels are not a multiple of
        the heads.
    """

    def __init__(
        self,
        *,
        factor: int = 3,
        channels: int = 55,
        heads: int = 5,
        sensor: Sensor = Sensor(),
        rngs: nnx.Rngs,
    ):
        super().__init__(factor, sensor)
        check_positive(channels=channels, heads=heads)
        check_multiple(heads, channels=channels)
        self.head = Conv(1, channels, rngs=rngs)
        self.blocks = nnx.List(
            nnx.Sequential(Group(channels, heads, rngs), Group(channels, heads, rngs))
            for _ in range(_BLOCKS)
        )
        # The last mixture takes the outputs of the blocks only, the others also the head's maps.
        inputs = [*range(2, _BLOCKS + 1), _BLOCKS]
        self.mixtures = nnx.List(Affine(n * channels, channels, rngs=rngs) for n in inputs)
        self.last = Conv(channels, channels, rngs=rngs)
        self.upscale = SubPixel(channels, 1, factor, rngs=rngs)

    def __call__(
        self, images: Float[Array, "B height width"]
    ) -> Float[Array, "B fine_height fine_width"]:
        head = self.head(images[..., None])
        maps, outputs = head, [head]
        for block, mixture in zip(self.blocks, self.mixtures, strict=True):
            outputs.append(block(maps))
            seen = outputs if len(outputs) <= _BLOCKS else outputs[1:]
            maps = jax.nn.leaky_relu(mixture(jnp.concatenate(seen, axis=-1)), 0.05)
        return self.upscale(self.last(maps) + head)[..., 0].astype(images.dtype)
