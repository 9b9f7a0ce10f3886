"""Imaging model of a camera: a PSF integrated over pixels, noise, clipping and rounding.

Convention: a position is (row, column) in pixels, and (0, 0) is the centre of the first pixel.
"""

import functools
import math
from dataclasses import dataclass, replace
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, PRNGKeyArray

from distax.imaging.psf import MeasuredPsf, Psf, Width, per_axis, profiles
from distax.imaging.psf_grid import PsfGrid
from distax.runtime.errors import DistaxError, check_not_negative, check_positive, finite
from distax.runtime.numerics import check_key, exact_products, threefry
from distax.runtime.pytree import known_numbers, traced_numbers

_MOST_PIXELS = 10**8
"""Most pixels of an image. A limit far above those that are unmixed or trained on as a whole: whole
frames are cut into windows."""
MOST_BITS = 64
"""Most bits of a digitiser. The largest count of many more is beyond any number."""
HALF_STEP = 0.5
"""Half the digitiser's step in counts."""
ROUNDING_VARIANCE = (2 * HALF_STEP) ** 2 / 12
"""Variance in counts² of a digitiser's rounding error, which is taken as uniformly distributed."""
_REAL_SHARE, _IDEAL_HALF_STEP = 0.1, 0.05
"""Half-width of the interval that a real-valued reading stands for: as a share of its noise, and in
counts if there is no noise. Likelihoods are probabilities of intervals. A tenth of the noise is
narrow enough for the probability to be proportional to the density, and wide enough for float32 to
hold the difference of the interval's edges."""

Number = float | Float[Array, "*batch"]


def half_step(digital: bool, noise: Number | np.ndarray) -> Any:
    """Returns half the width in counts of the interval of values that a reading stands for.

    Args:
      digital: True if the sensor rounds to whole counts.
      noise: standard deviation of the reading in counts.
    """
    if digital:
        return HALF_STEP
    return jnp.where(jnp.asarray(noise) > 0, _REAL_SHARE * noise, _IDEAL_HALF_STEP)


@traced_numbers("height", "width", "bit_depth", "psf_grid")
@dataclass(frozen=True)
class Sensor:
    """A camera, which turns point targets into pixel counts. Default: CSIST-100K's.

    It is a pytree. JAX traces its numbers. Sizes, the bit depth and the fields that are None are
    its structure. A function compiled for one sensor serves all sensors of the same structure, and
    `vmap` and `grad` work over sensors.

    Attributes:
      height, width: size of its images in pixels.
      sigma: standard deviation of the Gaussian PSF in pixels. An elongated PSF has two, one over
        rows and one over columns.
      saturation: counts at which a pixel clips; None if it never does.
      bit_depth: bits of the digitiser, which rounds to 0 .. 2**bit_depth - 1; None for real-valued
        readings.
      read_noise: standard deviation of the read noise in counts.
      gain: electrons per count, which set the (Poisson) shot noise; None for no shot noise.
      background: level in counts that every pixel receives besides the targets.
      measured_psf: a PSF that is used instead of the Gaussian. `sigma` should then be the width of
        the nearest Gaussian, because the sizes of windows and clusters follow from it. Default: the
        Gaussian.
      psf_grid: a PSF that varies over the sensor's frames, used instead of both. `sigma` should
        then be a typical width. Images need a place in the frame, see `at`. Default: one PSF.

    Raises:
      DistaxError: a size is not whole; an image has more than 10⁸ pixels; a size, sigma,
        saturation, bit depth or gain is not positive; the noise or the background is negative;
        sigma, the noise or the background is not finite; sigma is neither one number nor two; every
        pixel clips at the background; both a measured PSF and a grid of PSFs are given.
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
    psf_grid: PsfGrid | None = None

    def __post_init__(self) -> None:
        if self.measured_psf is not None and self.psf_grid is not None:
            raise DistaxError("measured_psf and psf_grid are both the PSF; leave one of them out")
        names = ("height", "width", "sigma", "saturation", "bit_depth", "gain")
        for name, value in known_numbers(**{name: getattr(self, name) for name in names}):
            check_positive(**{name: value})
        if (pixels := math.prod(self.shape)) > _MOST_PIXELS:
            raise DistaxError(
                f"a sensor of {pixels:,} pixels, at most {_MOST_PIXELS:,} are taken as one image; "
                "give the size of smaller ones"
            )
        if self.bit_depth is not None and self.bit_depth > MOST_BITS:
            raise DistaxError(f"bit_depth must be at most {MOST_BITS}, got {self.bit_depth}")
        for name, value in known_numbers(read_noise=self.read_noise, background=self.background):
            check_not_negative(**{name: value})
        if not all(room > 0 for _, room in known_numbers(room=self.clip_level - self.background)):
            raise DistaxError(
                f"a background of {self.background} counts leaves no room below the "
                f"{self.clip_level} at which pixels clip"
            )

    @property
    def shape(self) -> tuple[int, int]:
        """Height and width of an image in pixels."""
        return self.height, self.width

    @property
    def sigmas(self) -> tuple[Width, Width]:
        """Standard deviations of the PSF in pixels over rows and over columns."""
        return per_axis(self.sigma)

    @property
    def widest_sigma(self) -> float:
        """Largest standard deviation of the PSF in pixels. It sets sizes, so it must be known."""
        if self.psf_grid is not None:
            return max(self.psf_grid.widest)
        return max(finite("sigma", sigma) for sigma in self.sigmas)

    @property
    def psf(self) -> Psf:
        """The measured PSF; the Gaussian's standard deviations if there is none.

        Raises:
          DistaxError: the PSF varies over the frame.
        """
        if self.psf_grid is not None:
            raise DistaxError(
                "the sensor's PSF varies over its frames (psf_grid), so an image needs its place: "
                "unmix whole frames, or take sensor.at(row, column) for the images of one place"
            )
        return self.sigma if self.measured_psf is None else self.measured_psf

    def at(self, row: float, column: float) -> "Sensor":
        """Returns the sensor with the PSF that it has at a position of its frames.

        Args:
          row, column: position in the frame in pixels. Without a grid of PSFs they have no effect.
        """
        if self.psf_grid is None:
            return self
        sigma, psf = self.psf_grid.psf_at(row, column)
        return replace(self, sigma=sigma, measured_psf=psf, psf_grid=None)

    def with_psf(self, psf: Psf) -> "Sensor":
        """Returns the sensor with another PSF, which is the same everywhere."""
        own: dict[str, Any] = {"measured_psf": psf}
        if not isinstance(psf, MeasuredPsf):
            own = {"sigma": psf, "measured_psf": None}
        return replace(self, psf_grid=None, **own)

    @property
    def digital(self) -> bool:
        """True if the sensor rounds to whole counts. Its readings are then never negative."""
        return self.bit_depth is not None

    @property
    def clip_level(self) -> Any:
        """Largest count that the sensor can deliver; infinite for an ideal one."""
        largest = math.inf if self.bit_depth is None else 2.0**self.bit_depth - 1
        if self.saturation is None:
            return largest
        if isinstance(self.saturation, Array | np.ndarray):
            return jnp.minimum(largest, self.saturation)
        return min(largest, self.saturation)

    @property
    def half_step(self) -> Any:
        """Half the width in counts of the interval that a reading of the background stands for."""
        return half_step(self.digital, self._dark_noise)

    @property
    def rounding_variance(self) -> Any:
        """Variance in counts² that rounding adds to a reading.

        It is zero for real-valued readings with noise. Those without noise still stand for an
        interval, whose variance is returned.
        """
        if self.digital:
            return ROUNDING_VARIANCE
        return jnp.where(self._dark_noise > 0, 0.0, (2 * _IDEAL_HALF_STEP) ** 2 / 12)

    @property
    def _dark_noise(self) -> Any:
        """Standard deviation of the noise in counts in a pixel without flux of targets."""
        return jnp.sqrt(self.noise_variance(jnp.asarray(self.background, float)))

    def noise_variance(self, level: Float[Array, "*pixels"]) -> Float[Array, "*pixels"]:
        """Returns the variance of read noise and shot noise in counts², without the rounding error.

        Args:
          level: expected counts in each pixel, the background included.
        """
        return self.shot_variance(level) + self.read_noise**2

    def shot_variance(self, level: Float[Array | np.ndarray, "*pixels"]) -> Float[Array, "*pixels"]:
        """Returns the variance of shot noise in counts²; zero for a sensor without a gain.

        Args:
          level: expected counts in each pixel.
        """
        if self.gain is None:
            return jnp.zeros_like(level)
        return jnp.maximum(level, 0.0) / self.gain

    def total_variance(self, level: Float[Array, "*pixels"]) -> Float[Array, "*pixels"]:
        """Returns the variance in counts² of each pixel's reading, the rounding error included.

        Args:
          level: expected counts in each pixel, the background included.
        """
        return self.noise_variance(level) + self.rounding_variance

    def sampling_matrix(self, factor: int) -> Float[Array, "pixels nodes"]:
        """Returns Φ: the image (row-major pixels) of a unit target at each sub-pixel grid node.

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
    """Raises DistaxError for a factor whose nodes would miss the pixel centres."""
    if factor < 1 or factor % 2 == 0:
        raise DistaxError(f"factor must be an odd number such as 3, 5 or 7, got {factor}")


def node_coordinates(size: int, factor: int) -> Float[Array, " nodes"]:
    """Returns the coordinates in pixels of a sub-pixel grid's nodes along an axis of `size` pixels.

    Raises:
      DistaxError: `factor` is even (its nodes would miss the pixel centres) or not positive.
    """
    check_odd(factor)
    return (jnp.arange(factor * size, dtype=float) - (factor - 1) / 2) / factor


def expose(
    key: PRNGKeyArray, images: Float[Array, "*batch height width"], sensor: Sensor
) -> Float[Array, "*batch height width"]:
    """Simulates what the sensor delivers for ideal images: background, noise, clipping, rounding.

    Args:
      key: random key.
      images: ideal images in counts, as `render` returns them, or of any other size.
      sensor: the sensor. Its height and width are not used.

    Returns:
      Counts as floats, integer-valued if the sensor has a bit depth.

    Raises:
      DistaxError: `key` is no random key.
    """
    check_key(key)
    shot_key, read_key = jax.random.split(key)
    frames = images + sensor.background
    if sensor.gain is not None:
        rate = jnp.maximum(frames, 0.0) * sensor.gain
        electrons = jax.random.poisson(threefry(shot_key), rate)
        frames = electrons.astype(images.dtype) / sensor.gain
    frames += sensor.read_noise * jax.random.normal(read_key, frames.shape, frames.dtype)
    frames = jnp.minimum(frames, sensor.clip_level)
    return jnp.maximum(jnp.round(frames), 0.0) if sensor.digital else frames


@exact_products
def largest_eigenvalue(phi: Float[Array, "pixels nodes"]) -> Float[Array, ""]:
    """Returns ‖Φ‖², the largest eigenvalue of ΦΦᵀ.

    It is the Lipschitz constant of the gradient of ½‖Φx − y‖².
    """
    return jnp.linalg.eigvalsh((phi @ phi.T).astype(float))[-1]
