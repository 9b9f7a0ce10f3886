"""Calibration of a sensor, from images of isolated sources to its PSF, noise and limits.

The steps are: limits of the counts; noise from dark frames and repeated frames, where given; search
for isolated sources; joint fit of a Gaussian PSF; optionally the measurement of a PSF of any shape.
"""

import math
import warnings
from collections.abc import Sequence
from dataclasses import replace
from functools import partial
from typing import Any

import numpy as np
from jaxtyping import Float

from distax.calibration.joint_fit import (
    SOURCE_REACH,
    SOURCE_SQUARE,
    JointFit,
    fit_each_source,
    fit_joint,
    median_sigma,
)
from distax.calibration.measured_psf import measure_psf
from distax.calibration.noise import (
    Limits,
    NoiseModel,
    estimate_background_noise,
    find_limits,
    fit_photon_transfer,
    measure_dark_noise,
)
from distax.calibration.psf_grid import GridMeasurement, measure_grid
from distax.calibration.result import SIGNIFICANT_SIGMAS, Calibration, Quantity
from distax.calibration.sources import MIN_SOURCES, IsolatedSources, find_isolated_sources
from distax.fitting.patch import window_width
from distax.imaging.checks import as_counts
from distax.imaging.sensor import MOST_BITS, ROUNDING_VARIANCE, Sensor
from distax.runtime.errors import DistaxError, DistaxWarning

_FIRST_SIGMA = 0.7
"""Width of the PSF in pixels that sets the size of the first windows. They need not fit well: a
first fit of each source replaces it."""
_WINDOW_MARGIN = 4
"""Pixels by which windows are wider than those of the fit, as the fit centres its own windows
within them."""
_MAX_IMAGE_SIDE = 32
"""If the sides of the images are no longer than this (pixels), the images to be unmixed are assumed
to have the same size. Larger images are taken for whole frames."""
_OFFSET_SHARE = 0.2
"""If shot noise of the dark level would add more than this share to the variance without light, the
dark level is reported as an electronic offset. A fifth of the variance is a tenth of the noise;
smaller offsets change no weights noticeably."""


def calibrate(
    images: Float[np.ndarray, "N height width"],
    dark: Float[np.ndarray, "M rows columns"] | None = None,
    flats: Sequence[np.ndarray] = (),
    elongated: bool = False,
    measured_psf: bool = False,
    size: tuple[int, int] | None = None,
    psf_grid: tuple[int, int] | None = None,
) -> Calibration:
    """Measures a sensor's PSF, noise and limits from images of isolated point sources.

    Args:
      images: raw counts, one source in each image or whole frames; NaN marks pixels to leave out.
      dark: frames without light, for the read noise. Default: from `flats`, or else from the
        residuals of the PSF's fit.
      flats: flat frames, for the gain by photon transfer: arrays `[n, rows, columns]`, each of at
        least two frames of one unchanged scene. Default: from the residuals of the PSF's fit.
      elongated: True gives the sensor a PSF with one width over rows and one over columns.
      measured_psf: True also gives the sensor a measured PSF of any shape, besides the Gaussian
        closest to it. Positions under it are accurate to about 0.01 px from a hundred bright
        sources, and to a few 0.001 px from three hundred.
      size: height and width in pixels of the images that will be unmixed. Default: the size of
        `images` if they are small, 11×11 otherwise.
      psf_grid: number of rows and of columns of nodes, spread evenly over the frame from the first
        pixel to the last, at which a PSF that varies over the frame is measured; see `psf_grid`.
        Default: one PSF.

    Raises:
      DistaxError: an array of another shape or without known pixels, counts that no digitiser
        delivers, too few isolated sources in all or near a node, sources of several PSFs, frames
        that do not constrain the noise, a grid for small images, or a size that no sensor has.
    """
    if size is not None:
        _check_size(size)
    images = _check_frames("images", images)
    if psf_grid is not None:
        _check_grid(psf_grid, images.shape[1:], measured_psf)
    dark = None if dark is None else _check_frames("dark", dark)
    flats = [_check_frames("flats", frames) for frames in flats]
    limits = find_limits(images)
    dark_noise, dark_source = (
        (None, "") if dark is None else measure_dark_noise(dark, limits.digital)
    )
    transfer = None
    if flats:
        transfer = fit_photon_transfer(flats, limits.clip_level, limits.digital, dark_noise)
    background_noise = estimate_background_noise(images, limits.digital)
    noise = transfer or dark_noise or NoiseModel(background_noise**2, math.inf)
    start = replace(
        Sensor(),
        sigma=_FIRST_SIGMA,
        saturation=limits.saturation,
        bit_depth=limits.bit_depth,
        background=max(0.0, float(np.nanmedian(images))),
    )
    start, sources = _size_windows(images, start, background_noise, noise)

    noise_known = transfer is not None
    # The residuals of a Gaussian fit to another PSF are not only noise, so a measured PSF estimates
    # the noise later, from its own residuals.
    keep_noise = noise_known or measured_psf
    grid = psf = None
    if psf_grid is not None:
        grid = measure_grid(
            sources,
            (images.shape[1], images.shape[2]),
            psf_grid,
            start,
            noise,
            noise_known,
            dark_noise,
        )
        two_widths = final = grid.joint
    else:
        fit = partial(fit_joint, sources.windows, start, noise, keep_noise, dark_noise)
        two_widths = fit(round_psf=False)
        # A pair of close sources is elongated along one axis, so the fit with two widths detects it
        # best. The round fit inherits its rejections.
        final = two_widths if elongated else fit(round_psf=True, usable=two_widths.used)
    if measured_psf:
        psf, final = measure_psf(final, sources.windows, noise, noise_known, dark_noise)
    quantities = _optics_quantities(final, limits)
    quantities |= _noise_quantities(final, limits, transfer, dark_noise, dark_source)
    number = int(final.used.sum())
    if psf is not None:
        quantities |= {
            "sigma": replace(
                quantities["sigma"], std=None, source="the Gaussian closest to the PSF"
            ),
            "measured_psf": Quantity(psf, std=None, source=f"{number} sources"),
        }
    if grid is not None:
        quantities |= _grid_quantities(grid)
    quantities |= _size_quantities(images, size)
    values: dict[str, Any] = {name: quantity.value for name, quantity in quantities.items()}
    result = Calibration(
        sensor=Sensor(**values),
        quantities=quantities,
        widths=_as_pair(two_widths.sigmas) if grid is None else grid.mean_sigmas,
        widths_std=_as_pair(_width_std(two_widths)),
        used=number,
        rejected=len(final.used) - number,
        crowded=sources.crowded,
        misfit=final.residuals.misfit(final.used),
        departures=final.residuals.departures(final.used),
        nodes=() if grid is None else grid.nodes,
    )
    _warn(result, elongated, final.noise)
    return result


def _check_size(size: tuple[int, int]) -> None:
    """Raises DistaxError for a size that no sensor has, before the fit."""
    try:
        Sensor(height=size[0], width=size[1])
    except DistaxError as error:
        raise DistaxError(f"size: {error}") from None


def _check_frames(name: str, frames: np.ndarray) -> Float[np.ndarray, "N height width"]:
    """Replaces infinite pixels by NaN, and drops frames without a known pixel.

    Raises:
      DistaxError: the array has another shape, no known pixel, or counts that no sensor delivers.
    """
    if np.ndim(frames) != 3 or not np.size(frames):
        raise DistaxError(
            f"{name} must have three axes, [number, height, width], and hold pixels; got an array "
            f"of shape {np.shape(frames)}"
        )
    counts = as_counts(frames, name, wide=True)
    counts = np.where(np.isfinite(counts), counts, np.nan)
    beyond = np.argwhere(np.abs(counts) >= 2.0**MOST_BITS)
    if len(beyond):
        number, row, column = beyond[0].tolist()
        raise DistaxError(
            f"{name}: image {number} reads {counts[number, row, column]:g} at pixel ({row}, "
            f"{column}), which is no count of a sensor; mark such pixels as bad, by NaN or a mask"
        )
    some = ~np.isnan(counts).all(axis=(1, 2))
    if not some.any():
        raise DistaxError(f"no pixel of {name} is known: all are NaN or infinite")
    return counts[some]


def _size_windows(
    images: Float[np.ndarray, "N height width"],
    start: Sensor,
    background_noise: float,
    noise: NoiseModel,
) -> tuple[Sensor, IsolatedSources]:
    """Measures a first width of the PSF, and cuts windows whose size suits it.

    Returns:
      The sensor with this width, and the windows.
    """
    sources = _cut_sources(images, start, background_noise)
    fit, _, _ = fit_each_source(sources.windows, start, noise)
    # A wider PSF than an eighth of the image would need windows larger than the image.
    start = replace(start, sigma=min(median_sigma(fit), min(images.shape[1:]) / 8))
    return start, _cut_sources(images, start, background_noise)


def _cut_sources(
    images: Float[np.ndarray, "N height width"], sensor: Sensor, background_noise: float
) -> IsolatedSources:
    """Finds isolated sources in windows a little larger than those of the fit."""
    side = window_width(sensor, SOURCE_SQUARE, SOURCE_REACH) + _WINDOW_MARGIN
    sources = find_isolated_sources(images, background_noise, isolation=side // 2 + 1, side=side)
    if len(sources.windows) < MIN_SOURCES:
        raise DistaxError(
            f"{len(sources.windows)} isolated sources ({sources.crowded} more have neighbours) are "
            f"too few to calibrate from; give at least {MIN_SOURCES}, better a hundred"
        )
    return sources


def _width_std(fit: JointFit) -> Float[np.ndarray, " axes"]:
    return np.sqrt(np.diag(fit.residuals.width_covariance(fit.used)))


def _as_pair(values: np.ndarray) -> tuple[float, float]:
    row, column = values.tolist()
    return row, column


def _optics_quantities(fit: JointFit, limits: Limits) -> dict[str, Quantity]:
    number = int(fit.used.sum())
    (sigma, *other), std = fit.sigmas.tolist(), _width_std(fit).tolist()
    background = fit.sensor.background + fit.parameters[3]
    return {
        "sigma": Quantity(
            value=sigma if len(std) == 1 else (sigma, *other),
            std=std[0] if len(std) == 1 else tuple(std),
            source=f"joint fit of {number} sources",
        ),
        "background": Quantity(
            value=max(0.0, float(background.mean())),
            std=float(background.std() / math.sqrt(number)),
            source=f"around {number} sources",
        ),
        "saturation": Quantity(
            value=limits.saturation,
            std=None,
            source="assumed: no clipping seen" if limits.saturation is None else "clipped pixels",
        ),
        "bit_depth": Quantity(
            value=limits.bit_depth,
            std=None,
            source="assumed from the largest count"
            if limits.digital
            else "counts are not whole numbers",
        ),
    }


def _check_grid(lines: tuple[int, int], frame: tuple[int, ...], measured_psf: bool) -> None:
    """Raises DistaxError for a grid that cannot be measured, or not in images of this size."""
    if measured_psf:
        raise DistaxError(
            "a PSF of any shape is measured for whole frames only, and a PSF grid is one of "
            "Gaussians: leave out measured_psf or psf_grid"
        )
    if min(lines) < 2:
        raise DistaxError(
            f"a PSF grid has at least two rows and two columns of nodes, got {lines[0]}×{lines[1]}"
        )
    if max(frame) <= _MAX_IMAGE_SIDE:
        raise DistaxError(
            f"a PSF grid is measured in whole frames, and the images have {frame[0]}×{frame[1]} "
            "px, with no place in a frame; give frames, or leave the grid out"
        )


def _grid_quantities(measured: GridMeasurement) -> dict[str, Quantity]:
    nodes = measured.nodes
    largest_row, largest_column = np.max([node.std for node in nodes], axis=0).tolist()
    sources = sum(node.sources for node in nodes)
    return {
        "sigma": Quantity(measured.mean_sigmas, std=None, source="mean over the nodes of psf_grid"),
        "psf_grid": Quantity(
            measured.grid,
            std=(largest_row, largest_column),
            source=f"{sources} sources; the largest errors of a node's two widths",
        ),
    }


def _noise_quantities(
    fit: JointFit,
    limits: Limits,
    transfer: NoiseModel | None,
    dark_noise: NoiseModel | None,
    dark_source: str,
) -> dict[str, Quantity]:
    noise = fit.noise
    rounding = ROUNDING_VARIANCE if limits.digital else 0.0
    read_noise = math.sqrt(max(noise.intercept - rounding, 0.0))
    fit_source = "photon transfer" if transfer else "residuals of the fit"
    # The standard deviation of √v is that of v over 2√v. This diverges for a read noise near zero,
    # so √v is taken to be at least the root of the standard deviation of v.
    root = max(read_noise, math.sqrt(noise.intercept_std))
    gain = 1 / noise.slope if noise.slope > 0 else None
    return {
        "read_noise": Quantity(
            value=read_noise,
            std=noise.intercept_std / (2 * root) if root else 0.0,
            source=dark_source if dark_noise else fit_source,
        ),
        "gain": Quantity(
            value=gain,
            std=noise.slope_std * gain**2 if gain else None,
            source=fit_source if gain else f"assumed: no shot noise seen in the {fit_source}",
        ),
    }


def _size_quantities(
    images: Float[np.ndarray, "N height width"], size: tuple[int, int] | None
) -> dict[str, Quantity]:
    sides, source = size or images.shape[1:], "given" if size else "the images"
    if size is None and max(sides) > _MAX_IMAGE_SIDE:
        sides, source = (11, 11), "assumed: the images are whole frames"
    return {
        name: Quantity(value=int(side), std=None, source=source)
        for name, side in zip(("height", "width"), sides, strict=True)
    }


def _warn(result: Calibration, elongated: bool, noise: NoiseModel) -> None:
    """Warns of a PSF that the sensor does not describe, and of an electronic offset."""
    messages = []
    grid = result.sensor.psf_grid
    measured = result.sensor.measured_psf is not None or bool(grid and grid.psfs)
    if not (result.gaussian or measured):
        worst = max(result.departures, key=lambda ring: abs(ring.share) / ring.share_std)
        messages.append(
            f"the PSF is not Gaussian: between {worst.inner:g} and {worst.outer:g} px from a "
            f"source each pixel has {100 * worst.share:+.2f}% ± {100 * worst.share_std:.2f}% of "
            "its flux that the Gaussian does not explain; calibrate with a measured PSF"
        )
    if result.elongated and not (elongated or measured or grid):
        row, column = result.widths
        messages.append(
            f"the PSF is elongated: {row:.4f} px over rows, {column:.4f} px over columns; "
            "calibrate with elongated widths"
        )
    negative = noise.intercept < -SIGNIFICANT_SIGMAS * noise.intercept_std
    if negative or noise.dark_level * noise.slope > _OFFSET_SHARE * noise.intercept:
        messages.append(
            "the counts have an electronic offset, which carries no shot noise; subtract it from "
            "all images (a mean dark frame) and calibrate again"
        )
    for message in messages:
        warnings.warn(message, DistaxWarning, stacklevel=3)
