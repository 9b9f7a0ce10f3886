"""Convolutions (cross-correlations, zero padding), channels last, fast where XLA is slow.

Measured on two CPU cores (batch 64, 33×33, 64 channels): XLA's convolution is as fast as a matrix
product with many channels on both sides, but with one input channel, one output channel or one
kernel a channel the same sum takes a fraction of the time as nine shifted multiply-adds (1 ms
for 7). Gradients are the other way round: a kernel's gradient through shifts takes 90 ms where
XLA's own takes 10. So each function computes its value one way and its gradient another
(reverse mode only: forward-mode derivatives would need a rule of their own).
"""

from collections.abc import Callable
from functools import partial

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float


def convolve(
    maps: Float[Array, "B height width channels"],
    kernel: Float[Array, "size size inputs outputs"],
    stride: int = 1,
    padding: int | None = None,
    groups: int = 1,
) -> Float[Array, "B out_height out_width outputs"]:
    """Convolution with a square kernel, by the fastest way there is.

    Args:
      maps: channels are a multiple of the kernel's inputs.
      kernel: channels and outputs fall into `groups` parts, each seeing its own.
      stride: step between two outputs.
      padding: zeros around the maps; as many as keep their size without it.
      groups: how many parts.
    """
    size = len(kernel)
    padding = size // 2 if padding is None else padding
    if groups > 1:
        if kernel.shape == (3, 3, 1, groups) and stride == 1 and padding == 1:
            return _value_and_gradient_by(_depthwise, _depthwise_as_dense, maps, kernel[:, :, 0])
        parts = zip(
            jnp.split(maps, groups, axis=-1), jnp.split(kernel, groups, axis=-1), strict=True
        )
        return jnp.concatenate([convolve(*part, stride, padding) for part in parts], axis=-1)
    if size == 1 and stride == 1 and not padding:
        return maps @ kernel[0, 0]
    if size == 3 and stride == 1 and padding == 1:
        return conv3x3(maps, kernel)
    return jax.lax.conv_general_dilated(
        maps,
        kernel,
        (stride, stride),
        [(padding, padding), (padding, padding)],
        dimension_numbers=("NHWC", "HWIO", "NHWC"),
    )


def conv3x3(
    maps: Float[Array, "B height width inputs"], kernel: Float[Array, "3 3 inputs outputs"]
) -> Float[Array, "B height width outputs"]:
    """Dense convolution."""
    inputs, outputs = kernel.shape[2:]
    if inputs == 1:
        return _value_and_gradient_by(_shifted_one_to_many, _convolve_in_parts, maps, kernel)
    if outputs == 1:
        return _shifted_many_to_one(maps, kernel)
    return _value_and_gradient_by(_convolve, _convolve_in_parts, maps, kernel)


def separable3x3(
    maps: Float[Array, "B height width inputs"],
    depthwise: Float[Array, "3 3 inputs"],
    pointwise: Float[Array, "inputs outputs"],
) -> Float[Array, "B height width outputs"]:
    """A kernel for each channel, then a 1×1 convolution."""

    def shifted(maps: Array, depthwise: Array, pointwise: Array) -> Array:
        return _depthwise(maps, depthwise) @ pointwise

    def dense(maps: Array, depthwise: Array, pointwise: Array) -> Array:
        return _convolve_in_parts(maps, depthwise[..., None] * pointwise)

    return _value_and_gradient_by(shifted, dense, maps, depthwise, pointwise)


def filter3x3(
    image: Float[Array, "height width"], kernel: Float[Array, "3 3"]
) -> Float[Array, "height width"]:
    """Convolution of one map with one kernel; `vmap` it for a kernel a sample."""
    maps = image[None, ..., None]
    return _sum_of_shifts(maps, lambda shifted, i, j: shifted * kernel[i, j])[0, ..., 0]


@partial(jax.custom_vjp, nondiff_argnums=(0, 1))
def _value_and_gradient_by(value: Callable, gradient: Callable, *arguments: Array) -> Array:
    """value(*arguments), differentiated as gradient(*arguments): two forms of one function."""
    return value(*arguments)


def _forward(value: Callable, gradient: Callable, *arguments: Array) -> tuple[Array, tuple]:
    return value(*arguments), arguments


def _backward(value: Callable, gradient: Callable, arguments: tuple, cotangent: Array) -> tuple:
    return jax.vjp(gradient, *arguments)[1](cotangent)


_value_and_gradient_by.defvjp(_forward, _backward)


def _convolve(maps: Array, kernel: Array) -> Array:
    return jax.lax.conv_general_dilated(
        maps, kernel, (1, 1), "SAME", dimension_numbers=("NHWC", "HWIO", "NHWC")
    )


def _convolve_in_parts(maps: Array, kernel: Array) -> Array:
    """The batch in eight parts: their kernel gradients run side by side on a CPU.

    Not where the batch is split already, over several devices.
    """
    alone = jax.default_backend() == "cpu" and jax.device_count() == 1
    parts = min(8, len(maps)) if alone else 1
    return jnp.concatenate([_convolve(part, kernel) for part in jnp.array_split(maps, parts)])


def _shifted_one_to_many(maps: Array, kernel: Array) -> Array:
    return _sum_of_shifts(maps, lambda shifted, i, j: shifted * kernel[i, j, 0])


def _shifted_many_to_one(maps: Array, kernel: Array) -> Array:
    """All nine taps by one matrix product, shifted afterwards."""
    taps = maps @ kernel.reshape(9, -1).T
    return _sum_of_shifts(taps, lambda shifted, i, j: shifted[..., 3 * i + j, None])


def _depthwise(maps: Array, kernel: Array) -> Array:
    """A kernel for each channel."""
    return _sum_of_shifts(maps, lambda shifted, i, j: shifted * kernel[i, j])


def _depthwise_as_dense(maps: Array, kernel: Array) -> Array:
    return _convolve_in_parts(maps, kernel[..., None] * jnp.eye(maps.shape[-1], dtype=maps.dtype))


def _sum_of_shifts(maps: Array, term: Callable[[Array, int, int], Array]) -> Array:
    height, width = maps.shape[1:3]
    padded = jnp.pad(maps, ((0, 0), (1, 1), (1, 1), (0, 0)))
    terms = [
        term(padded[:, i : i + height, j : j + width], i, j) for i in range(3) for j in range(3)
    ]
    return sum(terms[1:], start=terms[0])
