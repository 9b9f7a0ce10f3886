"""The imaging model: a PSF integrated over pixels, noise, clipping and rounding.

Convention: position is (row, column) in pixels and (0, 0) is the centre of the first pixel.
"""

import functools
import math
from dataclasses import dataclass

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, PRNGKeyArray

from distax.imaging.psf import MeasuredPsf, Psf, per_axis, profiles, responses
from distax.imaging.targets import Targets
from distax.runtime.errors import (
    DistaxError,
    check_finite,
    check_not_negative,
    check_positive,
    check_whole,
)
from distax.runtime.numerics import exact_products, threefry

HALF_STEP = 0.5
"""Half the digitiser's step in counts."""
_REAL_HALF_STEP, _REAL_SHARE = 0.05, 0.1
"""What a sensor that delivers real numbers is taken to know them to: counts, and share of its
noise; the less of the two."""


@dataclass(frozen=True)
class Sensor:
    """What turns point targets into pixel counts. The defaults are CSIST-100K's sensor.

    Attributes:
      height, width: image size in pixels.
      sigma: standard deviation of the Gaussian PSF in pixels; of an elongated one two, by which
        it spreads over rows and over columns.
      saturation: counts at which a pixel clips; None if it never does.
      bit_depth: bits of the digitiser, which rounds to 0 .. 2**bit_depth - 1; None keeps reals.
      read_noise: standard deviation of the read noise in counts.
      gain: gain that sets the (Poisson) shot noise; None for no shot noise.
      background: level in counts that every pixel receives besides the targets.
      measured_psf: what stands for the Gaussian, if the PSF is none; sigma, which is not derived
        from it, should then be the width of the Gaussian most like it: the sizes of windows and
        clusters follow from that.

    Raises:
      DistaxError: a size, sigma, saturation, bit depth or gain that is not positive, a negative
        noise or background, or a background at which every pixel clips.
    """

    height: int = 11
    width: int = 11
    sigma: float | tuple[float, float] = 0.5
    saturation: float | None = 255.0
    bit_depth: int | None = 8
    read_noise: float = 0.0
    gain: float | None = None
    background: float = 0.0
    measured_psf: MeasuredPsf | None = None

    def __post_init__(self) -> None:
        check_whole(height=self.height, width=self.width)
        check_positive(height=self.height, width=self.width)
        if isinstance(self.sigma, tuple) and len(self.sigma) != 2:
            raise DistaxError(f"sigma must be one number or two, got {self.sigma}")
        for sigma in self.sigma if isinstance(self.sigma, tuple) else (self.sigma,):
            check_finite(sigma=sigma)
            check_positive(sigma=sigma)
        for name in ("saturation", "bit_depth", "gain"):
            if (value := getattr(self, name)) is not None:
                check_positive(**{name: value})
        check_finite(read_noise=self.read_noise, background=self.background)
        check_not_negative(read_noise=self.read_noise, background=self.background)
        if self.background >= self.white:
            raise DistaxError(
                f"a background of {self.background} counts leaves no room below the "
                f"{self.white} at which pixels clip"
            )

    @property
    def shape(self) -> tuple[int, int]:
        """Image size (height, width) in pixels."""
        return self.height, self.width

    @property
    def sigmas(self) -> tuple[float, float]:
        """Standard deviations of the PSF in pixels over rows and over columns."""
        return per_axis(self.sigma)  # type: ignore[return-value]

    @property
    def psf(self) -> Psf:
        """How a target's flux spreads."""
        return self.sigma if self.measured_psf is None else self.measured_psf

    @property
    def white(self) -> float:
        """The largest count the sensor can deliver (infinite for an ideal one)."""
        digital = math.inf if self.bit_depth is None else 2.0**self.bit_depth - 1
        return min(digital, math.inf if self.saturation is None else self.saturation)

    @property
    def half_step(self) -> float:
        """How far in counts a reading may be from what it was before rounding.

        A sensor that keeps reals is taken to know them to a small part of its noise.
        """
        if self.bit_depth is not None:
            return HALF_STEP
        shot = self.background / (self.gain or math.inf)
        noise = math.sqrt(self.read_noise**2 + shot)
        return min(_REAL_HALF_STEP, _REAL_SHARE * noise) if noise > 0 else _REAL_HALF_STEP

    @property
    def rounding_variance(self) -> float:
        """Variance in counts² of the rounding error."""
        return (2 * self.half_step) ** 2 / 12

    def noise_variance(self, level: Float[Array, "*pixels"]) -> Float[Array, "*pixels"]:
        """Variance in counts² of pixels that expect a level in counts, rounding error aside.

        Args:
          level: expected counts, the background included.
        """
        read = self.read_noise**2
        if self.gain is None:
            return jnp.full_like(level, read)
        return read + jnp.maximum(level, 0.0) / self.gain

    def sampling_matrix(self, factor: int) -> Float[Array, "pixels nodes"]:
        """Φ: the image (row-major pixels) of a unit target at each node of the sub-pixel grid.

        Args:
          factor: nodes per pixel along each axis, odd.

        Returns:
          `[height*width, factor*height * factor*width]`; `render` of targets on nodes is Φ x.

        Raises:
          DistaxError: `factor` is even or not positive.
        """
        rows, columns = (
            profile.response(node_coordinates(size, factor), np.arange(size))
            for size, profile in zip(self.shape, profiles(self.psf), strict=True)
        )
        terms = [jnp.kron(row, column).T for row, column in zip(rows, columns, strict=True)]
        return functools.reduce(jnp.add, terms)


def check_odd(factor: int) -> None:
    """Raise DistaxError for a factor whose nodes would miss the pixel centres."""
    if factor < 1 or factor % 2 == 0:
        raise DistaxError(f"factor must be an odd number such as 3, 5 or 7, got {factor}")


def node_coordinates(size: int, factor: int) -> Float[Array, " nodes"]:
    """Positions in pixels of the sub-pixel grid's nodes along one axis of `size` pixels.

    Raises:
      DistaxError: `factor` is even (its nodes would miss the pixel centres) or not positive.
    """
    check_odd(factor)
    return (jnp.arange(factor * size, dtype=float) - (factor - 1) / 2) / factor


def render(targets: Targets, sensor: Sensor) -> Float[Array, "*batch height width"]:
    """The ideal image: what the targets put into each pixel, unclipped, unrounded, noise-free.

    A target of intensity g at (r, q) adds g·P(i; r)·P(j; q) to pixel (i, j) for each term of the
    PSF; see `psf.responses`. Differentiable in positions and intensities; padding adds nothing.
    """
    rows, columns = responses(targets.place, sensor.shape, sensor.psf)
    return jnp.einsum("...k,t...ki,t...kj->...ij", targets.flux, rows, columns, precision="highest")


def expose(
    key: PRNGKeyArray, images: Float[Array, "*batch height width"], sensor: Sensor
) -> Float[Array, "*batch height width"]:
    """What the sensor delivers for ideal images: background, noise, clipping, rounding.

    Args:
      key: random key; unused by a sensor without noise.
      images: ideal images in counts, as `render` returns them.
      sensor: the sensor.

    Returns:
      Counts as floats, integer-valued if the sensor has a bit depth.
    """
    shot_key, read_key = jax.random.split(key)
    frames = images + sensor.background
    if sensor.gain is not None:
        rate = jnp.maximum(frames, 0.0) * sensor.gain
        electrons = jax.random.poisson(threefry(shot_key), rate)
        frames = electrons.astype(images.dtype) / sensor.gain
    if sensor.read_noise > 0:
        frames += sensor.read_noise * jax.random.normal(read_key, frames.shape, frames.dtype)
    frames = jnp.minimum(frames, sensor.white)
    return frames if sensor.bit_depth is None else jnp.maximum(jnp.round(frames), 0.0)


@exact_products
def squared_norm(phi: Float[Array, "pixels nodes"]) -> Float[Array, ""]:
    """‖Φ‖², the largest eigenvalue of ΦΦᵀ: the gradient of ½‖Φx − y‖² changes by no more times
    what x does.
    """
    return jnp.linalg.eigvalsh((phi @ phi.T).astype(float))[-1]
