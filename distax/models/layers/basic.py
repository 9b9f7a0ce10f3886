"""Fully connected layers and convolutions with the initial values that the field's models use."""

import math

import jax
import jax.numpy as jnp
from flax import nnx
from jaxtyping import Array, Float

from distax.models.layers.convolution import convolve

Maps = Float[Array, "B height width channels"]
OneMap = Float[Array, "B height width 1"]


def fan_in_uniform(rngs: nnx.Rngs, fan_in: int, *shape: int) -> nnx.Param:
    """Uniform within ±fan_in^−½, as PyTorch initialises convolutions and linear layers."""
    bound = fan_in**-0.5
    return nnx.Param(jax.random.uniform(rngs.params(), shape, minval=-bound, maxval=bound))


def like(maps: Array, param: nnx.Param) -> Array:
    """A parameter in the precision of the maps it is applied to."""
    return param[...].astype(maps.dtype)


class Affine(nnx.Module):
    """x W + b over the last axis: a fully connected layer, or a 1×1 convolution on maps."""

    def __init__(self, inputs: int, outputs: int, *, bias: bool = True, rngs: nnx.Rngs):
        self.kernel = fan_in_uniform(rngs, inputs, inputs, outputs)
        self.bias = fan_in_uniform(rngs, inputs, outputs) if bias else None

    def __call__(self, x: Float[Array, "*batch inputs"]) -> Float[Array, "*batch outputs"]:
        y = x @ like(x, self.kernel)
        return y if self.bias is None else y + like(x, self.bias)


class Conv(nnx.Module):
    """Convolution (cross-correlation) with a square kernel.

    Args:
      inputs: channels of the maps it takes.
      outputs: channels of the maps it makes.
      size: side of the kernel.
      stride: step between two outputs.
      padding: zeros around the maps; as many as keep their size without it.
      groups: parts that the channels fall into, each seen only by its part of the outputs.
      bias: whether a constant is added to each output.
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
        kernel = like(maps, self.kernel)
        result = convolve(maps, kernel, self.stride, self.padding, self.groups)
        return result if self.bias is None else result + like(maps, self.bias)


class PRelu(nnx.Module):
    """max(x, 0) + a·min(x, 0) with a learned slope a, one for all channels or one for each."""

    def __init__(self, channels: int = 1, *, rngs: nnx.Rngs):
        self.slope = nnx.Param(jnp.full(channels, 0.25))

    def __call__(self, x: Float[Array, "*shape"]) -> Float[Array, "*shape"]:
        return jnp.where(x >= 0, x, like(x, self.slope) * x)


def batch_norm(channels: int, rngs: nnx.Rngs) -> nnx.BatchNorm:
    """Batch normalisation; by running statistics unless the model is in training mode."""
    return nnx.BatchNorm(channels, use_running_average=True, momentum=0.9, rngs=rngs)


def layer_norm(channels: int, rngs: nnx.Rngs) -> nnx.LayerNorm:
    """Normalisation over the channels of each position."""
    return nnx.LayerNorm(channels, epsilon=1e-5, rngs=rngs)


def parameter_count(module: nnx.Module) -> int:
    """How many numbers are trained."""
    return sum(math.prod(leaf.shape) for leaf in jax.tree.leaves(nnx.state(module, nnx.Param)))
