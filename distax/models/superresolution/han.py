"""HAN: a holistic attention network (Niu et al., ECCV 2020)."""

import jax
import jax.numpy as jnp
from flax import nnx
from jaxtyping import Array, Float

from distax.imaging.sensor import Sensor
from distax.models.base import GridModel
from distax.models.layers.basic import Conv, Maps, cast_like, fan_in_uniform
from distax.models.layers.resampling import Tail
from distax.models.layers.residual import ResidualGroup
from distax.models.registry import register
from distax.runtime.errors import check_positive


class LayerAttention(nnx.Module):
    """Layer attention: adds to each layer the maps of the least similar layers (section 3.2)."""

    def __init__(self):
        self.gain = nnx.Param(jnp.zeros(()))

    def __call__(
        self, layers: Float[Array, "B height width layers channels"]
    ) -> Float[Array, "B height width layers channels"]:
        # Sums over whole maps need float32.
        likeness = jnp.einsum(
            "bhwmc,bhwnc->bmn", layers, layers, preferred_element_type=jnp.float32
        )
        attention = jax.nn.softmax(-likeness, axis=-1).astype(layers.dtype)
        return layers + cast_like(self.gain, layers) * jnp.einsum(
            "bmn,bhwnc->bhwmc", attention, layers
        )


class ChannelSpatialAttention(nnx.Module):
    """Channel-spatial attention: weights from a 3×3×3 convolution over channel, row and column.

    The weighted maps are added to x (section 3.3).
    """

    def __init__(self, rngs: nnx.Rngs):
        self.kernel = fan_in_uniform(rngs, 27, 3, 3, 3)
        self.bias = fan_in_uniform(rngs, 27)
        # The paper starts at zero, which leaves the kernel without a gradient in the first step.
        self.gain = nnx.Param(jnp.array(0.1))

    def __call__(self, x: Maps) -> Maps:
        height, width, channels = x.shape[1:]
        padded = jnp.pad(x, ((0, 0), (1, 1), (1, 1), (1, 1)))
        kernel = cast_like(self.kernel, x)
        weights = cast_like(self.bias, x) + sum(
            kernel[k, i, j] * padded[:, i : i + height, j : j + width, k : k + channels]
            for k in range(3)
            for i in range(3)
            for j in range(3)
        )
        return x + x * cast_like(self.gain, x) * jax.nn.sigmoid(weights)


@register("han")
class Han(GridModel):
    """HAN: holistic attention network (Niu et al., ECCV 2020).

    The network has RCAN's residual groups. Layer attention weights the outputs of the groups
    against each other, and channel-spatial attention weights the last maps.

    Args:
      factor: grid nodes per pixel along each axis, odd.
      channels: number of feature maps.
      groups: number of residual groups.
      blocks: number of attention blocks in each group.
      reduction: ratio of the channels to the hidden width of a channel attention.
      sensor: the sensor whose images the model takes.
      rngs: keys for the initial parameters.

    Raises:
      DistaxError: the factor is even, a size is not positive, or the channels are not a multiple of
        the reduction.
    """

    def __init__(
        self,
        *,
        factor: int = 3,
        channels: int = 128,
        groups: int = 10,
        blocks: int = 20,
        reduction: int = 16,
        sensor: Sensor = Sensor(),
        rngs: nnx.Rngs,
    ):
        super().__init__(factor, sensor)
        check_positive(channels=channels, groups=groups, blocks=blocks, reduction=reduction)
        self.head = Conv(1, channels, rngs=rngs)
        self.groups = nnx.List(
            ResidualGroup(channels, blocks, reduction, rngs=rngs) for _ in range(groups)
        )
        self.last = Conv(channels, channels, rngs=rngs)
        self.layer_attention = LayerAttention()
        self.merge_layers = Conv((groups + 1) * channels, channels, rngs=rngs)
        self.channel_spatial_attention = ChannelSpatialAttention(rngs)
        self.merge_attentions = Conv(2 * channels, channels, rngs=rngs)
        self.tail = Tail(channels, factor, rngs=rngs)

    def __call__(
        self, images: Float[Array, "B height width"]
    ) -> Float[Array, "B fine_height fine_width"]:
        head = self.head(images[..., None])
        layers = [head]
        for group in self.groups:
            layers.append(group(layers[-1]))
        layers.append(self.last(layers[-1]))
        # Last layer first, without the head, in the order of the original's weights.
        stack = self.layer_attention(jnp.stack(layers[:0:-1], axis=-2))
        merged = self.merge_layers(stack.reshape(*stack.shape[:3], -1))
        attended = self.channel_spatial_attention(layers[-1])
        maps = self.merge_attentions(jnp.concatenate([attended, merged], axis=-1))
        return self.tail(maps + head).astype(images.dtype)
