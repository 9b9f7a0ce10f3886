"""Unmixing of frames: measures the background, finds blobs, fits windows, merges their targets."""

import warnings
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from typing import Literal

import jax
import numpy as np
from jaxtyping import Int

from distax.fitting.cameras import outside_of_range
from distax.fitting.estimators import FastFit, Posterior, Refine, WindowEstimator
from distax.fitting.local_psf import LocalEstimator
from distax.fitting.misfit import warn_of_misfits
from distax.fitting.patch import Patch, window_width
from distax.frames.bands import Band, bands
from distax.frames.blobs import Blobs, peaks, psf_line, signal_to_noise
from distax.frames.crowding import Looked, look_again, without_pieces
from distax.frames.cutouts import (
    Cutouts,
    blob_flux,
    cut_windows,
    local_level,
    middle,
    patches,
    without_neighbours,
)
from distax.frames.detection import Detection, measure_detection
from distax.frames.judging import Fits, judge
from distax.frames.limits import SMALLEST_BOX, check_camera, check_detection
from distax.frames.local_psf import (
    local_flux,
    local_significance,
    psf_of_windows,
    warn_of_gaps,
)
from distax.frames.merging import duplicates, flags_of_windows, in_frame
from distax.frames.prior import FramePrior
from distax.frames.psf import NOT_MEASURED, MeasuredWidth, PsfCheck, measure_width
from distax.frames.selection import selected, within_frame
from distax.frames.sky import Sky, measure_sky
from distax.frames.surroundings import ring_of
from distax.frames.targets import FrameTargets
from distax.imaging.checks import as_counts, check_single
from distax.imaging.scenes import RAYLEIGH, ScenePrior
from distax.imaging.sensor import Sensor
from distax.imaging.targets import Targets
from distax.io.pixels import Pixels
from distax.runtime.errors import (
    DistaxError,
    DistaxWarning,
    check_positive,
    unknown,
)
from distax.runtime.fields import check_fields

_REFINE = Refine(together=True)
"""Estimator of the number of targets. Most frames have so few blobs that a small program counts."""
_ESTIMATORS: dict[str, Callable[[], WindowEstimator]] = {
    "refine": lambda: _REFINE,
    "fast": lambda: FastFit(refine=_REFINE),
    "posterior": lambda: Posterior(refine=_REFINE),
}
"""Estimators of a frame's blobs by the names of the methods."""

_RING, _RING_SIGMAS = 2, 1.5
"""Width of the ring around the fitted window, in which the local background is measured: at least
the first in pixels, and the second in standard deviations of the PSF. A wider ring has less noise
and holds more of the neighbours' flux. The error of intensities under a wide PSF is mostly that of
the background."""
_AROUND = 2
"""Pixels around a window that its shape is judged from besides. More show more of a line or of a
wide spot, and more of the neighbours."""
_PIXELS_AT_ONCE = 2**21
"""Approximate number of pixels in a band. Larger bands take more memory. Smaller ones read and
filter the rows of their margins more often."""


@dataclass(frozen=True, kw_only=True)
class FrameUnmixer:
    """An unmixer of frames, which are images of any size.

    The width of the PSF is measured from isolated blobs; see `measure_psf`. Then a frame
    is unmixed in five steps.

    1. The level and the noise of the background are measured in boxes.
    2. A matched filter computes the signal-to-noise ratio of a target at every pixel. A peak above
       a threshold is a blob. Peaks within a cluster's side of a higher peak belong to its blob. A
       blob that is larger has several peaks, and each gets its own window.
    3. A window is cut around each blob: 11×11 pixels for the default sensor. Pixels that are nearer
       to another blob are left out. The outer ring gives the error of the background's map, and the
       inner 7×7 pixels are fitted.
    4. The targets of all windows are merged. If two windows find the same target, the one with the
       better score is kept.
    5. On request, blobs whose windows overlap are fitted jointly, and the targets that their light
       had hidden are found in the residual.

    Attributes:
      sensor: the sensor, for its sigma, saturation, bit depth, read noise and gain. Its height,
        width and background are not used. With a grid of PSFs, every pixel is searched and every
        blob is fitted under the PSF there. With a read noise of zero the noise is measured in the
        frame. Otherwise the noise of the background is the read noise, together with the shot noise
        of the background's level if the gain is known.
      prior: the prior of a blob's targets.
      method: "refine", the best least-squares fit; "fast", a network's answer from such fits; or
        "posterior", samples of the posterior. Or an estimator object: `Posterior(effort=QUICK)`,
        for example. The network of "fast" takes a PSF and a prior in its range, see
        `fitting.cameras`. Blobs too faint for it are answered by "refine". Default: "fast" in the
        range of its network, "refine" beyond.
      false_blobs: mean number of blobs in a frame of pure noise, which sets the threshold; see
        `blobs.false_blobs`.
      box: side in pixels of the boxes in which the background is measured.
      measure_psf: True takes the PSF's width from each frame's isolated blobs, if enough of them
        agree, and the sensor's sigma otherwise; see `frames.psf`. It has no effect beside a
        measured PSF. Default: the sensor's sigma, which is compared with that of the blobs.
      best: number of targets that are kept: trusted ones first, then those with the highest score.
        Default: all.
      min_score: least score of a target that is kept, from 0 to 1.
      trusted_only: True leaves out targets with the flag `UNSURE`.
      crowded: True looks again at blobs whose windows overlap, in fields of many stars; see
        `crowding.look_again`. Their errors are then Gaussian for every method.
      rows_at_once: rows in a band. Every value gives the same answer. Default: rows that hold about
        two million pixels.

    Raises:
      DistaxError: the method is unknown, or its network does not know the PSF or the prior; crowded
        fits are asked for with known intensities or a PSF that varies; a value has another type or
        is out of range.
    """

    sensor: Sensor = Sensor(saturation=None, bit_depth=None)
    prior: FramePrior = FramePrior()
    method: str | WindowEstimator | None = None
    false_blobs: float = 0.01
    box: int = 64
    measure_psf: bool = False
    best: int | None = None
    min_score: float = 0.0
    trusted_only: bool = False
    crowded: bool = False
    rows_at_once: int | None = None

    def __post_init__(self) -> None:
        check_fields(self)
        check_single(self.sensor)
        if isinstance(self.method, str) and self.method not in _ESTIMATORS:
            raise unknown("method for frames", self.method, _ESTIMATORS)
        check_camera(self.sensor)
        check_detection(self.false_blobs, self.box, self.min_score)
        for name in ("best", "rows_at_once"):
            if (value := getattr(self, name)) is not None:
                check_positive(**{name: value})
        if self.crowded and self.prior.min_intensity is not None:
            raise DistaxError("crowded fits have no bounds of intensities: leave one of them out")
        if self.crowded and self.sensor.psf_grid is not None:
            raise DistaxError("crowded fits take one PSF for the frame, not a psf_grid")
        problem = self._outside_of_range()
        if problem and isinstance(self.estimator, FastFit):
            raise DistaxError(f"{problem}; choose the method refine or posterior")
        if self.sensor.psf_grid and not isinstance(self.estimator, LocalEstimator):
            raise DistaxError(
                f"the method {self.estimator.name} takes one PSF for all windows (it has no "
                "unmix_local), and the sensor has a grid of PSFs; choose refine or posterior"
            )

    def __call__(self, pixels: Pixels) -> FrameTargets:
        """Finds the targets of a frame.

        A warning is given if the isolated blobs contradict the width of the PSF, or else if the
        imaging model does not explain most blobs.

        Args:
          pixels: `[height, width]` in counts: an array, nested lists, or an object that is read by
            rows like an array. Bad pixels are NaN or infinite, and are left out.

        Raises:
          DistaxError: the frame is not a two-dimensional image of numbers, is too small or has too
            few known pixels; its background does not vary or is saturated.
        """
        if not hasattr(pixels, "shape"):
            pixels = as_counts(pixels, "frame", wide=True)
        _check_shape(pixels)
        if grid := self.sensor.psf_grid:
            if grid.constant:
                return replace(self, sensor=self.sensor.at(0.0, 0.0))(pixels)
            warn_of_gaps(grid, (pixels.shape[0], pixels.shape[1]))
        sky = measure_sky(pixels, self.box, self.sensor)
        if sky.noisier or sky.quieter:
            sky.warn_of_noise()
        width = self._measure_width(sky)
        assuming = self._assuming(width)
        known = not self.measure_psf or width.suggested is not None
        found = assuming._find(replace(sky, sensor=assuming.sensor), known)
        _, first = np.unique(found.blob, return_index=True)
        misfit = found.misfit[first]
        check = PsfCheck(
            sigma=jax.tree.map(float, assuming.sensor.sigma),
            source=self._source_of(assuming),
            measured=width,
            contradicted=width.contradicts(assuming.sensor),
            misfit=float(np.median(misfit)) if len(misfit) else None,
            blobs=len(misfit),
            over_frame=(min(grid.narrowest), max(grid.widest)) if grid else None,
        )
        if check.contradicted:
            warnings.warn(check.advice, DistaxWarning, stacklevel=2)
        elif not sky.noisier:
            warn_of_misfits(misfit, "blobs")
        found = within_frame(replace(found, psf=check))
        return selected(found, self.best, self.min_score, self.trusted_only)

    def _measure_width(self, sky: Sky) -> MeasuredWidth:
        """Measures the width of the PSF from the blobs in the middle rows of a frame."""
        if self.sensor.measured_psf is not None or self.sensor.psf_grid is not None:
            return NOT_MEASURED
        height, width = sky.shape
        rows = min(height, max(1, _PIXELS_AT_ONCE // width))
        first = (height - rows) // 2
        band = Band(first=first, last=first + rows, start=first, stop=first + rows)
        return measure_width(*sky.read(band), self.sensor)

    def _assuming(self, width: MeasuredWidth) -> "FrameUnmixer":
        """Returns the unmixer for the PSF that is assumed for a frame."""
        if not self.measure_psf or width.suggested is None:
            return self
        return replace(self, sensor=replace(self.sensor, sigma=width.suggested))

    def _source_of(self, assuming: "FrameUnmixer") -> Literal["given", "measured", "default"]:
        """Returns the source of the width of the PSF that is assumed for a frame."""
        if assuming is not self:
            return "measured"
        return "default" if self.measure_psf else "given"

    def _find(self, sky: Sky, width_known: bool) -> FrameTargets:
        """Finds the targets of a frame above its background."""
        # A narrower PSF needs the higher threshold.
        grid = self.sensor.psf_grid
        narrowest = grid.narrowest if grid else self.sensor.sigma
        detection = measure_detection(sky, self.false_blobs, narrowest, self.crowded)
        parts = self._search(detection)
        cutouts = jax.tree.map(lambda *leaves: np.concatenate(leaves), *parts)
        # Most significant blob first. Equal ones are ordered by position, not by band.
        order = np.lexsort((*cutouts.pixel.T[::-1], -cutouts.signal_to_noise))
        cutouts = jax.tree.map(lambda leaf: leaf[order], cutouts)
        return self._unmix(cutouts, detection, width_known)

    @property
    def estimator(self) -> WindowEstimator:
        """The estimator of the targets in each window."""
        if isinstance(self.method, str):
            return _ESTIMATORS[self.method]()
        usual = "refine" if self._outside_of_range() else "fast"
        return self.method or _ESTIMATORS[usual]()

    def _outside_of_range(self) -> str | None:
        """Says what the network of "fast" does not know; None if it knows PSF and prior."""
        if self.sensor.psf_grid:
            return "the PSF varies over the frame, and the network of fast knows one PSF"
        return outside_of_range(self.window, self.prior.placement(self.window))

    @property
    def window(self) -> Sensor:
        """Sensor of the windows: their size and PSF, without the fields that differ by frame.

        Of a grid of PSFs it has the widest Gaussian, which sets sizes.
        """
        ring = max(_RING, round(_RING_SIGMAS * self.sensor.widest_sigma))
        side = self._width(self.sensor) + 2 * ring
        return Sensor(
            height=side,
            width=side,
            sigma=self.sensor.psf_grid.widest if self.sensor.psf_grid else self.sensor.sigma,
            measured_psf=self.sensor.measured_psf,
        )

    def _width(self, sensor: Sensor) -> int:
        """Returns the width in pixels of the window that is fitted around a blob."""
        return window_width(sensor, self.prior.placement(sensor).cluster)

    def _search(self, detection: Detection) -> Iterator[Cutouts]:
        """Finds the blobs of each band by the matched filter, and cuts the windows around them.

        A band has a margin above and below, so that the filter and the windows near its edge see
        the frame's pixels. Blobs in the margin belong to the neighbouring band.
        """
        window, prior = self.window, self.prior.placement(self.window)
        reach = max(1, round(prior.cluster))
        side = window.height + 2 * _AROUND
        filtered = len(psf_line(window.widest_sigma)) // 2 + ring_of(window.sigma)[1]
        margin = filtered + max(reach, side // 2)
        sky, grid = detection.sky, self.sensor.psf_grid
        rows = self.rows_at_once or max(1, _PIXELS_AT_ONCE // sky.shape[1])
        for band in bands(sky.shape, rows, margin):
            counts, noise, clipped = sky.read(band)
            above = sky.above_level(counts, noise)
            if grid:
                significance = local_significance(above, noise, grid, band.start)
            else:
                significance = signal_to_noise(above, noise, window.sigma)
            found = peaks(significance, detection.threshold, reach)
            row = found[:, 0] + band.start
            own = found[(row >= band.first) & (row < band.last)]
            cutouts = cut_windows(own, significance, counts, noise, clipped, side)
            yield replace(cutouts, pixel=own + np.array([band.start, 0]))

    def _unmix(self, around: Cutouts, detection: Detection, width_known: bool) -> FrameTargets:
        """Finds the targets in windows, and judges their shapes from a larger part of the frame."""
        window = self.window
        prior, width = self.prior.placement(window), self._width(window)
        grid = self.sensor.psf_grid
        if grid:
            prior = replace(prior, rayleigh_unit=RAYLEIGH * max(grid.narrowest))
        windows = around
        around, taken = without_neighbours(around)
        cutouts, taken = around.middle(window.height), middle(taken, window.height)
        level = local_level(cutouts, width)
        cutouts = replace(cutouts, counts=cutouts.counts - level[:, None, None])
        flux = local_flux(cutouts, grid, prior) if grid else blob_flux(cutouts, window, prior)
        unit = self.prior.unit(flux)
        rows = _rows(patches(cutouts, unit, self.sensor, width))
        found = self._fit(rows, cutouts.pixel, window, prior)
        targets, blob = in_frame(found, cutouts.corner, unit)
        kept = np.flatnonzero(~duplicates(targets, blob, prior.min_distance))
        targets, blob = jax.tree.map(lambda leaf: leaf[kept], (targets, blob))
        fits = Fits(
            targets=targets,
            blob=blob,
            flags=flags_of_windows(cutouts.middle(width), middle(taken, width), None),
            trusted=found.trusted,
            misfit=np.asarray(found.misfit),
            count_probability=np.asarray(found.count_probability),
        )
        if grid is None:
            fits = without_pieces(fits, windows, detection, self.sensor, width)
        looked = Looked(fits, around, level)
        if self.crowded:
            looked = look_again(looked, windows, detection, self.sensor, width)
        around = looked.around
        answers = judge(
            looked.fits, around, self.sensor, noise=detection.kind, width_known=width_known
        )
        detection.warn(self.false_blobs, answers.bright_pixels, len(around.pixel))
        return FrameTargets(
            targets=answers.targets,
            blob=answers.blob,
            flags=answers.flags,
            misfit=answers.misfit,
            count_probability=answers.count_probability,
            blobs=Blobs(pixel=around.pixel, signal_to_noise=around.signal_to_noise),
            local_level=looked.level,
            background=detection.sky.background,
            threshold=detection.threshold,
            noise_kind=detection.kind,
            point_probability=answers.point_probability,
        )

    def _fit(
        self, rows: Patch, pixel: Int[np.ndarray, "B 2"], window: Sensor, prior: ScenePrior
    ) -> Targets:
        """Finds the targets of windows by the method, in window coordinates and scaled counts."""
        estimator, grid = self.estimator, self.sensor.psf_grid
        if grid and isinstance(estimator, LocalEstimator):
            return estimator.unmix_local(rows, psf_of_windows(grid, pixel), prior)
        return estimator.unmix_windows(rows, window, prior)


def _rows(patch: Patch) -> Patch:
    """Moves lanes to the first axis on the host, where no program is compiled for their number."""
    rows: Patch = jax.tree.map(lambda leaf: np.moveaxis(np.asarray(leaf), -1, 0), patch)
    return rows


def _check_shape(pixels: Pixels) -> None:
    if len(pixels.shape) != 2:
        raise DistaxError(
            f"an array of shape {tuple(pixels.shape)} is no frame, which has two axes: height and "
            "width"
        )
    height, width = pixels.shape
    if min(height, width) < SMALLEST_BOX:
        raise DistaxError(
            f"{height}×{width} px are too few to measure a background in: a frame has at least "
            f"{SMALLEST_BOX} along each edge; a smaller image needs a sensor of its size"
        )
