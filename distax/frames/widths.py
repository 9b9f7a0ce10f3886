"""Widths of a frame's isolated blobs, each fitted by one Gaussian with two widths of its own.

A Gaussian that is integrated over pixels keeps its form if pixels are added in squares. So windows
of wide PSFs are binned, and one program fits all of them.
"""

import math
from dataclasses import dataclass
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float

from distax.fitting.gaussian_psf import SOURCE, WIDTHS, PsfFit, fit_psf
from distax.fitting.patch import Patch
from distax.frames.blobs import peaks, signal_to_noise
from distax.frames.cutouts import Cutouts, cut_windows
from distax.imaging.sensor import Sensor

_FILTER = 0.8
"""Width in bins of the matched filter that finds the blobs. It keeps most of the signal of PSFs
between half and twice its width."""


class _Range(NamedTuple):
    """Range of widths that one kind of window shows.

    Attributes:
      bins: side in pixels of the squares whose pixels are added.
      side: side of a window in bins. A larger one has more neighbours, a smaller one no background.
      narrowest, widest: smallest and largest width in pixels that is accepted. A hot pixel is
        narrower than any PSF, and the window of a wider one holds no background.
    """

    bins: int
    side: int
    narrowest: float
    widest: float


_RANGES = _Range(1, 11, 0.3, 1.8), _Range(3, 11, 1.4, 6.0)
"""Ranges of narrow and of wide PSFs."""
_SMALL = _Range(3, 7, 1.4, 3.5)
"""Range of wide PSFs in windows between neighbours or near edges."""
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


@dataclass(frozen=True)
class Widths:
    """Widths of blobs that may be stars.

    Attributes:
      sigma: `[N, 2]`, standard deviations in pixels, over rows and over columns.
      error: `[N, 2]`, standard deviations of these, multiplied by the misfit where the Gaussian
        does not explain a blob.
      chi_square: `[N]`, reduced χ² of the fit.
    """

    sigma: Float[np.ndarray, "N 2"]
    error: Float[np.ndarray, "N 2"]
    chi_square: Float[np.ndarray, " N"]

    def among(self, chosen: Bool[np.ndarray, " N"]) -> "Widths":
        """Returns some of the widths."""
        return Widths(self.sigma[chosen], self.error[chosen], self.chi_square[chosen])


def fit_widths(
    counts: Float[np.ndarray, "height width"],
    noise: Float[np.ndarray, "height width"],
    clipped: Bool[np.ndarray, "height width"],
    sensor: Sensor,
) -> list[Widths]:
    """Fits the isolated bright blobs of a frame, first as narrow ones and then as wide ones.

    If there are none, wide blobs are fitted in smaller windows.

    Args:
      counts: counts above the background; NaN where a pixel is not known.
      noise: standard deviation of the background's noise in counts.
      clipped: True for saturated pixels.
      sensor: the sensor, for its shot noise.

    Returns:
      The widths of the blobs that may be stars, for each range of widths.
    """

    def fitted(some: _Range) -> Widths:
        cutouts = _isolated(counts, noise, clipped, some)
        return _usable(*_fit_each_window(cutouts, sensor, some), some)

    usual = [fitted(some) for some in _RANGES]
    return usual if any(len(fit.sigma) for fit in usual) else [fitted(_SMALL)]


def _isolated(
    counts: Float[np.ndarray, "height width"],
    noise: Float[np.ndarray, "height width"],
    clipped: Bool[np.ndarray, "height width"],
    some: _Range,
) -> Cutouts:
    """Cuts windows around the brightest blobs that have no neighbour, clipped or unknown pixel."""
    from scipy.spatial import cKDTree

    significance = signal_to_noise(counts, noise, _FILTER * some.bins)
    pixel = peaks(significance, _NEIGHBOUR, some.bins)
    side = some.side * some.bins
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


def _fit_each_window(
    cutouts: Cutouts, sensor: Sensor, some: _Range
) -> tuple[Float[np.ndarray, "B 2"], Float[np.ndarray, "B 2"], Float[np.ndarray, " B"]]:
    """Fits a Gaussian with two widths to each window.

    Returns:
      Widths in pixels, their errors from the noise, and reduced χ².
    """
    blobs, (bins, side, *_) = len(cutouts.pixel), some
    if not blobs:
        return np.zeros((0, 2)), np.zeros((0, 2)), np.zeros(0)

    def binned(pixels: np.ndarray) -> Float[np.ndarray, "bins B"]:
        squares = pixels.reshape(blobs, side, bins, side, bins).sum(axis=(2, 4))
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
        size=jnp.asarray(np.full((2, _MOST), side)),
    )
    lowest = jnp.asarray(np.full(_MOST, -_UNBOUNDED), jnp.float32)
    used = jnp.asarray(np.ones(_MOST, bool))
    fit = _fit_each(padded(start), patch, lowest, used, side=side)
    fit = jax.tree.map(lambda leaf: np.asarray(leaf, float)[..., :blobs], fit)
    matrix = np.moveaxis(fit.matrix, -1, 0)
    scale = 1 / np.sqrt(np.maximum(np.diagonal(matrix, axis1=1, axis2=2), 1e-30))
    scaled = matrix * scale[:, None] * scale[:, :, None] + 1e-9 * np.eye(matrix.shape[-1])
    variances = np.diagonal(np.linalg.inv(scaled), axis1=1, axis2=2) * scale**2
    freedom = side**2 - (SOURCE.stop - SOURCE.start) - (WIDTHS.stop - WIDTHS.start)
    chi_square = np.sum(fit.weight * fit.residual**2, axis=0) / freedom
    std = np.sqrt(np.maximum(variances[:, WIDTHS], 0.0))
    return fit.parameters[WIDTHS].T * bins, std * bins, chi_square


def _fit_each_traced(
    start: Float[Array, "6 blobs"],
    patch: Patch,
    min_background: Float[Array, " blobs"],
    used: Bool[Array, " blobs"],
    side: int,
) -> PsfFit:
    return fit_psf(start, patch, min_background, used, side, shared=False, round_psf=False)


# It runs in milliseconds, so the compiler need not optimise it.
_fit_each = jax.jit(
    _fit_each_traced,
    static_argnames="side",
    compiler_options={"xla_backend_optimization_level": 0},
)


def _usable(
    sigma: Float[np.ndarray, "B 2"],
    std: Float[np.ndarray, "B 2"],
    chi_square: Float[np.ndarray, " B"],
    some: _Range,
) -> Widths:
    """Selects the blobs that may be stars."""
    error = std * np.sqrt(np.maximum(chi_square, 1.0))[:, None]
    inside = (sigma > some.narrowest) & (sigma < some.widest)
    usable = np.all(inside & (error < _LOOSEST * sigma), axis=1)
    if usable.any():
        usable &= chi_square <= _ODD * np.median(chi_square[usable])
    return Widths(sigma, error, chi_square).among(usable)
