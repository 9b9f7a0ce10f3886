"""The residual of a frame: its pixels minus the background and the targets found in it."""

import math
from dataclasses import dataclass, replace
from functools import cached_property, partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int

from distax.frames.bands import Band, read_rows
from distax.frames.targets import FrameTargets
from distax.imaging.forward import render
from distax.imaging.sensor import Sensor
from distax.imaging.targets import Targets, make_targets
from distax.io.pixels import Pixels
from distax.runtime.batching import in_batches
from distax.runtime.errors import DistaxError

_REACH = 6.0
"""Distance from a target to the edge of its window, in standard deviations of a Gaussian PSF. A
billionth of the flux lies beyond. A wider window costs time and memory, a narrower one leaves an
edge in the residual."""
_AT_ONCE = 1024
"""Targets that are rendered at a time. More take more memory, fewer take more calls."""


@dataclass(frozen=True)
class Residual:
    """A frame minus its background and its targets, read by rows like the frame.

    Rows are computed when they are read, and each target is rendered in a window around it. So
    memory does not grow with the frame. Pixels that are NaN or infinite in the frame are NaN. The
    model does not clip. The residual of a saturated pixel is therefore negative, by the counts that
    the pixel could not hold. `FrameTargets.local_level` is not subtracted, because it would leave
    steps at the windows' edges.

    Attributes:
      pixels: the frame's pixels.
      found: the targets found in the frame.
      sensor: the sensor, for its PSF.
    """

    pixels: Pixels
    found: FrameTargets
    sensor: Sensor

    @property
    def shape(self) -> tuple[int, int]:
        """Height and width in pixels."""
        return self.found.background.shape

    def __getitem__(self, rows: slice) -> Float[np.ndarray, "rows width"]:
        """Computes the residual of consecutive rows, in the frame's counts.

        Raises:
          DistaxError: the slice has a step.
        """
        first, last, step = rows.indices(self.shape[0])
        if step != 1:
            raise DistaxError(f"the residual has consecutive rows only; leave out the step {step}")
        band = Band(first=first, last=last, start=first, stop=last)
        counts = read_rows(self.pixels, band) - self.found.background.level_in(band)
        return (counts - self._model(band)).astype(np.float32)

    @cached_property
    def _corner(self) -> Int[np.ndarray, "K 2"]:
        """Row and column of the first pixel of each target's window."""
        return np.rint(self.found.targets.position).astype(int) - self._reach

    @cached_property
    def _reach(self) -> Int[np.ndarray, "2"]:
        """Pixels along each axis from a target to the edge of its window."""
        grid = self.sensor.psf_grid
        measured = grid.psfs[0] if grid and grid.psfs else self.sensor.measured_psf
        if measured is not None:
            return np.full(2, math.ceil(measured.reach))
        sigmas = grid.widest if grid else self.sensor.sigmas
        return np.array([math.ceil(_REACH * float(sigma)) for sigma in sigmas])

    def _model(self, band: Band) -> Float[np.ndarray, "rows width"]:
        """Renders the targets whose windows overlap a band."""
        model = np.zeros((band.stop - band.start, self.shape[1]))
        height, width = (2 * self._reach + 1).tolist()
        first = self._corner[:, 0] - band.start
        near = np.flatnonzero((first > -height) & (first < len(model)))
        if not len(near):
            return model
        row = first[near, None, None] + np.arange(height)[:, None]
        column = self._corner[near, 1][:, None, None] + np.arange(width)
        inside = (row >= 0) & (row < len(model)) & (column >= 0) & (column < self.shape[1])
        rows, columns = (np.broadcast_to(axis, inside.shape)[inside] for axis in (row, column))
        np.add.at(model, (rows, columns), self._windows(near, height, width)[inside])
        return model

    def _windows(
        self, chosen: Int[np.ndarray, " N"], height: int, width: int
    ) -> Float[np.ndarray, "N {height} {width}"]:
        """Renders some of the targets, each in its own window."""
        place = self.found.targets.position[chosen] - self._corner[chosen]
        intensity = np.asarray(self.found.targets.intensity)[chosen]
        alone = make_targets(
            jnp.asarray(place[:, None], jnp.float32), jnp.asarray(intensity[:, None], jnp.float32)
        )
        sensor = replace(self.sensor, height=height, width=width, psf_grid=None)
        if self.sensor.psf_grid is None:
            return in_batches(partial(_render, sensor=sensor), alone, _AT_ONCE)
        psf = self.sensor.psf_grid.psfs_at(np.asarray(self.found.targets.position)[chosen])
        return in_batches(partial(_render_each, sensor=sensor), (alone, psf), _AT_ONCE)


_render = jax.jit(render)


@jax.jit
def _render_each(rows: tuple[Targets, Any], sensor: Sensor) -> Float[Array, "N height width"]:
    """Renders each row of targets with a PSF of its own."""

    def one(targets: Targets, psf: Any) -> Float[Array, "height width"]:
        return render(targets, sensor.with_psf(psf))

    return jax.vmap(one)(*rows)
