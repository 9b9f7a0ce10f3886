"""What is taken for granted about the targets of a blob in a frame."""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float

from distax.imaging.scenes import RAYLEIGH, ScenePrior
from distax.imaging.sensor import Sensor
from distax.runtime.errors import DistaxError, check_positive

_CLUSTER = 4.0
"""Side of the square that holds a blob's targets, in standard deviations of the PSF."""
_TOP = ScenePrior().max_intensity
"""What the largest intensity is scaled to: estimators were made for counts of that size."""


@dataclass(frozen=True)
class FramePrior:
    """How many targets a blob has, how close they are, and how bright.

    CSIST-100K's scenes lie within one pixel and emit 220 to 250 counts each. The defaults here are
    more generous: targets up to four standard deviations of the PSF apart along each axis, beyond
    which they are blobs of their own, and of any brightness that contributes to the blob. Whoever
    knows the intensities should say so: they decide how many targets there are.

    Attributes:
      max_targets: most targets of one blob.
      cluster: side in pixels of the square that holds them; 4 σ of the PSF without it.
      separation: smallest distance between two targets, in Rayleigh units of 1.22 σ.
      min_share, max_share: bounds of a target's intensity as a share of its blob's flux (which a
        fit of one widened PSF estimates to about 40%); for unknown intensities.
      min_intensity, max_intensity: bounds of a target's intensity in counts; both or neither.

    Raises:
      DistaxError: bounds that are reversed or not positive, only one of a pair, or too many
        targets for the square.
    """

    max_targets: int = 5
    cluster: float | None = None
    separation: float = 0.52
    min_share: float = 0.03
    max_share: float = 1.5
    min_intensity: float | None = None
    max_intensity: float | None = None

    def __post_init__(self) -> None:
        if (self.min_intensity is None) != (self.max_intensity is None):
            raise DistaxError("give both the smallest and the largest intensity, or neither")
        check_positive(max_targets=self.max_targets, min_share=self.min_share)
        self.placement(Sensor())

    def placement(self, sensor: Sensor) -> ScenePrior:
        """Returns the prior of a blob's scene in scaled counts (see `unit`), for a sensor's PSF."""
        least, most = self._bounds
        widest = max(float(sigma) for sigma in sensor.sigmas)
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
        """Counts that one scaled count stands for, for blobs of some flux in counts."""
        _, most = self._bounds
        whole = flux if self.max_intensity is None else np.ones_like(flux)
        return whole * most / _TOP

    @property
    def _bounds(self) -> tuple[float, float]:
        if self.min_intensity is None or self.max_intensity is None:
            return self.min_share, self.max_share
        check_positive(min_intensity=self.min_intensity)
        return self.min_intensity, self.max_intensity
