"""USRNet: a deep unfolding network for super-resolution (Zhang, Van Gool, Timofte, CVPR 2020)."""

import itertools
from collections.abc import Sequence

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx
from jaxtyping import Array, Float

from distax.imaging.sensor import Sensor
from distax.models.base import GridModel
from distax.models.layers.basic import Affine, Conv, Maps, cast_like, fan_in_uniform
from distax.models.layers.resampling import (
    pixel_shuffle,
    pixel_unshuffle,
    resize_bilinear,
    upsample,
)
from distax.models.layers.residual import ResidualBlock
from distax.models.registry import register
from distax.runtime.errors import DistaxError, check_positive

Grids = Float[Array, "B fine_height fine_width"]

_TAPS = 3  # of the blur kernel along each axis


def _blur_kernel() -> Float[np.ndarray, "3 3"]:
    """Returns a Gaussian with a standard deviation of half a node and taps that sum to 1."""
    taps = np.exp(-0.5 * (np.arange(-1, 2) / 0.5) ** 2)
    return np.outer(taps, taps) / taps.sum() ** 2


def blur(grids: Grids, factor: int) -> Float[Array, "B height width"]:
    """Blurs cyclic grids and samples them at each pixel's first node."""
    batch, height, width = grids.shape
    shifted = jnp.roll(grids, (1, 1), (1, 2))
    cells = shifted.reshape(batch, height // factor, factor, width // factor, factor)
    kernel = jnp.asarray(_blur_kernel(), grids.dtype)
    return jnp.einsum("bhiwj,ij->bhw", cells[:, :, :_TAPS, :, :_TAPS], kernel)


def blur_transpose(images: Float[Array, "B height width"], factor: int) -> Grids:
    """Spreads each pixel by the blur kernel around its first node: the transpose of `blur`."""
    batch, height, width = images.shape
    kernel = jnp.asarray(_blur_kernel(), images.dtype)
    missing = 0, factor - _TAPS
    cells = jnp.einsum("bhw,ij->bhiwj", images, jnp.pad(kernel, (missing, missing)))
    return jnp.roll(cells.reshape(batch, factor * height, factor * width), (-1, -1), (1, 2))


def data_step(
    grids: Grids,
    images: Float[Array, "B height width"],
    weight: Float[Array, ""],
    factor: int,
) -> Grids:
    """Returns the grids z that minimise ‖blur(z) − images‖² + weight·‖z − grids‖².

    The paper solves for z by Fourier transforms. Here the blur kernels of two pixels do not
    overlap, so they are orthogonal and each pixel is solved on its own.
    """
    error = images - blur(grids, factor)
    curvature = jnp.sum(jnp.asarray(_blur_kernel()) ** 2) + weight
    return grids + blur_transpose(error / curvature.astype(grids.dtype), factor)


class Halve(nnx.Module):
    """2×2 convolution with a stride of 2. An odd last row or column is dropped."""

    def __init__(self, inputs: int, outputs: int, rngs: nnx.Rngs):
        self.kernel = fan_in_uniform(rngs, 4 * inputs, 2, 2, inputs, outputs)

    def __call__(self, maps: Maps) -> Float[Array, "B half_height half_width outputs"]:
        height, width = (size - size % 2 for size in maps.shape[1:3])
        kernel = cast_like(self.kernel, maps).transpose(2, 0, 1, 3)
        return pixel_unshuffle(maps[:, :height, :width], 2) @ kernel.reshape(-1, kernel.shape[-1])


class Double(nnx.Module):
    """2×2 transposed convolution with a stride of 2."""

    def __init__(self, inputs: int, outputs: int, rngs: nnx.Rngs):
        self.kernel = fan_in_uniform(rngs, 4 * outputs, 2, 2, inputs, outputs)

    def __call__(self, maps: Maps) -> Float[Array, "B double_height double_width outputs"]:
        kernel = cast_like(self.kernel, maps).transpose(2, 3, 0, 1)
        return pixel_shuffle(maps @ kernel.reshape(len(kernel), -1), 2)


class Denoiser(nnx.Module):
    """Denoiser: residual blocks at several resolutions with skip connections (a residual U-Net)."""

    def __init__(self, channels: Sequence[int], blocks: int, rngs: nnx.Rngs):
        def residual(count: int) -> list[ResidualBlock]:
            return [ResidualBlock(count, bias=False, rngs=rngs) for _ in range(blocks)]

        self.head = Conv(2, channels[0], bias=False, rngs=rngs)
        levels = list(itertools.pairwise(channels))
        self.down = nnx.List(
            nnx.Sequential(*residual(fine), Halve(fine, coarse, rngs)) for fine, coarse in levels
        )
        self.body = nnx.Sequential(*residual(channels[-1]))
        self.up = nnx.List(
            nnx.Sequential(Double(coarse, fine, rngs), *residual(fine)) for fine, coarse in levels
        )
        self.tail = Conv(channels[0], 1, bias=False, rngs=rngs)

    def __call__(self, grids: Grids, noise: Float[Array, ""]) -> Grids:
        level = jnp.broadcast_to(noise.astype(grids.dtype), grids.shape)
        skips = [self.head(jnp.stack([grids, level], axis=-1))]
        for down in self.down:
            skips.append(down(skips[-1]))
        maps = skips[-1] + self.body(skips[-1])
        for up, skip in zip(reversed(self.up), reversed(skips[:-1]), strict=True):
            # Interpolation restores a row or column that `Halve` dropped.
            maps = skip + resize_bilinear(up(maps), *skip.shape[1:3])
        return self.tail(maps)[..., 0].astype(grids.dtype)


class HyperParameters(nnx.Module):
    """Network that computes the weight of every data step and the noise level of every denoising.

    Both are positive. The inputs are the noise level of the images, which is zero, and the factor.
    """

    def __init__(self, iterations: int, hidden: int, rngs: nnx.Rngs):
        self.first = Affine(2, hidden, rngs=rngs)
        self.second = Affine(hidden, hidden, rngs=rngs)
        self.last = Affine(hidden, 2 * iterations, rngs=rngs)

    def __call__(self, factor: int) -> Float[Array, "2 iterations"]:
        hidden = jax.nn.relu(self.first(jnp.array([0.0, factor])))
        values = self.last(jax.nn.relu(self.second(hidden)))
        return jax.nn.softplus(values).reshape(2, -1) + 1e-6


@register("usrnet")
class UsrNet(GridModel):
    """USRNet: deep unfolding for super-resolution (Zhang, Van Gool and Timofte, CVPR 2020).

    Each iteration is a data step in closed form and a denoiser, which all iterations share. The
    paper takes the blur kernel and the noise level with each image. Here, as in the original
    toolkit's configuration, the noise level is zero, and the kernel is a Gaussian with a standard
    deviation of half a node around the first node of each pixel. That is neither the sensor's PSF
    nor the pixel's centre; the denoiser has to learn the difference.

    Args:
      factor: grid nodes per pixel along each axis, odd, at least 3.
      iterations: data steps, each followed by the denoiser.
      hidden: width of the network that computes the weights and noise levels.
      channels: number of maps of the denoiser at each resolution, from the grid's own to the
        coarsest; each resolution halves the one before.
      blocks: residual blocks of the denoiser at each resolution, down and up.
      sensor: the sensor whose images the model takes.
      rngs: keys for the initial parameters.

    Raises:
      DistaxError: the factor is even or less than 3, a size is not positive, or the grid cannot be
        halved once for each coarser resolution.
    """

    def __init__(
        self,
        *,
        factor: int = 3,
        iterations: int = 8,
        hidden: int = 64,
        channels: Sequence[int] = (16, 32, 64, 128),
        blocks: int = 2,
        sensor: Sensor = Sensor(),
        rngs: nnx.Rngs,
    ):
        super().__init__(factor, sensor)
        if factor < _TAPS:
            raise DistaxError(f"factor must be at least {_TAPS} for usrnet, got {factor}")
        check_positive(iterations=iterations, hidden=hidden, blocks=blocks, levels=len(channels))
        check_positive(**{f"channels[{k}]": count for k, count in enumerate(channels)})
        finest = factor * min(sensor.height, sensor.width)
        if finest < 2 ** (len(channels) - 1):
            raise DistaxError(
                f"a grid with a side of {finest} nodes has no {len(channels)} resolutions; give "
                "fewer channels or a larger sensor"
            )
        self.hyper_parameters = HyperParameters(iterations, hidden, rngs)
        self.denoiser = Denoiser(channels, blocks, rngs)

    def iterates(self, images: Float[Array, "B height width"]) -> list[Grids]:
        """Returns the nearest-neighbour interpolation, then the grids after each step.

        A data step and a denoising step alternate.
        """
        weights, noises = self.hyper_parameters(self.factor)
        grids = [upsample(images[..., None], self.factor, "nearest")[..., 0]]
        for weight, noise in zip(weights, noises, strict=True):
            grids.append(data_step(grids[-1], images, weight, self.factor))
            grids.append(self.denoiser(grids[-1], noise))
        return grids

    def __call__(
        self, images: Float[Array, "B height width"]
    ) -> Float[Array, "B fine_height fine_width"]:
        return self.iterates(images)[-1]
