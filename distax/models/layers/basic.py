"""Basic layers with PyTorch's initial values, which the original models were trained from.

`Affine`, `Conv` and `PRelu` stand in for `nnx.Linear`, `nnx.Conv` and `nnx.PReLU`: they compute in
the precision of their input (the nnx layers promote bfloat16 maps to float32), `Conv` uses the
faster CPU forms of `layers.convolution`, and stored weights have these parameter names and shapes.
`Conv` rounds its input to the model's precision; see `layers.precision`.
"""

import math
from typing import Any

import jax
import jax.numpy as jnp
from flax import nnx
from jaxtyping import Array, Float

from distax.imaging.sensor import Sensor
from distax.models.layers.convolution import convolve
from distax.models.layers.precision import MapLayer
from distax.runtime.errors import DistaxError

Maps = Float[Array, "B height width channels"]
OneMap = Float[Array, "B height width 1"]


def fan_in_uniform(rngs: nnx.Rngs, fan_in: int, *shape: int) -> nnx.Param:
    """Draws a parameter within ±fan_in^−½, like PyTorch's convolutions and linear layers."""
    bound = fan_in**-0.5
    return nnx.Param(jax.random.uniform(rngs.params(), shape, minval=-bound, maxval=bound))


def cast_like(param: nnx.Param, maps: Array) -> Array:
    """Returns a parameter's array in the precision of the maps it is applied to."""
    return param[...].astype(maps.dtype)


class Affine(nnx.Module):
    """Fully connected layer x W + b over the last axis; on maps, a 1×1 convolution.

    Args:
      inputs: channels in.
      outputs: channels out.
      bias: True to add a constant to each output.
      rngs: keys for the initial parameters.
    """

    def __init__(self, inputs: int, outputs: int, *, bias: bool = True, rngs: nnx.Rngs):
        self.kernel = fan_in_uniform(rngs, inputs, inputs, outputs)
        self.bias = fan_in_uniform(rngs, inputs, outputs) if bias else None

    def __call__(self, x: Float[Array, "*batch inputs"]) -> Float[Array, "*batch outputs"]:
        y = x @ cast_like(self.kernel, x)
        return y if self.bias is None else y + cast_like(self.bias, x)


class Conv(MapLayer):
    """Convolution (cross-correlation) with a square kernel and zero padding.

    Args:
      inputs: channels in.
      outputs: channels out.
      size: side of the kernel.
      stride: step between two outputs.
      padding: zeros on each side of the maps. Default: size // 2, which keeps an odd kernel's maps
        at their size.
      groups: equal parts of the channels; each part of the outputs sees one part of the inputs.
      bias: True to add a constant to each output.
      rngs: keys for the initial parameters.
    """

    def __init__(
        self,
        inputs: int,
        outputs: int,
        size: int = 3,
        *,
        stride: int = 1,
        padding: int | None = None,
        groups: int = 1,
        bias: bool = True,
        rngs: nnx.Rngs,
    ):
        self.stride, self.groups = stride, groups
        self.padding = size // 2 if padding is None else padding
        fan_in = size**2 * inputs // groups
        self.kernel = fan_in_uniform(rngs, fan_in, size, size, inputs // groups, outputs)
        self.bias = fan_in_uniform(rngs, fan_in, outputs) if bias else None

    def __call__(self, maps: Maps) -> Float[Array, "B out_height out_width outputs"]:
        maps = self.enter(maps)
        kernel = cast_like(self.kernel, maps)
        result = convolve(maps, kernel, self.stride, self.padding, self.groups)
        return result if self.bias is None else result + cast_like(self.bias, maps)


class PRelu(nnx.Module):
    """Parametric ReLU: max(x, 0) + a·min(x, 0) with a learned slope a.

    Args:
      channels: number of slopes: 1 for one slope shared by all channels, or one for each channel.
      rngs: not used; slopes start at 0.25.
    """

    def __init__(self, channels: int = 1, *, rngs: nnx.Rngs):
        self.slope = nnx.Param(jnp.full(channels, 0.25))

    def __call__(self, x: Float[Array, "*shape"]) -> Float[Array, "*shape"]:
        return jnp.where(x >= 0, x, cast_like(self.slope, x) * x)


class FeedForward(nnx.Module):
    """Feed-forward network of a transformer: two fully connected layers with a GELU between."""

    def __init__(self, inputs: int, hidden: int, outputs: int, *, rngs: nnx.Rngs):
        self.first = Affine(inputs, hidden, rngs=rngs)
        self.second = Affine(hidden, outputs, rngs=rngs)

    def __call__(self, x: Float[Array, "*batch inputs"]) -> Float[Array, "*batch outputs"]:
        return self.second(jax.nn.gelu(self.first(x), approximate=False))


class BatchNorm(nnx.BatchNorm):
    """Batch normalisation with running statistics outside training mode.

    Statistics are float32; the result has the precision of the input.
    """

    def __init__(self, channels: int, *, rngs: nnx.Rngs):
        super().__init__(channels, use_running_average=True, momentum=0.9, rngs=rngs)

    def __call__(
        self, x: Float[Array, "*shape"], *arguments: Any, **options: Any
    ) -> Float[Array, "*shape"]:
        return super().__call__(x, *arguments, **options).astype(x.dtype)


class LayerNorm(nnx.LayerNorm):
    """Layer normalisation over the channels of each position, in the precision of the input."""

    def __init__(self, channels: int, *, rngs: nnx.Rngs):
        super().__init__(channels, epsilon=1e-5, rngs=rngs)

    def __call__(self, x: Float[Array, "*shape"], **options: Any) -> Float[Array, "*shape"]:
        return super().__call__(x, **options).astype(x.dtype)


def parameter_count(module: nnx.Module) -> int:
    """Returns the number of trained parameters."""
    return sum(math.prod(leaf.shape) for leaf in jax.tree.leaves(nnx.state(module, nnx.Param)))


def check_multiple(of: int, **values: int) -> None:
    """Raises DistaxError for the first keyword whose value is not a multiple of `of`."""
    for name, value in values.items():
        if value % of:
            raise DistaxError(f"{name} must be a multiple of {of}, got {value}")


def check_side(sensor: Sensor, pixels: int) -> None:
    """Raises DistaxError if the sensor's images have a side of fewer than `pixels` pixels."""
    if min(sensor.height, sensor.width) < pixels:
        raise DistaxError(
            f"images must be at least {pixels} pixels high and wide, "
            f"got {sensor.height}×{sensor.width}"
        )
