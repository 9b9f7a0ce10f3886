"""Detection in a frame: the threshold at which its own noise makes the stated number of blobs."""

import warnings
from dataclasses import dataclass, replace
from typing import Literal

import numpy as np
from jaxtyping import Float

from distax.frames.blobs import detection_threshold
from distax.frames.crowd import is_crowd
from distax.frames.noise import is_gaussian, law_threshold, measure_law
from distax.frames.sampling import Sample, filter_weights, take_sample
from distax.frames.sky import Sky
from distax.frames.surroundings import (
    correlation,
    longer_tail,
    measure_surroundings,
    spread_below,
)
from distax.imaging.psf import Sigma
from distax.runtime.errors import DistaxWarning

Noise = Literal["gaussian", "skewed", "correlated", "textured"]
"""Kinds of noise: Gaussian white noise; white noise of another law; noise that is correlated
between pixels; and texture, which differs from place to place."""

_SLOPED, _STEEP = 1.25, 2.0
"""Ratios of the filter's spread above the background to that above rings. From the first on rings
are used: a smaller ratio subtracts neighbours' light in even frames, a larger one lets slopes pass
for blobs. From the second on the slopes are those of texture."""
_LONGEST_TAIL = 1.2
"""Largest factor of the threshold in texture. Edges make a longer tail, and are told from targets
by their shape. A larger factor misses faint targets."""
_HOT = 3.0
"""Number of single bright pixels, relative to the expected number of false blobs, or to one if that
is less, above which a warning is given."""


@dataclass(frozen=True)
class Detection:
    """Sky in which blobs are detected, and the threshold.

    Attributes:
      sky: the sky, with its texture.
      threshold: signal-to-noise ratio above which a peak is a blob.
      kind: kind of the noise.
    """

    sky: Sky
    threshold: float
    kind: Noise

    def warn(self, expected: float, bright_pixels: int, blobs: int) -> None:
        """Warns if more false blobs than expected are likely, and says why.

        Args:
          expected: expected number of blobs in a frame of noise alone.
          bright_pixels: number of blobs that are single bright pixels.
          blobs: number of blobs.
        """
        if self.kind == "textured":
            warnings.warn(
                f"the background is textured: more than the expected {expected:g} false blobs may "
                "be found in it; what looks like an edge or a line is marked as unsure, and "
                "--frame.trusted-only leaves it out",
                DistaxWarning,
                stacklevel=5,
            )
        if bright_pixels > _HOT * max(expected, 1.0):
            warnings.warn(
                f"{bright_pixels} of {blobs} blobs are single bright pixels, which are none of the "
                f"expected {expected:g} false blobs: if they are hot pixels, name a --mask of "
                "them, or set them to NaN",
                DistaxWarning,
                stacklevel=5,
            )


def measure_detection(sky: Sky, expected: float, sigma: Sigma, crowded: bool = False) -> Detection:
    """Measures the frame's noise as the matched filter sees it, and the threshold it needs.

    Gaussian white noise has the threshold of `blobs.detection_threshold`. Independent pixels of
    another law have the threshold at which the filter's tail is as rare; see `noise`. For
    correlated noise and texture the noise is measured around each pixel; see `surroundings`.

    Args:
      sky: the frame above its background.
      expected: expected number of blobs in a frame of noise alone.
      sigma: standard deviation of the PSF in pixels.
      crowded: True if the frame may hold so many stars that they look like texture.

    Raises:
      DistaxError: as `blobs.detection_threshold`.
    """
    height, width = sky.shape
    threshold = detection_threshold(expected, height * width, sigma)
    sample = take_sample(sky, sigma, shuffle=True)
    correlated = correlation(sample.filtered, sample.shuffled, sigma)
    level = replace(sky, sloped=True)
    above = take_sample(level, sigma)
    slope = _ratio(sample.filtered, above.filtered)
    if correlated == 1 and slope < _STEEP:
        return _of_law(sky, sample, threshold, sigma)
    if crowded and is_crowd(sky, sigma):
        return Detection(sky, threshold, "gaussian")
    texture = measure_surroundings(sky.read, sky.shape, sigma)
    if slope > _SLOPED:
        # Slopes are part of the pixels' spread in large boxes, and of no noise.
        white = take_sample(level, sigma, shuffle=True).shuffled
        correlated = correlation(above.filtered, white, sigma)
        relative = _ratio(above.pixel, sample.pixel) * correlated
        sky = replace(level, correlation=relative if slope >= _STEEP else max(relative, 1.0))
        if slope >= _STEEP and len(above.pixel):
            sky = replace(sky, curvature=float(np.median(above.pixel)) / relative)
    else:
        sky = replace(sky, correlation=correlated)
    if texture is not None:
        sky = replace(level, texture=texture)
    if texture is None and slope < _STEEP and correlated == 1:
        return _of_law(sky, take_sample(sky, sigma), threshold, sigma)
    tail = longer_tail(take_sample(sky, sigma).filtered)
    if texture is None and slope < _STEEP:
        return Detection(sky, threshold * tail, "correlated")
    return Detection(sky, threshold * min(tail, _LONGEST_TAIL), "textured")


def _of_law(sky: Sky, sample: Sample, gaussian: float, sigma: Sigma) -> Detection:
    """Returns the detection in white noise, at the threshold that the law of its pixels needs."""
    pixels = sample.without_sources
    if not len(pixels) or is_gaussian(pixels):
        return Detection(sky, gaussian, "gaussian")
    law = measure_law(pixels, sky.step)
    threshold = law_threshold(law, filter_weights(sigma).ravel(), gaussian)
    return Detection(sky, max(gaussian, threshold), "skewed")


def _ratio(one: Float[np.ndarray, " N"], other: Float[np.ndarray, " M"]) -> float:
    """Returns the ratio of two spreads below the median; 1 if either is 0."""
    first, second = spread_below(one), spread_below(other)
    return first / second if first > 0 and second > 0 else 1.0
