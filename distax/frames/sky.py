"""Sky of a frame: its pixels above the background, with the noise and the texture around them."""

import warnings
from dataclasses import dataclass, replace

import jax.numpy as jnp
import numpy as np
from jaxtyping import Bool, Float

from distax.frames.background import Background, BackgroundError, fill_unknown, measure_background
from distax.frames.bands import Band, read_rows
from distax.frames.clipping import clipping_line
from distax.frames.flat import WithoutFlat, survey
from distax.frames.smoothness import is_smooth
from distax.frames.surroundings import ring_level
from distax.imaging.rounding import lossy_step
from distax.imaging.sensor import ROUNDING_VARIANCE, Sensor
from distax.io.pixels import Pixels
from distax.runtime.errors import DistaxWarning

_NOISIER = 1.3
"""Ratio of measured to stated noise above which a warning is given. A lower limit warns of errors
of the measurement, a higher one lets noise pass for blobs."""

_QUIETER = 3.0
"""Ratio of stated to measured noise above which a warning is given. Noise that is only rounded, or
left out by a simulation, is no measure of the stated one."""
_MOSTLY_FLAT = 0.9
"""Share of a frame from which flat areas are its background: that of a simulation without noise, or
of a frame that does not vary."""
_COARSE = 3.0
"""Distance of the numbers of a frame in standard deviations of its noise from which it is refused.
Most pixels are then equal, and the few others pass for blobs."""


@dataclass(frozen=True)
class Sky:
    """A frame's pixels above its background, and their noise, read by bands.

    Attributes:
      pixels: the frame, without its flat areas.
      background: level and noise in large boxes.
      sensor: the sensor.
      whole: True if all pixels are whole numbers.
      least: least standard deviation in counts.
      correlation: spread of the matched filter's output relative to that of white noise, the same
        in all of the frame.
      sloped: True if the level changes within a box, so that a target stands above the level of a
        ring around it rather than above the background.
      curvature: height of a sloped sky above rings without targets, in standard deviations of the
        noise: that of a vignette, which curves alike in all of the frame.
      texture: spread of the output in small boxes, relative to that of white noise; None for noise
        that is the same everywhere.
    """

    pixels: Pixels
    background: Background
    sensor: Sensor
    whole: bool
    least: float
    correlation: float = 1.0
    sloped: bool = False
    curvature: float = 0.0
    texture: Background | None = None

    @property
    def shape(self) -> tuple[int, int]:
        """Height and width in pixels."""
        return self.background.shape

    def read(
        self, band: Band
    ) -> tuple[
        Float[np.ndarray, "rows width"],
        Float[np.ndarray, "rows width"],
        Bool[np.ndarray, "rows width"],
    ]:
        """Reads a band: counts above the background, their noise, and True for clipped pixels."""
        values = read_rows(self.pixels, band)
        level = self.background.level_in(band)
        counts, noise = (values - level).astype(np.float32), self._noise(level, band)
        noise = noise * np.float32(self.correlation)
        if self.texture is not None:
            noise = np.maximum(noise * self.texture.noise_in(band), np.float32(self.least))
        return counts, noise, values >= self.sensor.clip_level

    def above_level(
        self, counts: Float[np.ndarray, "rows width"], noise: Float[np.ndarray, "rows width"]
    ) -> np.ndarray:
        """Returns counts in which a target is looked for: above rings if the sky is sloped."""
        if not self.sloped:
            return counts
        grid = self.sensor.psf_grid
        level = ring_level(counts, grid.widest if grid else self.sensor.sigma)
        return counts - level - np.float32(self.curvature) * noise

    @property
    def step(self) -> float:
        """Distance of neighbouring whole numbers in standard deviations; 0 for real numbers."""
        return 1.0 / max(self.usual_noise, self.least) if self.whole else 0.0

    @property
    def usual_noise(self) -> float:
        """Typical standard deviation of the noise in counts: the stated one, or that measured."""
        return self._stated if _noise_known(self.sensor) else self._measured_noise

    @property
    def noisier(self) -> bool:
        """True if the frame is noisier than its sensor states, so that noise passes for blobs."""
        if not _noise_known(self.sensor):
            return False
        return self._measured_noise > _NOISIER * self._stated

    @property
    def quieter(self) -> bool:
        """True if the frame is far quieter than its sensor states, so that targets are missed."""
        measured = self._measured_noise
        if not _noise_known(self.sensor) or measured <= self.least:
            return False
        return self._stated > _QUIETER * measured

    def warn_of_noise(self) -> None:
        """Warns that the frame is noisier or far quieter than its sensor states."""
        expect = "false blobs" if self.noisier else "missed targets"
        warnings.warn(
            f"the background's noise is {self._measured_noise:.3g} counts, the sensor's read noise "
            f"and gain make it {self._stated:.3g}: expect {expect}, or state a read noise "
            "of 0 to use the measured one",
            DistaxWarning,
            stacklevel=3,
        )

    @property
    def _measured_noise(self) -> float:
        return float(np.median(self.background.noise))

    @property
    def _stated(self) -> float:
        return float(np.median(self._stated_noise(self.background.level)))

    def _noise(
        self, level: Float[np.ndarray, "rows width"], band: Band
    ) -> Float[np.ndarray, "rows width"]:
        if _noise_known(self.sensor):
            return self._stated_noise(level)
        return np.maximum(self.background.noise_in(band), self.least)

    def _stated_noise(self, level: Float[np.ndarray, "..."]) -> Float[np.ndarray, "..."]:
        """Returns the sensor's standard deviation of noise in counts at a background level."""
        return np.sqrt(np.asarray(self.sensor.total_variance(jnp.asarray(level))))


def measure_sky(pixels: Pixels, box: int, sensor: Sensor) -> Sky:
    """Measures the background of a frame, and leaves out its flat areas with a warning.

    A stated noise tells targets in flat areas too, which then stay. Boxes without noise take that
    of their neighbours. If whole numbers are so quiet that most of them are equal, their noise is
    that of rounding.

    Args:
      pixels: the frame.
      box: approximate side in pixels of the boxes in which the background is measured.
      sensor: the sensor.

    Raises:
      BackgroundError: the background is saturated, does not vary anywhere, or varies
        without noise; the numbers near its level are too far apart to hold its noise.
    """
    seen = survey(pixels)
    flat = () if _noise_known(sensor) or seen.share > _MOSTLY_FLAT else seen.flat
    known = WithoutFlat(pixels, flat) if flat else pixels
    try:
        background = measure_background(known, box)
    except BackgroundError as error:
        if not flat:
            raise
        raise BackgroundError(
            f"{100 * seen.share:.0f}% of the frame is flat, and the rest has too few pixels to "
            "show noise that targets could be distinguished from: state the read noise"
        ) from error
    level = float(np.median(background.level))
    if level >= sensor.clip_level:
        raise BackgroundError(
            f"the background itself is saturated: it reads {level:g}, where pixels clip at "
            f"{sensor.clip_level:g}"
        )
    rounded = sensor.digital or (seen.whole and not seen.constant)
    if not (_noise_known(sensor) or rounded):
        background = _with_noise_everywhere(background, level)
    noise = float(np.median(background.noise))
    if not _noise_known(sensor) and is_smooth(known, noise, seen.whole):
        raise BackgroundError(
            f"the frame varies smoothly about {level:g} and shows no noise that targets could be "
            "distinguished from: state the read noise"
        )
    clipping = clipping_line(known, seen, level, noise, sensor.clip_level)
    for line in (seen.line_of_huge, seen.line if flat else None, clipping):
        if line:
            warnings.warn(line, DistaxWarning, stacklevel=4)
    least = ROUNDING_VARIANCE**0.5 if rounded else 0.0
    sky = Sky(pixels=known, background=background, sensor=sensor, whole=seen.whole, least=least)
    _check_rounding(sky, np.asanyarray(pixels[:1]).dtype, level)
    return sky


def _check_rounding(sky: Sky, stored: np.dtype, level: float) -> None:
    """Raises BackgroundError for a frame whose noise was lost when its numbers were rounded."""
    step = lossy_step(level, stored, sky.whole)
    if step > _COARSE * max(sky.usual_noise, sky.least):
        raise BackgroundError(
            f"the numbers of {8 * stored.itemsize} bits are {step:g} counts apart at the frame's "
            f"level of {level:g}, which is more than its noise: store float64, or subtract the "
            "level before the frame is stored"
        )


def _with_noise_everywhere(background: Background, level: float) -> Background:
    """Replaces noise of zero by that of the nearest box; raises BackgroundError without one."""
    if not np.any(background.noise > 0):
        raise BackgroundError(
            f"the background does not vary (it reads {level:g}), so that targets cannot be "
            "distinguished from noise: state the read noise or the bit depth"
        )
    noise = fill_unknown(np.where(background.noise > 0, background.noise, np.nan))
    return replace(background, noise=noise)


def _noise_known(sensor: Sensor) -> bool:
    return sensor.read_noise > 0
