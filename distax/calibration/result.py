"""What a calibration found, and where each value comes from."""

import math
from dataclasses import asdict, dataclass
from typing import Any

from distax.imaging.psf import MeasuredPsf
from distax.imaging.sensor import Sensor

DOUBTLESS = 4.0
"""Standard deviations beyond which a difference is no chance."""
_ROUND = 0.01
"""Relative difference of the two widths below which a PSF is as good as round."""


@dataclass(frozen=True)
class Quantity:
    """One property of the sensor.

    Attributes:
      value: what it is; None if there is no such effect.
      std: its standard deviation, where it is measured.
      source: what tells it, or that it is assumed.
    """

    value: int | float | tuple[float, float] | MeasuredPsf | None
    std: float | tuple[float, float] | None
    source: str


@dataclass(frozen=True)
class Departure:
    """Light in a ring around the sources beyond the Gaussian's.

    Attributes:
      inner, outer: edges of the ring in pixels from the source.
      share, share_std: of a source's flux in each pixel there.
    """

    inner: float
    outer: float
    share: float
    share_std: float

    @property
    def doubtless(self) -> bool:
        """Whether chance does not explain it."""
        return abs(self.share) > DOUBTLESS * self.share_std


@dataclass(frozen=True)
class Calibration:
    """What images tell of the sensor that took them.

    Attributes:
      sensor: the sensor.
      quantities: each field of the sensor with its standard deviation and its source.
      widths, widths_std: the PSF's standard deviations in pixels over rows and over columns, when
        each is fitted.
      used: isolated sources that the PSF comes from.
      rejected: those that one PSF does not explain: two close sources, bad pixels.
      crowded: sources with a neighbour, which were left alone.
      misfit: root-mean-square residual in units of the noise; about 1 where the sensor's PSF holds,
        and whatever holds where the noise is taken from the residuals.
      departures: mean residuals by distance from the source.
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

    @property
    def gaussian(self) -> bool:
        """Whether no ring around the sources has more or less light than the sensor's PSF says."""
        return not any(ring.doubtless for ring in self.departures)

    @property
    def elongation(self) -> tuple[float, float]:
        """By how much the rows' width exceeds the columns', relative, and its deviation."""
        row, column = self.widths
        relative = math.hypot(
            *(std / w for std, w in zip(self.widths_std, self.widths, strict=True))
        )
        return row / column - 1, relative * row / column

    @property
    def elongated(self) -> bool:
        """Whether the PSF is elongated beyond doubt and by more than a hundredth."""
        excess, std = self.elongation
        return abs(excess) > max(DOUBTLESS * std, _ROUND)

    def to_dict(self) -> dict[str, Any]:
        """Plain numbers, strings and dictionaries."""
        excess, std = self.elongation
        return asdict(self) | {
            "gaussian": self.gaussian,
            "elongation": {"excess": excess, "std": std, "doubtless": self.elongated},
        }
