"""A sensor measured: from images of isolated sources, and frames that tell its noise."""

import math
import warnings
from collections.abc import Sequence
from dataclasses import replace
from functools import partial
from typing import Any

import numpy as np
from jaxtyping import Float

from distax.calibration.joint_fit import AROUND, JointFit, each_by_itself, joint_fit, typical_sigma
from distax.calibration.measured_psf import measure_psf
from distax.calibration.noise import (
    Limits,
    Line,
    dark_noise,
    find_limits,
    noise_level,
    photon_transfer,
)
from distax.calibration.result import DOUBTLESS, Calibration, Quantity
from distax.calibration.sources import FEWEST, Sources, isolated_sources
from distax.fitting.patch import ROUNDING_VARIANCE, window_width
from distax.imaging.sensor import Sensor
from distax.runtime.errors import DistaxError, DistaxWarning

_FIRST_SIGMA = 0.7
"""Width of the PSF in pixels for which the first windows are cut."""
_CROP = 32
"""Side in pixels up to which images are taken for those that will be unmixed."""


def calibrate(
    images: Float[np.ndarray, "N height width"],
    dark: Float[np.ndarray, "M rows columns"] | None = None,
    scenes: Sequence[np.ndarray] = (),
    elongated: bool = False,
    measured_psf: bool = False,
    size: tuple[int, int] | None = None,
) -> Calibration:
    """Measure the sensor that took images of isolated point sources.

    Args:
      images: raw counts, one source in each or whole frames; NaN marks pixels to leave out.
      dark: frames without light, which tell the read noise.
      scenes: frames `[n, rows, columns]` of a scene that stays, each with at least two: photon
        transfer tells the gain, and the read noise where there are no dark frames. Without them
        both are taken from what the fit of the PSF leaves.
      elongated: give the sensor a PSF with a width over rows and one over columns.
      measured_psf: give the sensor the PSF as it is, of any shape, besides the Gaussian most like
        it: a hundred bright sources tell it to about a hundredth of a pixel in position, three
        hundred to a few thousandths.
      size: height and width of the images that will be unmixed; without it those of the images if
        they are small, 11×11 otherwise.

    Raises:
      DistaxError: arrays of other shapes or without known pixels, too few isolated sources, those
        of several PSFs, or frames that tell nothing.
    """
    images = _known("images", images)
    dark = None if dark is None else _known("dark", dark)
    scenes = [_known("scenes", frames) for frames in scenes]
    limits = find_limits(images)
    darkness, dark_source = (None, "") if dark is None else dark_noise(dark, limits.digital)
    transfer = photon_transfer(scenes, limits.white, limits.digital, darkness) if scenes else None
    noise = noise_level(images, limits.digital)
    line = transfer or darkness or Line(noise**2, math.inf)
    start = replace(
        Sensor(),
        sigma=_FIRST_SIGMA,
        saturation=limits.saturation,
        bit_depth=limits.bit_depth,
        background=max(0.0, float(np.nanmedian(images))),
    )
    rough = _sources(images, start, noise)
    first, _, _ = each_by_itself(rough.crops, start, line)
    start = replace(start, sigma=min(typical_sigma(first), min(images.shape[1:]) / 8))
    sources = _sources(images, start, noise)

    noise_known = transfer is not None
    # What a Gaussian leaves of another PSF is no noise.
    believed = noise_known or measured_psf
    fit = partial(joint_fit, sources.crops, start, line, believed, darkness)
    both = fit(round_psf=False)
    # Two close sources show along one axis first.
    chosen = both if elongated else fit(round_psf=True, usable=both.used)
    psf = None
    if measured_psf:
        psf, chosen = measure_psf(chosen, sources.crops, line, noise_known, darkness)
    quantities = _optics(chosen, limits) | _noise(chosen, limits, transfer, darkness, dark_source)
    if psf is not None:
        quantities |= {
            "sigma": replace(
                quantities["sigma"], std=None, source="the Gaussian most like the PSF"
            ),
            "measured_psf": Quantity(psf, std=None, source=f"{int(chosen.used.sum())} sources"),
        }
    quantities |= _size(images, size)
    values: dict[str, Any] = {name: quantity.value for name, quantity in quantities.items()}
    result = Calibration(
        sensor=Sensor(**values),
        quantities=quantities,
        widths=_pair(both.sigmas),
        widths_std=_pair(_std(both)),
        used=int(chosen.used.sum()),
        rejected=int((~chosen.used).sum()),
        crowded=sources.crowded,
        misfit=chosen.residuals.misfit(chosen.used),
        departures=chosen.residuals.departures(chosen.used),
    )
    _warn(result, elongated, chosen.line)
    return result


def _known(name: str, frames: np.ndarray) -> Float[np.ndarray, "N height width"]:
    """Images as real numbers, NaN for infinite pixels, without those of which nothing is known."""
    if np.ndim(frames) != 3 or not np.size(frames):
        raise DistaxError(
            f"{name} must have three axes, [number, height, width], and hold pixels; got an array "
            f"of shape {np.shape(frames)}"
        )
    counts = np.asarray(frames, np.result_type(frames, np.float32))
    counts = np.where(np.isfinite(counts), counts, np.nan)
    some = ~np.isnan(counts).all(axis=(1, 2))
    if not some.any():
        raise DistaxError(f"no pixel of {name} is known: all are NaN or infinite")
    return counts[some]


def _sources(images: Float[np.ndarray, "N height width"], sensor: Sensor, noise: float) -> Sources:
    """Isolated sources in windows with a margin around those that the fit looks at."""
    side = window_width(sensor, AROUND) + 4
    sources = isolated_sources(images, noise, apart=side // 2 + 1, side=side)
    if len(sources.crops) < FEWEST:
        raise DistaxError(
            f"{len(sources.crops)} isolated sources ({sources.crowded} more have neighbours) are "
            f"too few to calibrate from; give at least {FEWEST}, better a hundred"
        )
    return sources


def _std(fit: JointFit) -> Float[np.ndarray, " axes"]:
    return np.sqrt(np.diag(fit.residuals.covariance(fit.used)))


def _pair(values: np.ndarray) -> tuple[float, float]:
    row, column = values.tolist()
    return row, column


def _optics(fit: JointFit, limits: Limits) -> dict[str, Quantity]:
    number = int(fit.used.sum())
    (sigma, *other), std = fit.sigmas.tolist(), _std(fit).tolist()
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
            source="assumed from the largest count" if limits.digital else "counts are no integers",
        ),
    }


def _noise(
    fit: JointFit, limits: Limits, transfer: Line | None, darkness: Line | None, dark_source: str
) -> dict[str, Quantity]:
    line = fit.line
    rounding = ROUNDING_VARIANCE if limits.digital else 0.0
    read_noise = math.sqrt(max(line.at_zero - rounding, 0.0))
    of_line = "photon transfer" if transfer else "residuals of the fit"
    # Where there is next to none, the error of its square says how much there may be.
    uncertain = max(read_noise, math.sqrt(line.at_zero_std))
    gain = 1 / line.per_count if line.per_count > 0 else None
    return {
        "read_noise": Quantity(
            value=read_noise,
            std=line.at_zero_std / (2 * uncertain) if uncertain else 0.0,
            source=dark_source if darkness else of_line,
        ),
        "gain": Quantity(
            value=gain,
            std=line.per_count_std * gain**2 if gain else None,
            source=of_line if gain else f"assumed: no shot noise shows in the {of_line}",
        ),
    }


def _size(
    images: Float[np.ndarray, "N height width"], size: tuple[int, int] | None
) -> dict[str, Quantity]:
    sides, source = size or images.shape[1:], "given" if size else "the images"
    if size is None and max(sides) > _CROP:
        sides, source = (11, 11), "assumed: the images are whole frames"
    return {
        name: Quantity(value=int(side), std=None, source=source)
        for name, side in zip(("height", "width"), sides, strict=True)
    }


def _warn(result: Calibration, elongated: bool, noise: Line) -> None:
    """Tell what a user should know before relying on the sensor."""
    lines = []
    measured = result.sensor.measured_psf is not None
    if not (result.gaussian or measured):
        worst = max(result.departures, key=lambda ring: abs(ring.share) / ring.share_std)
        lines.append(
            f"the Gaussian PSF does not hold: {worst.inner:g} to {worst.outer:g} px from a source "
            f"each pixel has {100 * worst.share:+.2f}% ± {100 * worst.share_std:.2f}% of its flux "
            "that the Gaussian does not explain; calibrate with a measured PSF"
        )
    if result.elongated and not (elongated or measured):
        row, column = result.widths
        lines.append(
            f"the PSF is elongated: {row:.4f} px over rows, {column:.4f} px over columns; "
            "calibrate with elongated widths"
        )
    if noise.at_zero < -DOUBTLESS * noise.at_zero_std or _offset(noise):
        lines.append(
            "the counts have an electronic offset, which carries no shot noise; subtract it from "
            "all images (a mean dark frame) and calibrate again"
        )
    for line in lines:
        warnings.warn(line, DistaxWarning, stacklevel=3)


def _offset(line: Line) -> bool:
    """Whether a dark level, taken as light, would add a tenth to the noise without light."""
    return line.dark * line.per_count > 0.2 * line.at_zero
