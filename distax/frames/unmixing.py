"""From a frame to its targets: background, blobs, windows, fits, one list."""

import math
import warnings
from collections.abc import Iterator
from dataclasses import dataclass, replace

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Float

from distax.fitting.estimators import Posterior, Refine
from distax.fitting.patch import Patch, rows_first, window_width
from distax.fitting.sampler import Effort
from distax.frames.background import Background, measure_background
from distax.frames.bands import Band, bands, read_rows
from distax.frames.blobs import Blobs, detection_threshold, peaks, psf_line, signal_to_noise
from distax.frames.cutouts import (
    Cutouts,
    blob_flux,
    cut_windows,
    local_level,
    middle,
    patches,
    without_neighbours,
)
from distax.frames.merging import duplicates, flags_of_windows, in_frame, near_degenerate
from distax.frames.prior import FramePrior
from distax.frames.targets import Flag, FrameTargets
from distax.imaging.scenes import ScenePrior
from distax.imaging.sensor import ROUNDING_VARIANCE, Sensor
from distax.imaging.targets import Targets
from distax.io.pixels import Pixels
from distax.runtime.batching import inference_batch, pad_rows
from distax.runtime.errors import DistaxError, DistaxWarning, check_positive, unknown

METHODS = ("refine", "posterior")
"""The ways to unmix a frame's blobs."""

_RING = 2
"""Pixels around what targets of a blob reach, in which the local background is measured."""
_PIXELS_AT_ONCE = 2**21
"""Pixels of a band, about."""
_SMALLEST = 16
"""Pixels along an edge of the smallest frame whose background can be measured."""
_NOISIER = 1.3
"""Ratio of measured to stated noise from which on the stated one is doubted."""


@dataclass(frozen=True, kw_only=True)
class FrameUnmixer:
    """Finds the targets in frames: images of any size.

    The background's level and noise are measured in boxes. What the matched filter finds above
    them at more than a threshold is a blob, and a window around each is unmixed: 11×11 pixels for
    the default sensor, of which the inner 7×7 are fitted and the others show what the background's
    map is off by. Peaks of the filter within a cluster's side of a higher one belong to its blob. A
    blob that is larger has several peaks and is cut into as many windows. Pixels of a window that
    are nearer to another blob are left out, and of targets that two windows both find, the one
    with the better score is kept.

    Attributes:
      sensor: sigma, saturation, bit depth and gain of the camera; its height, width and background
        are not used. A read noise of zero stands for the noise that is measured in the frame;
        another, with the shot noise of the background's level where the gain is known, is taken
        for the noise of the background everywhere.
      prior: what is known of a blob's targets.
      method: "refine", the best least-squares fit, or "posterior", which samples it: see `Unmixer`.
      false_blobs: how many blobs a frame of pure noise has on average; sets the threshold, see
        `blobs.false_blobs`.
      box: side in pixels of the boxes in which the background is measured.
      effort, seed: for "posterior", see `Unmixer`.
      rows_at_once: rows of a band; as many as hold about two million pixels without it. The
        answer is the same with any.

    Raises:
      DistaxError: an unknown method, or a value out of range.
    """

    sensor: Sensor = Sensor(saturation=None, bit_depth=None)
    prior: FramePrior = FramePrior()
    method: str = "refine"
    false_blobs: float = 0.01
    box: int = 64
    effort: Effort = Effort()
    seed: int = 0
    rows_at_once: int | None = None

    def __post_init__(self) -> None:
        if self.method not in METHODS:
            raise unknown("method for frames", self.method, METHODS)
        check_positive(false_blobs=self.false_blobs)
        if self.box < _SMALLEST:
            raise DistaxError(f"box must be at least {_SMALLEST} pixels, got {self.box}")

    def __call__(self, pixels: Pixels) -> FrameTargets:
        """The targets of a frame.

        Args:
          pixels: `[height, width]`, an array or what reads like one by rows (a mapped file), in
            counts. NaN and infinite pixels are bad ones: they are left out.

        Raises:
          DistaxError: not a two-dimensional image, one too small or with too few known pixels, or
            one whose background does not vary or is saturated.
        """
        shape = _checked_shape(pixels)
        background = measure_background(pixels, self.box)
        self._check(background)
        threshold = detection_threshold(self.false_blobs, math.prod(shape), self.sensor.sigma)
        parts = self._search(pixels, background, threshold)
        cutouts = jax.tree.map(lambda *leaves: np.concatenate(leaves), *parts)
        order = np.lexsort((*cutouts.pixel.T[::-1], -cutouts.signal_to_noise))
        cutouts = jax.tree.map(lambda leaf: leaf[order], cutouts)
        return self._unmix(cutouts, background, threshold)

    @property
    def window(self) -> Sensor:
        """The sensor of the windows: their size and PSF, and nothing that differs by frame."""
        side = self._width(self.sensor) + 2 * _RING
        return Sensor(
            height=side,
            width=side,
            sigma=self.sensor.sigma,
            measured_psf=self.sensor.measured_psf,
        )

    def _width(self, sensor: Sensor) -> int:
        """Width in pixels of the window that is fitted around a blob."""
        return window_width(sensor, self.prior.placement(sensor).cluster)

    def _noise_in(self, background: Background, band: Band) -> Float[np.ndarray, "rows width"]:
        if self._noise_known:
            return self._stated_noise(background.level_in(band))
        noise = background.noise_in(band)
        return np.maximum(noise, self._least_noise)

    def _stated_noise(self, level: Float[np.ndarray, "..."]) -> Float[np.ndarray, "..."]:
        """Returns the background's standard deviation at a level in counts, by the sensor."""
        variance = np.asarray(self.sensor.noise_variance(jnp.asarray(level)))
        return np.maximum(np.sqrt(variance), self._least_noise)

    @property
    def _least_noise(self) -> float:
        """Standard deviation in counts of the rounding error."""
        return ROUNDING_VARIANCE**0.5 if self.sensor.digital else 0.0

    @property
    def _noise_known(self) -> bool:
        return self.sensor.read_noise > 0

    def _check(self, background: Background) -> None:
        level = float(np.median(background.level))
        if level >= self.sensor.clip_level:
            raise DistaxError(
                f"the background itself is saturated: it reads {level:g}, where pixels clip at "
                f"{self.sensor.clip_level:g}"
            )
        varies = self._noise_known or self.sensor.digital
        if not varies and not np.all(background.noise > 0):
            raise DistaxError(
                f"the background does not vary (it reads {level:g}), so that nothing tells targets "
                "from noise: state the read noise or the bit depth"
            )
        if self._noise_known:
            self._doubt(background)

    def _doubt(self, background: Background) -> None:
        """Warn of a frame that is noisier than its sensor, where noise passes for blobs."""
        stated = float(np.median(self._stated_noise(background.level)))
        measured = float(np.median(background.noise))
        if measured > _NOISIER * stated:
            warnings.warn(
                f"the background's noise is {measured:.3g} counts, the sensor's read noise and "
                f"gain make it {stated:.3g}: expect false blobs, or state a read noise of 0 to use "
                "the measured one",
                DistaxWarning,
                stacklevel=4,
            )

    def _search(
        self, pixels: Pixels, background: Background, threshold: float
    ) -> Iterator[Cutouts]:
        """The windows around the blobs of each band."""
        window, prior = self.window, self.prior.placement(self.window)
        reach = max(1, round(prior.cluster))
        margin = len(psf_line(max(map(float, window.sigmas)))) // 2 + max(reach, window.height // 2)
        rows = self.rows_at_once or max(1, _PIXELS_AT_ONCE // background.shape[1])
        for band in bands(background.shape, rows, margin):
            values = read_rows(pixels, band)
            counts = (values - background.level_in(band)).astype(np.float32)
            noise = self._noise_in(background, band)
            significance = signal_to_noise(counts, noise, window.sigma)
            found = peaks(significance, threshold, reach)
            row = found[:, 0] + band.start
            own = found[(row >= band.first) & (row < band.last)]
            cutouts = cut_windows(
                own, significance, counts, noise, values >= self.sensor.clip_level, window.height
            )
            yield replace(cutouts, pixel=own + np.array([band.start, 0]))

    def _unmix(self, cutouts: Cutouts, background: Background, threshold: float) -> FrameTargets:
        window = self.window
        prior, width = self.prior.placement(window), self._width(window)
        cutouts, taken = without_neighbours(cutouts)
        level = local_level(cutouts, width)
        cutouts = replace(cutouts, counts=cutouts.counts - level[:, None, None])
        unit = self.prior.unit(blob_flux(cutouts, window, prior))
        found = self._fit(patches(cutouts, unit, self.sensor, width), window, prior)
        targets, blob = in_frame(found, cutouts.corner, unit)
        kept = np.flatnonzero(~duplicates(targets, blob, prior.min_distance))
        targets, blob = jax.tree.map(lambda leaf: leaf[kept], (targets, blob))
        of_window = flags_of_windows(cutouts.middle(width), middle(taken, width), found.trusted)
        degenerate = np.where(near_degenerate(targets, blob), int(Flag.NEAR_DEGENERATE), 0)
        return FrameTargets(
            targets=targets,
            blob=blob,
            flags=of_window[blob] | degenerate,
            misfit=np.asarray(found.misfit)[blob],
            count_probability=np.asarray(found.count_probability)[blob],
            blobs=Blobs(pixel=cutouts.pixel, signal_to_noise=cutouts.signal_to_noise),
            local_level=level,
            background=background,
            threshold=threshold,
        )

    def _fit(self, patch: Patch, window: Sensor, prior: ScenePrior) -> Targets:
        """Finds the targets of windows by the method, in window coordinates and scaled counts."""
        posterior = Posterior(self.effort, self.seed)
        estimator = Refine() if self.method == "refine" else posterior
        # Always as many rows, so that one program serves all frames, those without blobs included.
        rows, blobs = pad_rows(rows_first(patch), inference_batch()), patch.origin.shape[-1]
        found = estimator.of_rows(rows, window, prior)
        return jax.tree.map(lambda leaf: leaf[:blobs], found)


def _checked_shape(pixels: Pixels) -> tuple[int, int]:
    if len(pixels.shape) != 2:
        raise DistaxError(
            f"an array of shape {tuple(pixels.shape)} is no frame, which has two axes: height and "
            "width"
        )
    height, width = pixels.shape
    if min(height, width) < _SMALLEST:
        raise DistaxError(
            f"{height}×{width} px are too few to measure a background in: a frame has at least "
            f"{_SMALLEST} along each edge, and is no sensor's image of another size"
        )
    return height, width
