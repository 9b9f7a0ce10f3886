"""What a frame holds besides its background and the targets found in it."""

import math
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from jaxtyping import Float, Int

from distax.frames.bands import Band, read_rows
from distax.frames.targets import FrameTargets
from distax.imaging.psf import responses
from distax.imaging.sensor import Sensor
from distax.io.pixels import Pixels

_REACH = 6.0
"""Standard deviations of a Gaussian PSF beyond which a target adds nothing: a billionth of its
flux."""


@dataclass(frozen=True)
class Residual:
    """A frame minus its background minus the model of the targets found, read like the frame.

    Rows are computed when they are asked for, each target in a window around it, so that memory
    grows neither with the frame nor with what is far from those rows. Pixels that are NaN or
    infinite in the frame are NaN. The model does not clip: where the frame is saturated, the
    residual is negative by what the pixel could not hold. What `FrameTargets.local_level` says of
    single blobs is not subtracted, as it would leave steps at their windows' edges.

    Attributes:
      pixels: of the frame.
      found: in it.
      sensor: whose PSF the targets have.
    """

    pixels: Pixels
    found: FrameTargets
    sensor: Sensor

    @property
    def shape(self) -> tuple[int, int]:
        """Height and width in pixels."""
        return self.found.background.shape

    def __getitem__(self, rows: slice) -> Float[np.ndarray, "rows width"]:
        """Those rows, in the frame's counts."""
        first, last, _ = rows.indices(self.shape[0])
        band = Band(first=first, last=last, start=first, stop=last)
        counts = read_rows(self.pixels, band) - self.found.background.level_in(band)
        return (counts - self._model(band)).astype(np.float32)

    @cached_property
    def _corner(self) -> Int[np.ndarray, "K 2"]:
        """First pixel of each target's window."""
        return np.rint(self.found.targets.position).astype(int) - self._reach

    @property
    def _reach(self) -> Int[np.ndarray, "2"]:
        if self.sensor.measured_psf:
            return np.full(2, math.ceil(self.sensor.measured_psf.reach))
        return np.array([math.ceil(_REACH * sigma) for sigma in self.sensor.sigmas])

    @cached_property
    def _shares(self) -> list[Float[np.ndarray, "terms K _"]]:
        """Of each target's flux in its window's rows and columns, for each term of the PSF."""
        from_corner = np.asarray(self.found.targets.position - self._corner, np.float32)
        height, width = (2 * self._reach + 1).tolist()
        shares = responses(from_corner, (height, width), self.sensor.psf)
        return [np.asarray(share) for share in shares]

    def _model(self, band: Band) -> Float[np.ndarray, "rows width"]:
        """What the targets put into the band's pixels, one row of all their windows at a time."""
        down, across = self._shares
        model = np.zeros((band.stop - band.start, self.shape[1]))
        for step in range(down.shape[-1]):
            row = self._corner[:, 0] + step - band.start
            near = np.flatnonzero((row >= 0) & (row < len(model)))
            column = self._corner[near, 1][:, None] + np.arange(across.shape[-1])
            share = np.einsum("tk,tkj->kj", down[:, near, step], across[:, near])
            flux = np.asarray(self.found.targets.intensity)[near, None] * share
            inside = (column >= 0) & (column < self.shape[1])
            rows = np.broadcast_to(row[near][:, None], column.shape)
            np.add.at(model, (rows[inside], column[inside]), flux[inside])
        return model
