"""Result of a calibration: the sensor, and each value with its error and its source."""

import math
from dataclasses import asdict, dataclass
from typing import Any

from distax.imaging.psf import MeasuredPsf
from distax.imaging.psf_grid import PsfGrid
from distax.imaging.sensor import Sensor

SIGNIFICANT_SIGMAS = 4.0
"""If a difference is larger than this many of its standard deviations, it is reported. Each
calibration tests several rings and an elongation: four keep false warnings to about one in 2,000
calibrations, three would give one in 50."""
_MIN_ELONGATION = 0.01
"""If the two widths differ by less than this share, the PSF is treated as round. With very many
sources smaller differences become significant, but they hardly change positions."""


@dataclass(frozen=True)
class Quantity:
    """One property of the sensor.

    Attributes:
      value: the property, in the unit of the sensor's field; None if the sensor has no such effect.
      std: standard deviation of the value; None if the value was not measured.
      source: the data that the value comes from, or "assumed" with the reason.
    """

    value: int | float | tuple[float, float] | MeasuredPsf | PsfGrid | None
    std: float | tuple[float, float] | None
    source: str


@dataclass(frozen=True)
class Departure:
    """Mean light that the fitted PSF does not explain, in a ring around the sources.

    Attributes:
      inner, outer: edges of the ring in pixels from the source.
      share: unexplained light of a pixel in the ring, as a share of the source's flux.
      share_std: standard deviation of the share.
    """

    inner: float
    outer: float
    share: float
    share_std: float

    @property
    def significant(self) -> bool:
        """True if noise does not explain the departure."""
        return abs(self.share) > SIGNIFICANT_SIGMAS * self.share_std


@dataclass(frozen=True)
class Node:
    """The width of the PSF at a node of its grid.

    Attributes:
      row, column: place of the node in the frame in pixels.
      sigma: standard deviations of the Gaussian PSF in pixels, over rows and over columns.
      std: their standard deviations.
      sources: number of sources in use that are nearer to this node than to the others.
    """

    row: float
    column: float
    sigma: tuple[float, float]
    std: tuple[float, float]
    sources: int


@dataclass(frozen=True)
class Calibration:
    """A calibrated sensor, and the quality of its fit.

    Attributes:
      sensor: the sensor.
      quantities: each field of the sensor with its standard deviation and its source.
      widths, widths_std: standard deviations of the PSF in pixels over rows and over columns, from
        a fit with two widths, and their errors.
      used: number of isolated sources in the fit of the PSF.
      rejected: number of isolated sources that one PSF does not explain: two close sources, bad
        pixels.
      crowded: number of sources left out because they have a neighbour.
      misfit: root-mean-square residual in units of the noise. It is about 1 where the sensor's PSF
        holds. It is always about 1 where the noise itself is taken from the residuals.
      departures: mean residuals in rings around the sources.
      nodes: the nodes of a PSF that varies over the frame, row by row; empty for one PSF.
    """

    sensor: Sensor
    quantities: dict[str, Quantity]
    widths: tuple[float, float]
    widths_std: tuple[float, float]
    used: int
    rejected: int
    crowded: int
    misfit: float
    departures: list[Departure]
    nodes: tuple[Node, ...] = ()

    @property
    def gaussian(self) -> bool:
        """True if no ring around the sources departs significantly from the fitted PSF."""
        return not any(ring.significant for ring in self.departures)

    @property
    def elongation(self) -> tuple[float, float]:
        """Width over rows divided by that over columns, minus 1; and its standard deviation."""
        row, column = self.widths
        relative = math.hypot(
            *(std / w for std, w in zip(self.widths_std, self.widths, strict=True))
        )
        return row / column - 1, relative * row / column

    @property
    def elongated(self) -> bool:
        """True if the PSF is elongated significantly and by more than one percent."""
        excess, std = self.elongation
        return abs(excess) > max(SIGNIFICANT_SIGMAS * std, _MIN_ELONGATION)

    def to_dict(self) -> dict[str, Any]:
        """Returns the result as plain numbers, strings and dictionaries, for JSON."""
        excess, std = self.elongation
        return asdict(self) | {
            "gaussian": self.gaussian,
            "elongation": {"excess": excess, "std": std, "significant": self.elongated},
        }
