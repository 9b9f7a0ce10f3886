"""Maps of several samples side by side in the channels, which fill the lanes of a TPU's registers.

A TPU computes on registers of 128 lanes and pads the channels to them. Maps of 64 channels would
fill half of each register, in the memory too. Here the channels of `group` samples follow one
another, and a kernel is repeated along the diagonal, so that no sample sees another one.
"""

from collections.abc import Callable
from functools import partial

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

LANES = 128


def group_size(samples: int, channels: int) -> int:
    """Returns the largest number of samples that fits the lanes and divides the batch."""
    return max(
        size for size in range(1, max(LANES // channels, 1) + 1) if samples % size == 0 or size == 1
    )


def side_by_side(maps: Float[Array, "B height width"], group: int) -> Float[Array, "..."]:
    """Moves neighbouring samples into channels: `[B / group, height, width, group]`."""
    return jnp.moveaxis(maps.reshape(-1, group, *maps.shape[1:]), 1, -1)


def one_by_one(maps: Float[Array, "G height width group"]) -> Float[Array, "B height width"]:
    """Reverses `side_by_side`."""
    return jnp.moveaxis(maps, -1, 1).reshape(-1, *maps.shape[1:3])


def repeat_kernel(
    kernel: Float[Array, "*size inputs outputs"], group: int
) -> Float[Array, "*size group_inputs group_outputs"]:
    """Repeats a kernel along the diagonal, once for each sample of a group."""
    *size, inputs, outputs = kernel.shape
    repeated = jnp.einsum("...io,gk->...giko", kernel, jnp.eye(group, dtype=kernel.dtype))
    return repeated.reshape(*size, group * inputs, group * outputs)


def convolve_lanes(
    maps: Float[Array, "B height width inputs"],
    kernel: Float[Array, "size size inputs outputs"],
) -> Float[Array, "B height width outputs"]:
    """Convolves maps with a kernel, with zero padding."""
    return jax.lax.conv_general_dilated(
        maps, kernel, (1, 1), "SAME", dimension_numbers=("NHWC", "HWIO", "NHWC")
    )


@partial(jax.custom_vjp, nondiff_argnums=(1,))
def spread(values: Float[Array, "*maps group"], channels: int) -> Float[Array, "*maps lanes"]:
    """Repeats each value over the channels of its sample.

    Choosing by the number of the lane joins the operations around it, other than `jnp.repeat`.
    """
    group = values.shape[-1]
    sample = jnp.arange(group * channels) // channels
    lanes = jnp.broadcast_to(values[..., :1], (*values.shape[:-1], group * channels))
    for index in range(1, group):
        lanes = jnp.where(sample == index, values[..., index : index + 1], lanes)
    return lanes


def _spread_forward(values: Array, channels: int) -> tuple[Array, int]:
    return spread(values, channels), values.shape[-1]


def _spread_backward(channels: int, group: int, cotangent: Array) -> tuple[Array]:
    return (_reduce_samples(partial(jnp.sum, axis=-1), cotangent, group),)


spread.defvjp(_spread_forward, _spread_backward)


@partial(jax.custom_vjp, nondiff_argnums=(1,))
def mean_channels(maps: Float[Array, "*maps lanes"], group: int) -> Float[Array, "*maps {group}"]:
    """Computes the mean over each sample's channels."""
    return _reduce_samples(partial(jnp.mean, axis=-1), maps, group)


def _mean_forward(maps: Array, group: int) -> tuple[Array, int]:
    return mean_channels(maps, group), maps.shape[-1] // group


def _mean_backward(group: int, channels: int, cotangent: Array) -> tuple[Array]:
    return (spread(cotangent / channels, channels),)


mean_channels.defvjp(_mean_forward, _mean_backward)


@partial(jax.custom_vjp, nondiff_argnums=(1,))
def max_channels(maps: Float[Array, "*maps lanes"], group: int) -> Float[Array, "*maps {group}"]:
    """Computes the maximum over each sample's channels; equal ones share its gradient."""
    return _reduce_samples(partial(jnp.max, axis=-1), maps, group)


def _max_forward(maps: Array, group: int) -> tuple[Array, tuple[Array, Array]]:
    maximum = max_channels(maps, group)
    return maximum, (maps, maximum)


def _max_backward(group: int, kept: tuple[Array, Array], cotangent: Array) -> tuple[Array]:
    maps, maximum = kept
    channels = maps.shape[-1] // group
    largest = maps == spread(maximum, channels)
    number = _reduce_samples(partial(jnp.sum, axis=-1, dtype=jnp.float32), largest, group)
    share = (cotangent / number).astype(maps.dtype)
    return (jnp.where(largest, spread(share, channels), 0),)


max_channels.defvjp(_max_forward, _max_backward)


def _reduce_samples(reduce: Callable[[Array], Array], maps: Array, group: int) -> Array:
    """Reduces each sample's channels; slices join the reduction, other than a reshape of lanes."""
    channels = maps.shape[-1] // group
    parts = (maps[..., index * channels : (index + 1) * channels] for index in range(group))
    return jnp.stack([reduce(part) for part in parts], axis=-1)
