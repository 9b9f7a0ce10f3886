"""Point spread functions: the share of a point target's flux in each pixel around it.

A PSF is a sum of terms. Each term is the product of a profile over rows and a profile over columns:
a Gaussian has one term, a measured PSF has a few.
"""

import math
from dataclasses import dataclass
from functools import cached_property, partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from distax.runtime.errors import DistaxError, check_positive, check_whole
from distax.runtime.pytree import traced_numbers

Width = float | Float[Array, ""] | Float[Array, " lanes"]
Sigma = Width | tuple[Width, Width]
"""Standard deviation of the Gaussian PSF in pixels, or one for rows and one for columns."""

_DISCARDED = 1e-3
"""Share of a measured PSF, by its root-mean-square, that its terms may leave out. A smaller share
needs more terms, which cost time in every evaluation and follow the noise of the measurement. A
larger share makes images less exact."""
_NEGLIGIBLE = 1e-6
"""If the amplitudes of all higher harmonics are at most this share of the largest amplitude, these
harmonics are left out. A smaller share keeps more of them, which costs time in every evaluation. A
larger one makes images less exact."""


def per_axis(sigma: Sigma) -> tuple[Width, Width]:
    """Returns the standard deviations of the PSF along rows and along columns."""
    return sigma if isinstance(sigma, tuple) else (sigma, sigma)


@traced_numbers("oversampling", "harmonics")
@dataclass(frozen=True, repr=False, eq=False)
class MeasuredPsf:
    """A measured PSF of any shape: a sum of terms, each the product of two sampled profiles.

    Between its samples a profile is the trigonometric polynomial through them. The polynomial is
    exact if the PSF holds no detail finer than two samples. Beyond its samples a profile is zero.

    Attributes:
      oversampling: samples per pixel.
      rows, columns: samples of each term's profiles, `[terms, samples]`, as many before the target
        as after it. The products of the profiles, summed over terms, give the share of a target's
        flux in a pixel, at the offset of the pixel's centre from the target.

    Raises:
      DistaxError: the oversampling is not positive; profiles differ in length or number; the number
        of samples is even; a sample is not finite; or the samples hold no flux.
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
        if not self._traced:
            rows, columns = (np.sum(profiles, axis=1) for profiles in (self.rows, self.columns))
            _check_flux(rows @ columns)

    def __repr__(self) -> str:
        terms = f"{len(self.rows)} term{'s' * (len(self.rows) > 1)}"
        return f"MeasuredPsf({terms} of {len(self.rows[0])} samples, {self.oversampling} a pixel)"

    def __eq__(self, other: object) -> bool:
        return isinstance(other, MeasuredPsf) and self._key == other._key

    def __hash__(self) -> int:
        return hash(self._key)

    @property
    def _key(self) -> tuple[Any, ...]:
        """Oversampling and samples: the values that equality and the hash compare."""
        return self.oversampling, np.shape(self.rows), *map(_bytes, (self.rows, self.columns))

    @classmethod
    def from_samples(
        cls, samples: Float[np.ndarray, "side side"], oversampling: int, error: float = 0.0
    ) -> "MeasuredPsf":
        """Approximates a sampled PSF by the fewest terms, by singular value decomposition.

        Args:
          samples: share of a target's flux in a pixel whose centre lies at each sample. The target
            is at the middle sample. The samples are scaled so that they hold all of the flux.
          oversampling: samples per pixel.
          error: standard deviation of the samples. The weakest terms are left out while their sum
            has a root-mean-square below it, or below a thousandth of the samples'.

        Raises:
          DistaxError: the same as the class.
        """
        check_whole(oversampling=oversampling)
        check_positive(oversampling=oversampling)
        if np.ndim(samples) != 2 or not np.isfinite(samples).all():
            bad = "NaN or infinity" if np.ndim(samples) == 2 else f"shape {np.shape(samples)}"
            raise DistaxError(
                "the samples of a PSF must be finite numbers, rows by columns; got " + bad
            )
        flux = _check_flux(np.sum(samples)) / oversampling**2
        rows, power, columns = np.linalg.svd(samples / flux)
        # The root of the summed squares of each term and all weaker ones.
        remainder = np.sqrt(np.cumsum(power[::-1] ** 2)[::-1])
        limit = max(_DISCARDED * remainder[0], error / flux * len(samples))
        terms = max(1, int(np.sum(remainder > limit)))
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

    @cached_property
    def harmonics(self) -> int:
        """Number of harmonics to sum, from the constant to the last one that is not negligible.

        Traced samples have no values to compare, so all harmonics are summed.
        """
        if self._traced:
            return len(self.rows[0]) // 2 + 1
        size = np.abs(np.fft.rfft(np.concatenate([self.rows, self.columns]))).max(axis=0)
        return int(np.flatnonzero(size > _NEGLIGIBLE * size.max()).max(initial=0)) + 1

    @property
    def _traced(self) -> bool:
        """True if JAX traces the samples, so that they have no values."""
        return any(
            isinstance(leaf, jax.core.Tracer) for leaf in jax.tree.leaves((self.rows, self.columns))
        )

    @property
    def reach(self) -> float:
        """Distance in pixels along each axis beyond which the PSF is zero."""
        return len(self.rows[0]) / (2 * self.oversampling)


def _check_flux(flux: Any) -> float:
    """Returns the sum of a PSF's samples; raises DistaxError if it is not a positive number."""
    if not 0 < flux < math.inf:
        raise DistaxError("the samples of a PSF hold no flux; give those of a point source")
    return float(flux)


def _bytes(samples: Any) -> bytes:
    return np.asarray(samples, np.float32).tobytes()


Psf = Sigma | MeasuredPsf
"""A Gaussian's standard deviations in pixels, or a PSF as measured."""


@dataclass(frozen=True)
class GaussianProfile:
    """A Gaussian along one axis, integrated over pixels in closed form.

    The share of the flux in pixel k is P(k; u) = ½[erf((k+½−u)/(√2σ)) − erf((k−½−u)/(√2σ))].
    """

    sigma: Width

    def response(
        self, coordinate: Float[Array | np.ndarray, "..."], pixels: np.ndarray, axis: int = -1
    ) -> Float[Array, "terms ..."]:
        """Returns the share of a unit target's flux in each pixel, for each term.

        Args:
          coordinate: coordinates of targets in pixels.
          pixels: coordinates of the centres of consecutive pixels.
          axis: axis of the result along which pixels run, not counting the axis of terms.
        """
        edges = self._scaled_edges(coordinate, pixels, axis)
        return 0.5 * jnp.diff(jax.scipy.special.erf(edges), axis=axis)[None]

    def slope(
        self, coordinate: Float[Array | np.ndarray, "..."], pixels: np.ndarray, axis: int = -1
    ) -> Float[Array, "terms ..."]:
        """Returns the derivative of `response` with respect to the coordinate."""
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
    """Trigonometric polynomials through samples along one axis, zero beyond the samples.

    Attributes:
      samples: `[terms, samples]`, see `MeasuredPsf`.
      oversampling: samples per pixel.
      harmonics: number of harmonics that are summed, from the constant up.
    """

    samples: Any
    oversampling: int
    harmonics: int

    def response(
        self, coordinate: Float[Array | np.ndarray, "..."], pixels: np.ndarray, axis: int = -1
    ) -> Float[Array, "terms ..."]:
        """Returns the share of a unit target's flux in each pixel; see `GaussianProfile`."""
        return self._sum(*self._amplitudes(), coordinate, pixels, axis)

    def slope(
        self, coordinate: Float[Array | np.ndarray, "..."], pixels: np.ndarray, axis: int = -1
    ) -> Float[Array, "terms ..."]:
        """Returns the derivative of `response` with respect to the coordinate."""
        cosine, sine = self._amplitudes()
        frequency = 2 * math.pi / self._period * np.arange(self.harmonics)
        return self._sum(frequency * sine, -frequency * cosine, coordinate, pixels, axis)

    @property
    def _period(self) -> float:
        """Period of the polynomials in pixels."""
        return len(self.samples[0]) / self.oversampling

    def _amplitudes(self) -> tuple[Any, Any]:
        """Returns the amplitudes a, b of Σₖ aₖ cos(kωx) − bₖ sin(kωx), each `[terms, harmonics]`.

        Here x is the offset from the middle sample, and ω = 2π / period.

        They are a discrete Fourier transform, computed as a matrix product. Samples that are known
        before tracing are transformed in float64.
        """
        traced = isinstance(self.samples, jax.Array)
        product = partial(jnp.matmul, precision="highest") if traced else np.matmul
        number = len(self.samples[0])
        offset = np.arange(number) - number // 2
        angle = 2 * math.pi / number * np.multiply.outer(offset, np.arange(self.harmonics))
        scale = np.where(np.arange(self.harmonics) == 0, 1.0, 2.0) / number
        return product(self.samples, scale * np.cos(angle)), product(
            self.samples, -scale * np.sin(angle)
        )

    def _sum(
        self,
        cosine: Any,
        sine: Any,
        coordinate: Float[Array | np.ndarray, "..."],
        pixels: np.ndarray,
        axis: int,
    ) -> Float[Array, "terms ..."]:
        """Sums the polynomials with amplitudes a, b at the pixels' offsets from the targets.

        The addition theorems split cos and sin of ω(k − u) into factors of the pixel k and of the
        target's coordinate u. So a matrix for the pixels multiplies a vector for the targets, and
        sines are computed for each target rather than for each pair of a target and a pixel.
        """
        turn = 2 * math.pi / self._period * np.multiply.outer(pixels, np.arange(self.harmonics))
        a, b = cosine[:, None], sine[:, None]
        parts = a * np.cos(turn) - b * np.sin(turn), a * np.sin(turn) + b * np.cos(turn)
        angle = 2 * math.pi / self._period * jnp.mod(coordinate, self._period)
        waves = jnp.concatenate(_powers(jnp.cos(angle), jnp.sin(angle), self.harmonics))
        matrix = jnp.concatenate(jax.tree.map(jnp.asarray, parts), axis=-1).astype(angle.dtype)
        total = jnp.tensordot(matrix, waves, axes=1, precision="highest")
        total = jnp.moveaxis(total, 1, axis + 1 if axis >= 0 else axis)
        offset = _along(pixels, axis, jnp.ndim(coordinate)) - jnp.expand_dims(coordinate, axis)
        return jnp.where(jnp.abs(offset) <= self._period / 2, total, 0.0)


def _along(values: np.ndarray, axis: int, others: int) -> Float[Array, "..."]:
    """Moves values to one axis of an array, and adds a number of other axes of length one."""
    apart = [d for d in range(others + 1) if d != axis % (others + 1)]
    return jnp.asarray(np.expand_dims(values, apart), dtype=float)


def _powers(
    cosine: Float[Array, "..."], sine: Float[Array, "..."], number: int
) -> tuple[Float[Array, "number ..."], Float[Array, "number ..."]]:
    """Returns cosines and sines of the multiples 0, 1, … of an angle, by addition theorems."""
    cosines, sines = [jnp.ones_like(cosine)], [jnp.zeros_like(sine)]
    for _ in range(number - 1):
        cosines.append(cosines[-1] * cosine - sines[-1] * sine)
        sines.append(sines[-1] * cosine + cosines[-2] * sine)
    return jnp.stack(cosines), jnp.stack(sines)


Profile = GaussianProfile | MeasuredProfile
"""A PSF along one axis."""


def profiles(psf: Psf) -> tuple[Profile, Profile]:
    """Returns a PSF's profiles over rows and over columns; their products sum to the PSF."""
    if isinstance(psf, MeasuredPsf):
        row, column = (
            MeasuredProfile(axis, psf.oversampling, psf.harmonics)
            for axis in (psf.rows, psf.columns)
        )
        return row, column
    row_sigma, column_sigma = per_axis(psf)
    return GaussianProfile(row_sigma), GaussianProfile(column_sigma)


def responses(
    position: Float[Array | np.ndarray, "*batch 2"], shape: tuple[int, int], psf: Psf
) -> tuple[Float[Array, "terms *batch height"], Float[Array, "terms *batch width"]]:
    """Returns the shares of a unit target's flux in an image's rows and columns, for each term.

    Args:
      position: row and column in pixels; (0, 0) is the centre of the first pixel.
      shape: height and width of the image in pixels.
      psf: the sensor's PSF.

    Returns:
      Rows and columns whose outer products, summed over terms, are the target's image.
    """
    rows, columns = (
        profile.response(position[..., axis], np.arange(shape[axis]))
        for axis, profile in enumerate(profiles(psf))
    )
    return rows, columns


def peak_share(psf: Psf) -> Float[Array, ""]:
    """Returns the share of a target's flux in its own pixel, when it lies at the pixel's centre."""
    rows, columns = responses(np.zeros(2), (1, 1), psf)
    return jnp.sum(rows * columns)


def pixel_response(
    coordinate: Float[Array | np.ndarray, "*batch"], size: int, sigma: float | Float[Array, ""]
) -> Float[Array, "*batch {size}"]:
    """Returns a unit target's flux in each pixel along one axis under a Gaussian PSF.

    Differentiable in `coordinate` (pixels) and `sigma` (pixels); see `GaussianProfile`.
    """
    return GaussianProfile(sigma).response(coordinate, np.arange(size))[0]
