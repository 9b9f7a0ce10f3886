"""Width of a frame's PSF: measured from its own isolated blobs, and compared with the assumed one.

Windows around bright blobs without neighbours are fitted by one Gaussian each, with two widths of
its own (`fitting.gaussian_psf`). Stars have one common width, and close pairs have others. So the
width counts as measured only if most of the blobs agree on it.

A Gaussian that is integrated over pixels keeps its form if pixels are added in squares. So windows
of wide PSFs are binned, and one program fits all of them.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Literal

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float

from distax.fitting.gaussian_psf import SOURCE, WIDTHS, PsfFit, fit_psf
from distax.fitting.patch import Patch
from distax.frames.blobs import peaks, signal_to_noise
from distax.frames.cutouts import Cutouts, cut_windows
from distax.imaging.sensor import Sensor

FEWEST_BLOBS = 5
"""Fewest blobs that must agree on a width. Fewer agree by chance."""
_BINS = 1, 3
"""Sides in pixels of the squares whose pixels are added, for narrow and for wide PSFs."""
_SIDE = 11
"""Side of a window in bins. A larger one has more neighbours, a smaller one no background."""
_FILTER = 0.8
"""Width in bins of the matched filter that finds the blobs. It keeps most of the signal of PSFs
between half and twice its width."""
_NARROWEST, _WIDEST = (0.3, 1.4), (1.8, 6.0)
"""Smallest and largest width in pixels that is accepted, for each binning. A hot pixel is narrower
than any PSF, and the window of a wider one holds no background."""
_BRIGHT, _NEIGHBOUR = 20.0, 6.0
"""Least signal-to-noise ratio of a blob that is measured, and of a neighbour that disturbs it. The
width of a fainter blob is known to worse than 5%. A fainter neighbour changes it by less."""
_UNBOUNDED = 1e6
"""Bound of a window's background in units of its noise, which no background reaches."""
_MOST = 64
"""Largest number of blobs that are fitted; the brightest are taken. More take longer."""
_LOOSEST = 0.1
"""Largest relative error of a width that is used."""
_ODD = 4.0
"""If a blob's χ² is more than this many times the median, it is no isolated star."""
_SPREADS = 0.01, 0.05
"""Relative scatter of widths that is expected besides their errors, first in a good camera, then in
one whose PSF varies over the frame. A smaller one finds no agreement. Under the larger one close
pairs agree with stars."""
_BLENDED, _ALIKE = 1.4, 0.03
"""A width that is larger than the assumed one by a factor up to the first may be that of unresolved
clusters. It counts as measured only if the relative scatter of the blobs is below the second, as
clusters differ more."""
_AGREEING = 0.5
"""Smallest share of the blobs that must agree. In a frame of close pairs and clusters few do."""
_DISTINCT = 3.0
"""Standard deviations within which two widths agree."""
_TOLERANCE, _SIGNIFICANT = 0.05, 4.0
"""If a measured width differs from the assumed one by more than the first, relative to it, and by
more than the second in standard deviations, it contradicts. Errors of 5% bias intensities by about
as much, and start to split bright stars in two."""
_ROUND = 0.03
"""Relative difference of the two widths up to which the PSF counts as round."""


@dataclass(frozen=True)
class MeasuredWidth:
    """Width of the PSF as a frame's isolated blobs show it.

    Attributes:
      sigma: standard deviations of the PSF in pixels, over rows and over columns; None if too few
        blobs agree.
      std: standard deviations of these two; None likewise.
      agreeing: number of blobs that agree.
      isolated: number of bright blobs without neighbours.
    """

    sigma: tuple[float, float] | None
    std: tuple[float, float] | None
    agreeing: int
    isolated: int

    def contradicts(self, sensor: Sensor) -> bool:
        """Returns True if the measured width differs significantly from a sensor's."""
        if self.sigma is None or self.std is None:
            return False
        away = np.abs(np.array(self.sigma) - np.array(sensor.sigmas, float))
        limit = np.maximum(
            _TOLERANCE * np.array(sensor.sigmas, float), _SIGNIFICANT * np.array(self.std)
        )
        return bool(np.any(away > limit))

    @property
    def suggested(self) -> float | tuple[float, float] | None:
        """Sigma for a sensor: one number for a round PSF, else two; None if none is measured."""
        if self.sigma is None or self.std is None:
            return None
        row, column = self.sigma
        mean = math.sqrt(row * column)
        if abs(row - column) <= max(_ROUND * mean, _DISTINCT * math.hypot(*self.std)):
            return mean
        return self.sigma


NOT_MEASURED = MeasuredWidth(sigma=None, std=None, agreeing=0, isolated=0)


@dataclass(frozen=True)
class PsfCheck:
    """PSF that was assumed for a frame, and how well it holds.

    Attributes:
      sigma: assumed standard deviation in pixels; two, over rows and over columns, for an elongated
        PSF.
      source: "given" for the sensor's own, "measured" for the frame's, "default" if it could not be
        measured.
      measured: width that the frame's isolated blobs show.
      contradicted: True if they contradict the assumed one.
      misfit: median misfit of the blobs, which is about 1 where the model holds; None without
        blobs.
      blobs: number of blobs with targets.
      over_frame: smallest and largest standard deviation in pixels of a PSF that varies over the
        frame, whose typical one `sigma` is; None for one PSF.
    """

    sigma: float | tuple[float, float]
    source: Literal["given", "measured", "default"]
    measured: MeasuredWidth
    contradicted: bool
    misfit: float | None
    blobs: int
    over_frame: tuple[float, float] | None = None

    @property
    def line(self) -> str:
        """The check in one line."""
        parts = [f"PSF sigma {format_sigma(self.sigma)} {self._origin}"]
        if self.over_frame is not None:
            low, high = self.over_frame
            parts = [f"PSF sigma {low:.4g} to {high:.4g} px over the frame, as given"]
        if self.misfit is not None:
            parts.append(f"median misfit of {self.blobs} blobs {self.misfit:.2f} (about 1 is good)")
        return "; ".join(parts)

    @property
    def advice(self) -> str:
        """The line that warns of a contradicted PSF."""
        seen = self.measured
        if seen.suggested is None or seen.std is None:
            return self.line
        width = format_sigma(seen.suggested)
        return (
            f"{seen.agreeing} of {seen.isolated} isolated blobs show a PSF of sigma {width} ± "
            f"{format_sigma(seen.std, 1)} px, and {format_sigma(self.sigma)} px was given, so "
            f"targets and errors are wrong: give a sigma of {width} px (--frame.sigma), leave it "
            "out, or measure the sensor by distax calibrate"
        )

    @property
    def _origin(self) -> str:
        seen = self.measured
        if seen.sigma is None or seen.std is None:
            number = f"{seen.isolated} isolated bright blob{'s' * (seen.isolated != 1)}"
            do = "check" if self.source == "given" else "measure"
            why = "do not agree on a width" if seen.isolated >= FEWEST_BLOBS else f"cannot {do} it"
            return f"px {'as given' if self.source == 'given' else 'by default'}: {number} {why}"
        agree = f"{seen.agreeing} of {seen.isolated} isolated blobs"
        if self.source == "measured":
            return f"± {format_sigma(seen.std, 1)} px, measured from {agree}"
        verb = "contradict it" if self.contradicted else "agree"
        width = f"{format_sigma(seen.suggested or seen.sigma)} ± {format_sigma(seen.std, 1)} px"
        return f"px as given: {agree} {verb} ({width})"


def format_sigma(sigma: float | tuple[float, float], digits: int = 4) -> str:
    """Returns the widths of a PSF as text: one number if both are written alike, else two."""
    pair = sigma if isinstance(sigma, tuple) else (sigma, sigma)
    row, column = (f"{width:.{digits}g}" for width in pair)
    return row if row == column else f"{row}×{column}"


def measure_width(
    counts: Float[np.ndarray, "height width"],
    noise: Float[np.ndarray, "height width"],
    clipped: Bool[np.ndarray, "height width"],
    sensor: Sensor,
) -> MeasuredWidth:
    """Measures the width of the PSF from the isolated bright blobs of a frame or of a part of it.

    Args:
      counts: counts above the background; NaN where a pixel is not known.
      noise: standard deviation of the background's noise in counts.
      clipped: True for saturated pixels.
      sensor: the sensor, for its shot noise.
    """
    fits = [
        _usable(*_fit_widths(_isolated(counts, noise, clipped, bins), sensor, bins), *bounds)
        for bins, *bounds in zip(_BINS, _NARROWEST, _WIDEST, strict=True)
    ]
    tight, loose = (
        _most_agreeing([_agreement(*fit, spread) for fit in fits]) for spread in _SPREADS
    )
    width = loose if tight.sigma is None else tight
    return replace(tight, sigma=None, std=None) if _may_be_clusters(width, sensor) else width


def _may_be_clusters(width: MeasuredWidth, sensor: Sensor) -> bool:
    """Returns True if clusters of a sensor's stars would explain a measured width as well."""
    if width.sigma is None or width.std is None:
        return False
    sigma, assumed = np.array(width.sigma), np.array(sensor.sigmas, float)
    scatter = math.sqrt(width.agreeing) * np.array(width.std)
    return bool(
        np.any((sigma > assumed) & (sigma < _BLENDED * assumed))
        and np.any(scatter > _ALIKE * sigma)
    )


def _isolated(
    counts: Float[np.ndarray, "height width"],
    noise: Float[np.ndarray, "height width"],
    clipped: Bool[np.ndarray, "height width"],
    bins: int,
) -> Cutouts:
    """Cuts windows around the brightest blobs that have no neighbour, clipped or unknown pixel."""
    from scipy.spatial import cKDTree

    significance = signal_to_noise(counts, noise, _FILTER * bins)
    pixel = peaks(significance, _NEIGHBOUR, bins)
    side = _SIDE * bins
    inside = np.all((pixel >= side // 2) & (pixel < np.array(counts.shape) - side // 2), axis=1)
    bright = significance[tuple(pixel.T)] >= _BRIGHT
    near = cKDTree(pixel).query_pairs(side // 2, p=math.inf, output_type="ndarray")
    alone = np.ones(len(pixel), bool)
    alone[near] = False
    chosen = pixel[inside & bright & alone]
    order = np.argsort(-significance[tuple(chosen.T)], kind="stable")
    # A few more than are fitted, as some have clipped or unknown pixels.
    cutouts = cut_windows(chosen[order][: 4 * _MOST], significance, counts, noise, clipped, side)
    whole = np.all(np.isfinite(cutouts.counts) & ~cutouts.clipped, axis=(1, 2))
    kept = np.flatnonzero(whole)[:_MOST]
    leaves: Cutouts = jax.tree.map(lambda leaf: leaf[kept], cutouts)
    return leaves


def _fit_widths(
    cutouts: Cutouts, sensor: Sensor, bins: int
) -> tuple[Float[np.ndarray, "B 2"], Float[np.ndarray, "B 2"], Float[np.ndarray, " B"]]:
    """Fits a Gaussian with two widths to each window.

    Returns:
      Widths in pixels, their errors from the noise, and reduced χ².
    """
    blobs = len(cutouts.pixel)
    if not blobs:
        return np.zeros((0, 2)), np.zeros((0, 2)), np.zeros(0)

    def binned(pixels: np.ndarray) -> Float[np.ndarray, "bins B"]:
        squares = pixels.reshape(blobs, _SIDE, bins, _SIDE, bins).sum(axis=(2, 4))
        return squares.reshape(blobs, -1).T

    counts = binned(cutouts.counts)
    variance = binned(cutouts.noise**2) + np.asarray(sensor.shot_variance(counts))
    # In units of the noise, as float32 does not hold the squares of all units of counts.
    unit = np.sqrt(np.mean(variance, axis=0))
    counts, variance = counts / unit, variance / unit**2
    flux = np.maximum(counts.sum(axis=0), 1.0)
    zero = np.zeros(blobs)
    start = np.stack([zero, zero, flux, zero, zero + _FILTER, zero + _FILTER])

    def padded(lanes: np.ndarray) -> Float[Array, "*axes lanes"]:
        """Repeats the last window, so that one program serves all numbers of windows."""
        widths = [(0, 0)] * (lanes.ndim - 1) + [(0, _MOST - blobs)]
        return jnp.asarray(np.pad(lanes, widths, mode="edge"), jnp.float32)

    half = np.sqrt(variance) / 10
    patch = Patch(
        counts=padded(counts),
        lower=padded(counts - half),
        upper=padded(counts + half),
        variance=padded(variance),
        rounding=padded(zero),
        origin=jnp.asarray(np.zeros((2, _MOST), int)),
        size=jnp.asarray(np.full((2, _MOST), _SIDE)),
    )
    lowest = jnp.asarray(np.full(_MOST, -_UNBOUNDED), jnp.float32)
    used = jnp.asarray(np.ones(_MOST, bool))
    fit = _fit_each(padded(start), patch, lowest, used)
    fit = jax.tree.map(lambda leaf: np.asarray(leaf, float)[..., :blobs], fit)
    matrix = np.moveaxis(fit.matrix, -1, 0)
    scale = 1 / np.sqrt(np.maximum(np.diagonal(matrix, axis1=1, axis2=2), 1e-30))
    scaled = matrix * scale[:, None] * scale[:, :, None] + 1e-9 * np.eye(matrix.shape[-1])
    variances = np.diagonal(np.linalg.inv(scaled), axis1=1, axis2=2) * scale**2
    freedom = _SIDE**2 - (SOURCE.stop - SOURCE.start) - (WIDTHS.stop - WIDTHS.start)
    chi_square = np.sum(fit.weight * fit.residual**2, axis=0) / freedom
    std = np.sqrt(np.maximum(variances[:, WIDTHS], 0.0))
    return fit.parameters[WIDTHS].T * bins, std * bins, chi_square


def _fit_each_traced(
    start: Float[Array, "6 blobs"],
    patch: Patch,
    min_background: Float[Array, " blobs"],
    used: Bool[Array, " blobs"],
) -> PsfFit:
    return fit_psf(start, patch, min_background, used, _SIDE, shared=False, round_psf=False)


# It runs in milliseconds, so the compiler need not optimise it.
_fit_each = jax.jit(_fit_each_traced, compiler_options={"xla_backend_optimization_level": 0})


def _most_agreeing(widths: Sequence[MeasuredWidth]) -> MeasuredWidth:
    return max(widths, key=lambda width: (width.agreeing, width.isolated))


def _usable(
    sigma: Float[np.ndarray, "B 2"],
    std: Float[np.ndarray, "B 2"],
    chi_square: Float[np.ndarray, " B"],
    narrowest: float,
    widest: float,
) -> tuple[Float[np.ndarray, "N 2"], Float[np.ndarray, "N 2"]]:
    """Selects the blobs that may be stars; returns their widths and errors.

    The errors are multiplied by the misfit where the Gaussian does not explain a blob.
    """
    error = std * np.sqrt(np.maximum(chi_square, 1.0))[:, None]
    usable = np.all((sigma > narrowest) & (sigma < widest) & (error < _LOOSEST * sigma), axis=1)
    if usable.any():
        usable &= chi_square <= _ODD * np.median(chi_square[usable])
    return sigma[usable], error[usable]


def _agreement(
    sigma: Float[np.ndarray, "B 2"], error: Float[np.ndarray, "B 2"], spread: float
) -> MeasuredWidth:
    """Finds the width on which most blobs agree, and its error from their scatter."""
    if len(sigma) < FEWEST_BLOBS:
        return replace(NOT_MEASURED, isolated=len(sigma))
    error = np.hypot(error, spread * sigma)
    away = np.abs(sigma[:, None] - sigma)
    alike = np.all(away < _DISTINCT * np.hypot(error[:, None], error), axis=-1)
    members = alike[np.argmax(alike.sum(axis=1))]
    agreeing = int(members.sum())
    if agreeing < max(FEWEST_BLOBS, _AGREEING * len(sigma)):
        return replace(NOT_MEASURED, isolated=len(sigma))
    weight = error[members] ** -2.0
    mean = np.sum(weight * sigma[members], axis=0) / np.sum(weight, axis=0)
    scatter = np.std(sigma[members], axis=0) / math.sqrt(agreeing)
    deviation = np.maximum(np.sum(weight, axis=0) ** -0.5, scatter)
    return MeasuredWidth(
        sigma=(float(mean[0]), float(mean[1])),
        std=(float(deviation[0]), float(deviation[1])),
        agreeing=agreeing,
        isolated=len(sigma),
    )
