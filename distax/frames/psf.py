"""Width of a frame's PSF: measured from its own isolated blobs, and compared with the assumed one.

Bright blobs without neighbours are fitted by one Gaussian each (`frames.widths`). Stars have one
common width, and close pairs have others. So the width counts as measured only if most of the blobs
agree on it. A few blobs agree by chance, and one agrees with itself. So they only suggest a
width, which is named and not used.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal

import numpy as np
from jaxtyping import Bool, Float

from distax.fitting.misfit import TRUSTED_MISFIT
from distax.frames.widths import Widths, fit_widths
from distax.imaging.psf import per_axis
from distax.imaging.sensor import Sensor

FEWEST_BLOBS = 5
"""Fewest blobs that must agree on a width. Fewer agree by chance."""
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
      suspected: standard deviation of the PSF in pixels that contradicts the sensor's, as too few
        blobs show it; None if they do not.
    """

    sigma: tuple[float, float] | None
    std: tuple[float, float] | None
    agreeing: int
    isolated: int
    suspected: float | None = None

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
            blobs = "1 blob" if self.blobs == 1 else f"{self.blobs} blobs"
            parts.append(f"median misfit of {blobs} {self.misfit:.2f} (about 1 is good)")
        return "; ".join(parts)

    @property
    def advice(self) -> str:
        """The line that warns of a contradicted PSF."""
        seen = self.measured
        if seen.suggested is None or seen.std is None:
            return self.line
        width = format_sigma(seen.suggested)
        option = "--frame.sigma" if isinstance(seen.suggested, float) else "in a sensor file"
        return (
            f"{seen.agreeing} of {seen.isolated} isolated blobs show a PSF of sigma {width} ± "
            f"{format_sigma(seen.std, 1)} px, and {format_sigma(self.sigma)} px was given, so "
            f"targets and errors are wrong: give a sigma of {width} px ({option}), leave it "
            "out, or measure the sensor by distax calibrate"
        )

    @property
    def _origin(self) -> str:
        seen = self.measured
        if seen.sigma is None or seen.std is None:
            number = f"{seen.isolated} isolated bright blob{'s' * (seen.isolated != 1)}"
            do = "check" if self.source == "given" else "measure"
            why = "do not agree on a width" if seen.isolated >= FEWEST_BLOBS else f"cannot {do} it"
            line = f"px {'as given' if self.source == 'given' else 'by default'}: {number} {why}"
            if seen.suspected is None:
                return line
            width = format_sigma(seen.suspected)
            stars = "it is a single star" if seen.isolated == 1 else "they are single stars"
            return f"{line}; if {stars}, give --frame.sigma {width}"
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
    fits = fit_widths(counts, noise, clipped, sensor)
    tight, loose = (
        _most_agreeing([_agreement(fit, spread) for fit in fits]) for spread in _SPREADS
    )
    width = loose if tight.sigma is None else tight
    if width.isolated < FEWEST_BLOBS:
        return replace(width, suspected=_suspected(fits, sensor))
    return replace(tight, sigma=None, std=None) if _may_be_clusters(width, sensor) else width


def _suspected(fits: Sequence[Widths], sensor: Sensor) -> float | None:
    """Returns the width of one to four stars if it contradicts a sensor's; None if it does not.

    A star is explained by one Gaussian, and most of the blobs agree. A width that clusters of the
    sensor's stars explain as well needs two blobs, as clusters differ. So does one of two unequal
    widths, as a close pair has them.
    """
    well = [fit.among(fit.chi_square < TRUSTED_MISFIT**2) for fit in fits]
    few = _most_agreeing([_agreement(fit, _SPREADS[0], fewest=1) for fit in well])
    width = few.suggested
    if width is None or 2 * few.agreeing <= few.isolated or not few.contradicts(sensor):
        return None
    mean = _mean(width)
    assumed = _mean(sensor.sigma)
    alone = isinstance(width, float) and not assumed < mean < _BLENDED * assumed
    return mean if alone or few.agreeing > 1 else None


def _mean(sigma: Any) -> float:
    """Returns the geometric mean of the widths over rows and over columns."""
    row, column = per_axis(sigma)
    return math.sqrt(float(row) * float(column))


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


def _most_agreeing(widths: Sequence[MeasuredWidth]) -> MeasuredWidth:
    return max(widths, key=lambda width: (width.agreeing, width.isolated))


def _agreement(widths: Widths, spread: float, fewest: int = FEWEST_BLOBS) -> MeasuredWidth:
    """Finds the width on which most blobs agree, and its error from their scatter."""
    sigma = widths.sigma
    if len(sigma) < fewest:
        return replace(NOT_MEASURED, isolated=len(sigma))
    error = np.hypot(widths.error, spread * sigma)
    away = np.abs(sigma[:, None] - sigma)
    alike = np.all(away < _DISTINCT * np.hypot(error[:, None], error), axis=-1)
    members = alike[np.argmax(alike.sum(axis=1))]
    agreeing = int(members.sum())
    if agreeing < max(fewest, _AGREEING * len(sigma)):
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
