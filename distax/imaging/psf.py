"""The PSF: how the flux of a point target spreads over the pixels around it.

Every PSF is a sum of terms, each a response over rows times one over columns: a Gaussian has one
term, a measured PSF has a few.
"""

import math
from dataclasses import dataclass
from functools import cached_property

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Complex, Float

from distax.runtime.errors import DistaxError, check_positive

Width = float | Float[Array, ""] | Float[Array, " lanes"]
Sigma = Width | tuple[Width, Width]
"""Standard deviation of the Gaussian PSF in pixels, or one for rows and one for columns."""

_DISCARDED = 1e-3
"""Share of a measured PSF, by its root-mean-square, that its terms may leave out."""
_NEGLIGIBLE = 1e-6
"""Largest coefficient of a harmonic that does not count, relative to the largest of all."""


def per_axis(sigma: Sigma) -> tuple[Width, Width]:
    """Standard deviations of the PSF along rows and along columns."""
    return sigma if isinstance(sigma, tuple) else (sigma, sigma)


@dataclass(frozen=True, repr=False)
class MeasuredPsf:
    """A PSF as it was measured, of any shape: the sum of products of two profiles.

    Between its samples a profile is the trigonometric polynomial through them, which is exact
    where the PSF holds nothing finer than two samples; beyond them it is zero.

    Attributes:
      oversampling: samples per pixel.
      rows, columns: for each term the samples of its profile, as many before the target as after
        it; their products, summed, are the share of a target's flux that a pixel receives whose
        centre lies there.

    Raises:
      DistaxError: an oversampling that is not positive, profiles of different lengths or numbers,
        an even number of samples, or one that is not finite.
    """

    oversampling: int
    rows: tuple[tuple[float, ...], ...]
    columns: tuple[tuple[float, ...], ...]

    def __post_init__(self) -> None:
        check_positive(oversampling=self.oversampling)
        lengths = {len(profile) for profile in (*self.rows, *self.columns)}
        if len(self.rows) != len(self.columns) or len(lengths) != 1 or min(lengths) % 2 == 0:
            raise DistaxError(
                "a measured PSF has as many profiles over rows as over columns, all with the same "
                f"odd number of samples; got {len(self.rows)} and {len(self.columns)} profiles of "
                f"{' and '.join(map(str, sorted(lengths))) or 'no'} samples"
            )
        if not np.isfinite([self.rows, self.columns]).all():
            raise DistaxError("a measured PSF has samples that are not finite")

    def __repr__(self) -> str:
        terms = f"{len(self.rows)} term{'s' * (len(self.rows) > 1)}"
        return f"MeasuredPsf({terms} of {len(self.rows[0])} samples, {self.oversampling} a pixel)"

    @classmethod
    def from_samples(
        cls, samples: Float[np.ndarray, "side side"], oversampling: int, error: float = 0.0
    ) -> "MeasuredPsf":
        """The fewest terms that make up a PSF to within its error.

        Args:
          samples: share of a target's flux in a pixel whose centre lies there; the middle sample
            is the target. They are scaled so that all flux is there.
          oversampling: samples per pixel.
          error: standard deviation of the samples; a thousandth of their root-mean-square is left
            out in any case.

        Raises:
          DistaxError: as the class, or samples without flux.
        """
        flux = np.sum(samples) / oversampling**2
        if not 0 < flux < math.inf:
            raise DistaxError("the samples of a PSF hold no flux; give those of a point source")
        rows, power, columns = np.linalg.svd(samples / flux)
        left = np.sqrt(np.cumsum(power[::-1] ** 2)[::-1])
        unknown = max(_DISCARDED * left[0], error / flux * len(samples))
        terms = max(1, int(np.sum(left > unknown)))
        scale = np.sqrt(power[:terms, None])
        return cls(
            oversampling=oversampling,
            rows=tuple(map(tuple, (scale * rows.T[:terms]).tolist())),
            columns=tuple(map(tuple, (scale * columns[:terms]).tolist())),
        )

    @property
    def samples(self) -> Float[np.ndarray, "side side"]:
        """Share of a target's flux in a pixel whose centre lies at each sample."""
        return np.array(self.rows).T @ np.array(self.columns)

    @property
    def reach(self) -> float:
        """Pixels from the target along each axis beyond which there is nothing."""
        return len(self.rows[0]) / (2 * self.oversampling)


Psf = Sigma | MeasuredPsf
"""A Gaussian's standard deviations in pixels, or a PSF as measured."""


@dataclass(frozen=True)
class GaussianProfile:
    """A Gaussian along one axis, integrated over pixels in closed form.

    P(k; u) = ½[erf((k+½−u)/(√2σ)) − erf((k−½−u)/(√2σ))] is the share in pixel k.
    """

    sigma: Width

    def response(
        self, coordinate: Float[Array | np.ndarray, "..."], pixels: np.ndarray, axis: int = -1
    ) -> Float[Array, "terms ..."]:
        """For each term the share of a unit target's flux in each pixel.

        Args:
          coordinate: of targets, in pixels.
          pixels: coordinates of the pixels' centres, consecutive ones.
          axis: of the answer on which the pixels are, not counting that of the terms.
        """
        edges = self._scaled_edges(coordinate, pixels, axis)
        return 0.5 * jnp.diff(jax.scipy.special.erf(edges), axis=axis)[None]

    def slope(
        self, coordinate: Float[Array | np.ndarray, "..."], pixels: np.ndarray, axis: int = -1
    ) -> Float[Array, "terms ..."]:
        """Derivative of `response` by the coordinate."""
        edges = self._scaled_edges(coordinate, pixels, axis)
        density = jnp.exp(-(edges**2)) / (math.sqrt(2 * math.pi) * self.sigma)
        return -jnp.diff(density, axis=axis)[None]

    def _scaled_edges(
        self, coordinate: Float[Array | np.ndarray, "..."], pixels: np.ndarray, axis: int
    ) -> Float[Array, "..."]:
        edges = np.append(pixels, pixels[-1] + 1) - 0.5
        away = _along(edges, axis, jnp.ndim(coordinate)) - jnp.expand_dims(coordinate, axis)
        return away / (math.sqrt(2) * self.sigma)


@dataclass(frozen=True)
class MeasuredProfile:
    """Trigonometric polynomials through samples along one axis, and zero beyond them."""

    samples: tuple[tuple[float, ...], ...]
    oversampling: int

    def response(
        self, coordinate: Float[Array | np.ndarray, "..."], pixels: np.ndarray, axis: int = -1
    ) -> Float[Array, "terms ..."]:
        """See `GaussianProfile`."""
        return self._sum(self._amplitudes, coordinate, pixels, axis)

    def slope(
        self, coordinate: Float[Array | np.ndarray, "..."], pixels: np.ndarray, axis: int = -1
    ) -> Float[Array, "terms ..."]:
        """See `GaussianProfile`."""
        frequency = 2 * math.pi / self._period * np.arange(self._amplitudes.shape[1])
        return self._sum(-1j * frequency * self._amplitudes, coordinate, pixels, axis)

    @property
    def _period(self) -> float:
        """In pixels, of the polynomials."""
        return len(self.samples[0]) / self.oversampling

    @cached_property
    def _amplitudes(self) -> Complex[np.ndarray, "terms orders"]:
        """h of the polynomials Re Σ h exp(2πi · order · offset / period), those that count."""
        centred = np.fft.ifftshift(self.samples, axes=1)
        amplitudes = 2 * np.fft.rfft(centred) / centred.shape[1]
        amplitudes[:, 0] /= 2
        size = np.abs(amplitudes).max(axis=0)
        return amplitudes[:, : np.flatnonzero(size > _NEGLIGIBLE * size.max()).max(initial=0) + 1]

    def _sum(
        self,
        amplitudes: Complex[np.ndarray, "terms orders"],
        coordinate: Float[Array | np.ndarray, "..."],
        pixels: np.ndarray,
        axis: int,
    ) -> Float[Array, "terms ..."]:
        """The polynomials with these amplitudes at the pixels' offsets from the targets.

        exp(iω(k − u)) is a product: a matrix of what depends on the pixels multiplies a vector of
        what depends on the target, so that few sines have to be computed.
        """
        orders = np.arange(amplitudes.shape[1])
        turns = np.exp(2j * math.pi / self._period * np.multiply.outer(pixels, orders))
        matrix = amplitudes[:, None] * turns
        angle = 2 * math.pi / self._period * jnp.mod(coordinate, self._period)
        cosines, sines = _powers(jnp.cos(angle), jnp.sin(angle), len(orders))
        both = np.concatenate([matrix.real, matrix.imag], axis=-1).astype(angle.dtype)
        waves = jnp.concatenate([cosines, sines])
        total = jnp.tensordot(both, waves, axes=1, precision="highest")
        total = jnp.moveaxis(total, 1, axis + 1 if axis >= 0 else axis)
        offset = _along(pixels, axis, jnp.ndim(coordinate)) - jnp.expand_dims(coordinate, axis)
        return jnp.where(jnp.abs(offset) <= self._period / 2, total, 0.0)


def _along(values: np.ndarray, axis: int, others: int) -> Float[Array, "..."]:
    """Values on one axis of an array that has as many others."""
    apart = [d for d in range(others + 1) if d != axis % (others + 1)]
    return jnp.asarray(np.expand_dims(values, apart), dtype=float)


def _powers(
    cosine: Float[Array, "..."], sine: Float[Array, "..."], number: int
) -> tuple[Float[Array, "number ..."], Float[Array, "number ..."]]:
    """Cosines and sines of the multiples 0, 1, … of an angle."""
    cosines, sines = [jnp.ones_like(cosine)], [jnp.zeros_like(sine)]
    for _ in range(number - 1):
        cosines.append(cosines[-1] * cosine - sines[-1] * sine)
        sines.append(sines[-1] * cosine + cosines[-2] * sine)
    return jnp.stack(cosines), jnp.stack(sines)


Profile = GaussianProfile | MeasuredProfile
"""A PSF along one axis."""


def profiles(psf: Psf) -> tuple[Profile, Profile]:
    """A PSF along rows and along columns; their products, term by term, sum to the PSF."""
    if isinstance(psf, MeasuredPsf):
        samples = psf.rows, psf.columns
        row, column = (MeasuredProfile(axis, psf.oversampling) for axis in samples)
        return row, column
    row_sigma, column_sigma = per_axis(psf)
    return GaussianProfile(row_sigma), GaussianProfile(column_sigma)


def responses(
    position: Float[Array | np.ndarray, "*batch 2"], shape: tuple[int, int], psf: Psf
) -> tuple[Float[Array, "terms *batch height"], Float[Array, "terms *batch width"]]:
    """For each term of a PSF the shares of a unit target's flux in an image's rows and columns.

    Args:
      position: row and column in pixels; (0, 0) is the centre of the first pixel.
      shape: height and width of the image in pixels.
      psf: of the sensor.

    Returns:
      Rows and columns whose outer products, summed over terms, are the target's image.
    """
    rows, columns = (
        profile.response(position[..., axis], np.arange(shape[axis]))
        for axis, profile in enumerate(profiles(psf))
    )
    return rows, columns


def slopes(
    position: Float[Array | np.ndarray, "*batch 2"], shape: tuple[int, int], psf: Psf
) -> tuple[Float[Array, "terms *batch height"], Float[Array, "terms *batch width"]]:
    """Derivatives of `responses`: of the rows by the target's row, of the columns by its column."""
    rows, columns = (
        profile.slope(position[..., axis], np.arange(shape[axis]))
        for axis, profile in enumerate(profiles(psf))
    )
    return rows, columns


def pixel_response(
    coordinate: Float[Array | np.ndarray, "*batch"], size: int, sigma: float | Float[Array, ""]
) -> Float[Array, "*batch {size}"]:
    """Share of a unit target's flux in each pixel along one axis under a Gaussian PSF.

    Differentiable in `coordinate` (pixels) and `sigma` (pixels); see `GaussianProfile`.
    """
    return GaussianProfile(sigma).response(coordinate, np.arange(size))[0]
