"""Prior of the targets of a blob in a frame."""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float

from distax.frames.limits import WIDEST
from distax.imaging.scenes import RAYLEIGH, ScenePrior
from distax.imaging.sensor import Sensor
from distax.runtime.errors import DistaxError, check_positive
from distax.runtime.fields import check_fields

_CLUSTER = 4.0
"""Default side of the square that holds a blob's targets, in standard deviations of the PSF. A
larger square takes targets that could be blobs of their own into one fit, which takes longer. A
smaller one cuts clusters in pieces."""
_LARGEST = _CLUSTER * WIDEST
"""Largest side in pixels of that square. Time and memory grow with its area."""
_TOP = ScenePrior().max_intensity
"""Scaled counts of the largest intensity. The estimators were made for counts of this size."""

_SHARES = 0.03, 1.5
"""Default bounds of a target's intensity as a share of its blob's flux. The upper one is above 1,
because the flux is known to about 40%. Wider bounds let more targets explain a blob."""


@dataclass(frozen=True)
class FramePrior:
    """The prior of a blob: number, distances and intensities of its targets.

    CSIST-100K's scenes lie within one pixel, and each target emits 220 to 250 counts. The defaults
    here are wider. Targets may be up to four standard deviations of the PSF apart along each axis;
    beyond that they are blobs of their own. They may have any brightness that contributes to the
    blob. State the bounds of the intensities if they are known, because the number of targets
    depends on them.

    Attributes:
      max_targets: largest number of targets in one blob.
      cluster: side in pixels of the square that holds a blob's targets, at most 24. Default: 4 σ of
        the PSF.
      separation: smallest distance between two targets, in Rayleigh units of 1.22 σ.
      min_share, max_share: bounds of a target's intensity as a share of its blob's flux, for
        unknown intensities. The flux is known to about 40%, from a fit of one widened PSF.
      min_intensity, max_intensity: bounds of a target's intensity in counts, which replace the
        shares. Give both or neither. Default: the intensities are unknown.

    Raises:
      DistaxError: bounds are reversed or not positive; only one of a pair is given, or both pairs
        are; a field has another type; the square is too small for the targets.
    """

    max_targets: int = 5
    cluster: float | None = None
    separation: float = 0.52
    min_share: float = _SHARES[0]
    max_share: float = _SHARES[1]
    min_intensity: float | None = None
    max_intensity: float | None = None

    def __post_init__(self) -> None:
        check_fields(self)
        if (self.min_intensity is None) != (self.max_intensity is None):
            raise DistaxError("give both min_intensity and max_intensity, or neither")
        if self.cluster is not None and self.cluster > _LARGEST:
            raise DistaxError(
                f"cluster must be at most {_LARGEST:g} px in frames, got {self.cluster:g}; targets "
                "farther apart are blobs of their own"
            )
        least, most = self._bounds
        if self.min_intensity is not None and (self.min_share, self.max_share) != _SHARES:
            raise DistaxError(
                "min_share and max_share have no effect beside min_intensity and max_intensity: "
                "give one pair of bounds"
            )
        what = "share" if self.min_intensity is None else "intensity"
        check_positive(**{f"min_{what}": least, f"max_{what}": most})
        if most < least:
            raise DistaxError(f"max_{what} lies below min_{what}: {most} < {least}; give both")
        self.placement(Sensor())

    def placement(self, sensor: Sensor) -> ScenePrior:
        """Returns the prior of a blob's scene in scaled counts (see `unit`), for a sensor's PSF."""
        least, most = self._bounds
        widest = sensor.widest_sigma
        return ScenePrior(
            max_targets=self.max_targets,
            min_intensity=_TOP * least / most,
            max_intensity=_TOP,
            separation=self.separation,
            rayleigh_unit=RAYLEIGH * widest,
            cluster=_CLUSTER * widest if self.cluster is None else self.cluster,
            border=0,
        )

    def unit(self, flux: Float[np.ndarray, " B"]) -> Float[np.ndarray, " B"]:
        """Returns the frame's counts in one scaled count, for blobs of a given flux in counts."""
        _, most = self._bounds
        whole = flux if self.max_intensity is None else np.ones_like(flux)
        return whole * most / _TOP

    @property
    def _bounds(self) -> tuple[float, float]:
        if self.min_intensity is None or self.max_intensity is None:
            return self.min_share, self.max_share
        return self.min_intensity, self.max_intensity
