"""The imaging model: a Gaussian PSF integrated over pixels, noise, clipping and rounding.

Convention: position is (row, column) in pixels and (0, 0) is the centre of the first pixel.
"""

import math
from dataclasses import dataclass

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, PRNGKeyArray

from distax.errors import DistaxError, check_not_negative, check_positive
from distax.keys import threefry
from distax.targets import Targets

Width = float | Float[Array, ""] | Float[Array, " lanes"]
Sigma = Width | tuple[Width, Width]
"""Standard deviation of the Gaussian PSF in pixels, or one for rows and one for columns."""


def per_axis(sigma: Sigma) -> tuple[Width, Width]:
    """Standard deviations of the PSF along rows and along columns."""
    return sigma if isinstance(sigma, tuple) else (sigma, sigma)


@dataclass(frozen=True)
class Sensor:
    """What turns point targets into pixel counts. The defaults are CSIST-100K's sensor.

    Attributes:
      height, width: image size in pixels.
      sigma: standard deviation of the Gaussian PSF in pixels; of an elongated one two, by which
        it spreads over rows and over columns.
      full_well: counts at which a pixel clips; None if it never does.
      bit_depth: bits of the digitiser, which rounds to 0 .. 2**bit_depth - 1; None keeps reals.
      read_noise: standard deviation of the read noise in counts.
      electrons_per_count: gain that sets the (Poisson) shot noise; None for no shot noise.
      background: level in counts that every pixel receives besides the targets.

    Raises:
      DistaxError: a size, sigma, full well, bit depth or gain that is not positive, or a negative
        noise or background.
    """

    height: int = 11
    width: int = 11
    sigma: float | tuple[float, float] = 0.5
    full_well: float | None = 255.0
    bit_depth: int | None = 8
    read_noise: float = 0.0
    electrons_per_count: float | None = None
    background: float = 0.0

    def __post_init__(self) -> None:
        check_positive(height=self.height, width=self.width)
        for sigma in self.sigmas:
            check_positive(sigma=sigma)
        for name in ("full_well", "bit_depth", "electrons_per_count"):
            if (value := getattr(self, name)) is not None:
                check_positive(**{name: value})
        check_not_negative(read_noise=self.read_noise, background=self.background)

    @property
    def shape(self) -> tuple[int, int]:
        """Image size (height, width) in pixels."""
        return self.height, self.width

    @property
    def sigmas(self) -> tuple[float, float]:
        """Standard deviations of the PSF in pixels over rows and over columns."""
        return per_axis(self.sigma)  # type: ignore[return-value]

    @property
    def white(self) -> float:
        """The largest count the sensor can deliver (infinite for an ideal one)."""
        digital = math.inf if self.bit_depth is None else 2.0**self.bit_depth - 1
        return min(digital, math.inf if self.full_well is None else self.full_well)

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
            pixel_response(node_coordinates(size, factor), size, sigma)
            for size, sigma in zip(self.shape, self.sigmas, strict=True)
        )
        return jnp.kron(rows, columns).T


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


def pixel_response(
    coordinate: Float[Array | np.ndarray, "*batch"], size: int, sigma: float | Float[Array, ""]
) -> Float[Array, "*batch {size}"]:
    """Share of a unit target's flux in each pixel along one axis, in closed form.

    P(k; u) = ½[erf((k+½−u)/(√2σ)) − erf((k−½−u)/(√2σ))], the Gaussian PSF integrated over
    pixel k. Differentiable in `coordinate` (pixels) and `sigma` (pixels).
    """
    edges = jnp.arange(size + 1, dtype=float) - 0.5
    cumulative = jax.scipy.special.erf((edges - coordinate[..., None]) / (math.sqrt(2) * sigma))
    return 0.5 * jnp.diff(cumulative, axis=-1)


def render(targets: Targets, sensor: Sensor) -> Float[Array, "*batch height width"]:
    """The ideal image: what the targets put into each pixel, unclipped, unrounded, noise-free.

    A target of intensity g at (r, q) adds g·P(i; r)·P(j; q) to pixel (i, j); see
    `pixel_response`. Differentiable in positions and intensities; padding adds nothing.
    """
    rows, columns = (
        pixel_response(targets.place[..., axis], size, sigma)
        for axis, (size, sigma) in enumerate(zip(sensor.shape, sensor.sigmas, strict=True))
    )
    return jnp.einsum("...k,...ki,...kj->...ij", targets.flux, rows, columns, precision="highest")


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
    if sensor.electrons_per_count is not None:
        rate = jnp.maximum(frames, 0.0) * sensor.electrons_per_count
        electrons = jax.random.poisson(threefry(shot_key), rate)
        frames = electrons.astype(images.dtype) / sensor.electrons_per_count
    if sensor.read_noise > 0:
        frames += sensor.read_noise * jax.random.normal(read_key, frames.shape, frames.dtype)
    frames = jnp.minimum(frames, sensor.white)
    return frames if sensor.bit_depth is None else jnp.maximum(jnp.round(frames), 0.0)


def squared_norm(phi: Float[Array, "pixels nodes"]) -> Float[Array, ""]:
    """‖Φ‖², the largest eigenvalue of ΦΦᵀ: the gradient of ½‖Φx − y‖² changes by no more times
    what x does.
    """
    with jax.default_matmul_precision("highest"):
        return jnp.linalg.eigvalsh((phi @ phi.T).astype(float))[-1]
