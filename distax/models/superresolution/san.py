"""SAN: a second-order attention network (Dai et al., CVPR 2019)."""

import jax
import jax.numpy as jnp
from flax import nnx
from jaxtyping import Array, Float

from distax.imaging.sensor import Sensor
from distax.models.base import GridModel
from distax.models.layers.basic import Affine, Conv, Maps, cast_like, check_multiple, check_side
from distax.models.layers.resampling import Tail, max_pool
from distax.models.layers.residual import Gate, ResidualBlock
from distax.models.registry import register
from distax.runtime.errors import check_positive
from distax.runtime.numerics import exact_products

# Ratio of the channels to those that the non-local attention compares.
_REDUCTION = 8
# Newton–Schulz iterations. More give a more exact square root and take longer.
_ITERATIONS = 5


class RegionAttention(nnx.Module):
    """Region attention: non-local attention within each quadrant of the maps (section 3.3)."""

    def __init__(self, channels: int, rngs: nnx.Rngs):
        inner = channels // _REDUCTION
        self.query = Affine(channels, inner, rngs=rngs)
        # No bias: a constant added to all keys shifts all products of a query alike.
        self.key = Affine(channels, inner, bias=False, rngs=rngs)
        self.value = Affine(channels, inner, rngs=rngs)
        self.merge = Affine(inner, channels, rngs=rngs)

    def __call__(self, x: Maps) -> Maps:
        row, column = x.shape[1] // 2, x.shape[2] // 2
        rows = [
            jnp.concatenate(
                [self._attend(half[:, :, :column]), self._attend(half[:, :, column:])], axis=2
            )
            for half in (x[:, :row], x[:, row:])
        ]
        return x + self.merge(jnp.concatenate(rows, axis=1))

    def _attend(self, x: Maps) -> Float[Array, "B height width inner"]:
        query, key, value = (
            self.query(x),
            max_pool(self.key(x), 2, 2),
            max_pool(self.value(x), 2, 2),
        )
        attention = jax.nn.softmax(jnp.einsum("bhwc,bklc->bhwkl", query, key), axis=(-2, -1))
        return jnp.einsum("bhwkl,bklc->bhwc", attention, value)


@exact_products
def covariance_root(x: Maps) -> Float[Array, "B channels channels"]:
    """Returns the square root of the channels' covariance over positions, by Newton–Schulz."""
    rows = x.reshape(len(x), -1, x.shape[-1]).astype(jnp.float32)
    centred = rows - jnp.mean(rows, axis=1, keepdims=True)
    identity = jnp.eye(x.shape[-1], dtype=jnp.float32)
    covariance = jnp.einsum("bpc,bpd->bcd", centred, centred) / rows.shape[1]
    # The iteration needs eigenvalues of at most 1. The floor avoids 0/0 for constant maps.
    trace = jnp.maximum(jnp.trace(covariance, axis1=1, axis2=2), 1e-12)[:, None, None]
    root, inverse = covariance / trace, identity
    for _ in range(_ITERATIONS):
        step = 1.5 * identity - 0.5 * inverse @ root
        root, inverse = root @ step, step @ inverse
    return root * jnp.sqrt(trace)


class SecondOrderGroup(nnx.Module):
    """Residual blocks with second-order channel attention, a convolution and a skip connection.

    A channel's weight comes from its mean root covariance with all channels (section 3.2).
    """

    def __init__(self, channels: int, blocks: int, reduction: int, rngs: nnx.Rngs):
        self.blocks = nnx.List(ResidualBlock(channels, rngs=rngs) for _ in range(blocks))
        self.gate = Gate(channels, reduction, rngs=rngs)
        self.last = Conv(channels, channels, rngs=rngs)

    def __call__(self, x: Maps) -> Maps:
        maps = x
        for block in self.blocks:
            maps = block(maps)
        summary = jnp.mean(covariance_root(maps), axis=1).astype(maps.dtype)
        return x + self.last(maps * self.gate(summary)[:, None, None])


@register("san")
class San(GridModel):
    """SAN: second-order attention network (Dai et al., CVPR 2019).

    Region attention, then residual groups with second-order channel attention, then the same region
    attention again. As in the authors' implementation, keys and values of region attention are
    maxima of 2×2 positions. The paper has 20 groups of 10 blocks; the defaults are those of the
    original toolkit.

    Args:
      factor: grid nodes per pixel along each axis, odd.
      channels: number of feature maps, a multiple of 8.
      groups: number of residual groups.
      blocks: number of residual blocks in each group.
      reduction: ratio of the channels to the hidden width of a channel attention.
      sensor: the sensor whose images the model takes, at least 4 pixels a side.
      rngs: keys for the initial parameters.

    Raises:
      DistaxError: the factor is even, a size is not positive, the channels are not a multiple of 8
        and of the reduction, or the images have a smaller side.
    """

    def __init__(
        self,
        *,
        factor: int = 3,
        channels: int = 64,
        groups: int = 10,
        blocks: int = 5,
        reduction: int = 16,
        sensor: Sensor = Sensor(),
        rngs: nnx.Rngs,
    ):
        super().__init__(factor, sensor)
        check_positive(channels=channels, groups=groups, blocks=blocks, reduction=reduction)
        check_multiple(_REDUCTION, channels=channels)
        check_side(sensor, 4)
        self.head = Conv(1, channels, rngs=rngs)
        self.region_attention = RegionAttention(channels, rngs)
        self.groups = nnx.List(
            SecondOrderGroup(channels, blocks, reduction, rngs) for _ in range(groups)
        )
        self.gain = nnx.Param(jnp.zeros(()))
        self.tail = Tail(channels, factor, rngs=rngs)

    def __call__(
        self, images: Float[Array, "B height width"]
    ) -> Float[Array, "B fine_height fine_width"]:
        head = self.head(images[..., None])
        start = self.region_attention(head)
        maps = start
        for group in self.groups:
            maps = group(maps) + cast_like(self.gain, maps) * start
        return self.tail(self.region_attention(maps) + head).astype(images.dtype)
