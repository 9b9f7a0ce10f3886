"""Whether sources, and the Gaussian, explain the pixels."""

from dataclasses import dataclass
from itertools import pairwise

import jax
import numpy as np
from jaxtyping import Bool, Float

from distax.calibration.psf import PsfFit, eliminate, freedom
from distax.fitting.patch import Patch
from distax.imaging.sensor import Sensor

_UNLIKELY = 4.0
"""Standard deviations of a Gaussian that what has the same probability of being chance is beyond:
one source in 30,000."""
CLEAR = 3.0
"""Standard deviations that a pixel's level has to keep from clipping."""
_RINGS = (0.0, 0.75, 1.25, 1.75, 2.25, 3.0, 4.0)
"""Edges in pixels of the rings around sources in which residuals are averaged."""


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
        return abs(self.share) > _UNLIKELY * self.share_std


class Residuals:
    """What a fit leaves, in NumPy arrays, pixels by lanes.

    Attributes:
      residual, weight: see `PsfFit`.
      level: expected counts, the background included.
      freedom: see `psf.freedom`.
      round_psf: whether the PSF has one width.
      clear: pixels that are read and whose noise is nowhere near clipping. Of others only some are
        seen whole, and those are no fair sample.
    """

    def __init__(self, fit: PsfFit, patch: Patch, width: int, sensor: Sensor, round_psf: bool):
        self.fit, self.width, self.round_psf = fit, width, round_psf
        self.residual, self.weight = np.asarray(fit.residual, float), np.asarray(fit.weight, float)
        self.level = np.asarray(fit.image, float) + sensor.background
        self.freedom = np.asarray(freedom(fit, width), float)
        noise = np.sqrt(np.asarray(patch.variance + patch.rounding, float))
        self.clear = np.isfinite(patch.lower) & np.isfinite(patch.upper)
        self.clear &= self.level + CLEAR * noise < sensor.white
        if sensor.bit_depth is not None:
            self.clear &= self.level - CLEAR * noise > 0

    def squares(self) -> tuple[Float[np.ndarray, " lanes"], Float[np.ndarray, " lanes"]]:
        """Weighted squares of each source's residuals, and their degrees of freedom."""
        squares = np.where(self.clear, self.weight * self.residual**2, 0.0)
        left = np.where(self.clear, self.freedom, 0.0)
        return squares.sum(axis=0), np.maximum(left.sum(axis=0), 1e-3)

    def misfit(self, used: Bool[np.ndarray, " lanes"]) -> float:
        """Root-mean-square residual in units of the noise; 1 where the model holds."""
        squares, left = self.squares()
        return float(np.sqrt(squares[used].sum() / left[used].sum()))

    def usual(self) -> Bool[np.ndarray, " lanes"]:
        """Sources whose squares are no more than twice what is usual: a first guess."""
        ratio = np.divide(*self.squares())
        return ratio <= 2 * np.median(ratio)

    def within_noise(self, used: Bool[np.ndarray, " lanes"]) -> Bool[np.ndarray, " lanes"]:
        """Sources whose squares χ² allows (by Wilson and Hilferty), or that are as usual."""
        squares, left = self.squares()
        spread = 2 / (9 * left)
        limit = left * (1 - spread + _UNLIKELY * np.sqrt(spread)) ** 3
        return squares < self._scale(used) * limit

    def explained(self, used: Bool[np.ndarray, " lanes"]) -> Bool[np.ndarray, " lanes"]:
        """Sources that one Gaussian of the common width explains as well as it does most.

        Besides the sum of squares, how much the source by itself would change the width is tested
        (the score test), which two close sources fail first.
        """
        information, pull = self._about_width()
        step = np.linalg.solve(information, pull[..., None])[..., 0]
        score = np.sum(step * pull, axis=-1)
        # χ² of two degrees of freedom has its limit a little beyond that of one, the square.
        farthest = _UNLIKELY**2 + (0 if self.round_psf else 3)
        return self.within_noise(used) & (score < self._scale(used) * farthest)

    def _scale(self, used: Bool[np.ndarray, " lanes"]) -> float:
        """By what most sources' squares exceed the noise's, if they do."""
        squares, left = self.squares()
        return max(1.0, float(np.median(squares[used] / left[used])))

    def covariance(self, used: Bool[np.ndarray, " lanes"]) -> Float[np.ndarray, "axes axes"]:
        """Of the shared widths, larger by the misfit where the model does not hold."""
        information, _ = self._about_width()
        return np.linalg.inv(information[used].sum(axis=0)) * max(1.0, self.misfit(used)) ** 2

    def _about_width(
        self,
    ) -> tuple[Float[np.ndarray, "lanes axes axes"], Float[np.ndarray, "lanes axes"]]:
        left, pull, _, _ = _eliminate(self.fit.matrix, self.fit.vector)
        information, vector = np.moveaxis(np.asarray(left, float), -1, 0), np.asarray(pull, float).T
        if self.round_psf:
            return information.sum(axis=(1, 2), keepdims=True), vector.sum(axis=1, keepdims=True)
        return information, vector

    def departures(self, used: Bool[np.ndarray, " lanes"]) -> list[Departure]:
        """Mean residuals by distance from the source: a Gaussian's are zero."""
        parameters = np.asarray(self.fit.parameters, float)
        axis = np.arange(self.width) - self.width // 2
        row, column = (grid.reshape(-1, 1) for grid in np.meshgrid(axis, axis, indexing="ij"))
        distance = np.hypot(row - parameters[0], column - parameters[1])
        flux = parameters[2]
        rings = []
        for inner, outer in pairwise(_RINGS):
            here = self.clear & used & (distance >= inner) & (distance < outer)
            weight = np.where(here, self.weight, 0.0)
            total = np.sum(weight * flux**2)
            if total > 0:
                share = np.sum(weight * flux * self.residual) / total
                rings.append(Departure(inner, outer, float(share), float(total**-0.5)))
        return rings


_eliminate = jax.jit(eliminate)
