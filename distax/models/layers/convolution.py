"""Convolutions (cross-correlations) with zero padding, channels last, with fast forms for CPUs.

The times are from two CPU cores (batch 64, 33×33, 64 channels). With many channels on both sides
XLA's convolution is as fast as a matrix product. With one input channel, one output channel or one
kernel per channel, nine shifted multiply-adds are faster: 1 ms instead of 7 ms. For gradients the
order is reversed: a kernel's gradient takes 90 ms through shifts and 10 ms through XLA's
convolution. Each function therefore computes its value in one form and its gradient in another.
Kernels with many channels on both sides have a third form for their gradient.
Only reverse mode is supported; forward-mode derivatives would need a rule of their own.
"""

from collections.abc import Callable
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float


def convolve(
    maps: Float[Array, "B height width channels"],
    kernel: Float[Array, "size size inputs outputs"],
    stride: int = 1,
    padding: int | None = None,
    groups: int = 1,
) -> Float[Array, "B out_height out_width outputs"]:
    """Convolves maps with a square kernel, in the fastest form for its shape.

    Args:
      maps: `[B, height, width, channels]` with `groups` times the kernel's input channels.
      kernel: `[size, size, inputs, outputs]`.
      stride: step between two outputs.
      padding: zeros on each side of the maps. Default: size // 2.
      groups: equal parts of the channels; each part of the outputs sees one part of the inputs.
    """
    size = len(kernel)
    padding = size // 2 if padding is None else padding
    if groups > 1:
        if kernel.shape[2:] == (1, groups) and stride == 1 and 2 * padding == size - 1:
            gradient = _dense_depthwise if size == 3 else _banded_depthwise
            return _apply_two_forms(_shift_depthwise, gradient, maps, kernel[:, :, 0])
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
    """Convolves maps with a dense 3×3 kernel."""
    inputs, outputs = kernel.shape[2:]
    if inputs == 1:
        return _apply_two_forms(_shift_one_to_many, _dense, maps, kernel)
    if outputs == 1:
        return _shift_many_to_one(maps, kernel)
    return _dense(maps, kernel)


def separable3x3(
    maps: Float[Array, "B height width inputs"],
    depthwise: Float[Array, "3 3 inputs"],
    pointwise: Float[Array, "inputs outputs"],
) -> Float[Array, "B height width outputs"]:
    """Convolves each channel with its own 3×3 kernel, then applies a 1×1 convolution."""

    def shifted(maps: Array, depthwise: Array, pointwise: Array) -> Array:
        return _shift_depthwise(maps, depthwise) @ pointwise

    def dense(maps: Array, depthwise: Array, pointwise: Array) -> Array:
        return _dense(maps, depthwise[..., None] * pointwise)

    return _apply_two_forms(shifted, dense, maps, depthwise, pointwise)


def filter3x3(
    image: Float[Array, "height width"], kernel: Float[Array, "3 3"]
) -> Float[Array, "height width"]:
    """Convolves one map with one kernel; `vmap` it for one kernel per sample."""
    maps = image[None, ..., None]
    return _sum_shifts(maps, lambda shifted, i, j: shifted * kernel[i, j])[0, ..., 0]


@partial(jax.custom_vjp, nondiff_argnums=(0, 1))
def _apply_two_forms(value: Callable, gradient: Callable, *arguments: Array) -> Array:
    """Returns value(*arguments), differentiated as gradient(*arguments), which equals it."""
    return value(*arguments)


def _forward(value: Callable, gradient: Callable, *arguments: Array) -> tuple[Array, tuple]:
    return value(*arguments), arguments


def _backward(value: Callable, gradient: Callable, arguments: tuple, cotangent: Array) -> tuple:
    return jax.vjp(gradient, *arguments)[1](cotangent)


_apply_two_forms.defvjp(_forward, _backward)


def _convolve(maps: Array, kernel: Array) -> Array:
    return jax.lax.conv_general_dilated(
        maps, kernel, (1, 1), "SAME", dimension_numbers=("NHWC", "HWIO", "NHWC")
    )


@jax.custom_vjp
def _dense(maps: Array, kernel: Array) -> Array:
    """Convolves maps with a dense kernel; its gradient has a form of its own on CPUs."""
    return _convolve(maps, kernel)


def _dense_backward(arguments: tuple[Array, Array], cotangent: Array) -> tuple[Array, Array]:
    def usual(cotangent: Array, maps: Array, kernel: Array) -> tuple[Array, Array]:
        return jax.vjp(_convolve, maps, kernel)[1](cotangent)

    def on_cpu(cotangent: Array, maps: Array, kernel: Array) -> tuple[Array, Array]:
        if min(kernel.shape[2:]) < _MANY_CHANNELS:
            return usual(cotangent, maps, kernel)
        (of_maps,) = jax.vjp(lambda maps: _convolve(maps, kernel), maps)[1](cotangent)
        return of_maps, _kernel_gradient(maps, cotangent).astype(kernel.dtype)

    return jax.lax.platform_dependent(cotangent, *arguments, cpu=on_cpu, default=usual)


_dense.defvjp(lambda *arguments: (_convolve(*arguments), arguments), _dense_backward)

_MANY_CHANNELS = 16
"""Channels from which on the products of `_kernel_gradient` are faster on a CPU."""
_PIXELS, _IMAGES = 2200, 4
"""Largest part of a batch that `_kernel_gradient` handles at a time, in pixels and in images. It
just fits a core's second-level cache."""


def _kernel_gradient(maps: Array, cotangent: Array) -> Array:
    """Computes the gradient by a 3×3 kernel: a matrix product per two images, for all nine taps.

    Maps are shifted along the rows and cotangents along the columns, so that three copies of each
    make nine taps. For 64 images (33×33, 64 channels on both sides) it took 103 and 113 ms of
    processor time in runs in which XLA's form took 139 and 188 ms for the batch in eight parts.
    Sixteen parts are faster, but take nearly three times as long to compile.
    """
    count, height, width, inputs = maps.shape
    outputs = cotangent.shape[-1]
    precision = jnp.promote_types(maps.dtype, jnp.float32)
    size = max(min(_IMAGES, _PIXELS // (height * width), count), 1)

    def in_parts(maps: Array) -> Array:
        padded = jnp.pad(maps, [(0, -count % size)] + [(0, 0)] * 3)  # zeros add nothing
        return padded.reshape(-1, size, *maps.shape[1:])

    def add_part(total: Array, part: tuple[Array, Array]) -> tuple[Array, None]:
        # Pixels last: the product then reads both factors in the order in which they lie.
        left = jnp.pad(jnp.transpose(part[0], (3, 0, 1, 2)), [(0, 0)] * 3 + [(1, 1)])
        columns = jnp.concatenate([left[..., j : j + width] for j in range(3)])
        right = jnp.pad(part[1], ((0, 0), (1, 1), (0, 0), (0, 0)))
        rows = jnp.concatenate([right[:, 2 - i : 2 - i + height] for i in range(3)], axis=-1)
        product = jnp.matmul(
            columns.reshape(3 * inputs, -1),
            rows.reshape(-1, 3 * outputs),
            preferred_element_type=precision,
        )
        return total + product, None

    total = jnp.zeros((3 * inputs, 3 * outputs), precision)
    total, _ = jax.lax.scan(add_part, total, (in_parts(maps), in_parts(cotangent)))
    return total.reshape(3, inputs, 3, outputs).transpose(2, 0, 1, 3)


def _shift_one_to_many(maps: Array, kernel: Array) -> Array:
    return _sum_shifts(maps, lambda shifted, i, j: shifted * kernel[i, j, 0])


def _shift_many_to_one(maps: Array, kernel: Array) -> Array:
    """Computes all nine taps by one matrix product and shifts the results."""
    taps = maps @ kernel.reshape(9, -1).T
    return _sum_shifts(taps, lambda shifted, i, j: shifted[..., 3 * i + j, None])


def _shift_depthwise(maps: Array, kernel: Array) -> Array:
    """Convolves each channel with its own kernel."""
    return _sum_shifts(maps, lambda shifted, i, j: shifted * kernel[i, j], len(kernel))


def _dense_depthwise(maps: Array, kernel: Array) -> Array:
    return _dense(maps, kernel[..., None] * jnp.eye(maps.shape[-1], dtype=maps.dtype))


def _banded_depthwise(maps: Array, kernel: Array) -> Array:
    """Convolves each channel with its own kernel: a product with banded matrices of its rows.

    For 16 images (33×33, 64 channels, 7×7 kernels) a value and its gradient took 78 ms, XLA's
    grouped convolution 253 ms, and shifts 416 ms.
    """
    count, height, width, channels = maps.shape
    size = len(kernel)
    tap = np.arange(width)[:, None] - np.arange(width) + size // 2  # [column in, column out]
    rows = kernel[:, np.clip(tap, 0, size - 1)].transpose(3, 0, 1, 2)
    bands = jnp.where((tap >= 0) & (tap < size), rows, 0)
    margin = size // 2, size // 2
    padded = jnp.pad(maps.transpose(3, 0, 1, 2), ((0, 0), (0, 0), margin, (0, 0)))
    shifted = jnp.stack([padded[:, :, i : i + height] for i in range(size)], axis=3)
    lines = shifted.reshape(channels, count * height, size * width)
    result = lines @ bands.reshape(channels, size * width, width)
    return result.reshape(channels, count, height, width).transpose(1, 2, 3, 0)


def _sum_shifts(maps: Array, term: Callable[[Array, int, int], Array], size: int = 3) -> Array:
    height, width = maps.shape[1:3]
    margin = size // 2, size // 2
    padded = jnp.pad(maps, ((0, 0), margin, margin, (0, 0)))
    terms = [
        term(padded[:, i : i + height, j : j + width], i, j)
        for i in range(size)
        for j in range(size)
    ]
    return sum(terms[1:], start=terms[0])
