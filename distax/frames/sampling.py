"""Sample of a frame's pixels, in which its noise is measured."""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float

from distax.frames.bands import Band, bands
from distax.frames.blobs import psf_line, signal_to_noise
from distax.frames.sky import Sky
from distax.frames.surroundings import ring_of
from distax.imaging.psf import Sigma, per_axis

_SAMPLE = 2**18
"""Approximate number of pixels of a sample. More take longer."""
_BRIGHT = 4.0
"""Standard deviations to which brighter pixels are dimmed."""
_STRIP = 32
"""Rows of a strip of a larger frame's sample."""


@dataclass(frozen=True)
class Sample:
    """Pixels of a frame, or of strips of it, in which its noise is measured.

    Attributes:
      pixel: `[N]`, known counts above the background in standard deviations of the noise.
      filtered: `[N]`, the matched filter's output there, if bright pixels are dimmed.
      shuffled: `[N]`, its output if the pixels change places at random.
      first: largest weight of the filter; the squares of all sum to 1.
    """

    pixel: Float[np.ndarray, " N"]
    filtered: Float[np.ndarray, " N"]
    shuffled: Float[np.ndarray, " N"]
    first: float

    @property
    def without_sources(self) -> Float[np.ndarray, " N"]:
        """Pixels whose neighbours, weighted as by the filter, are not bright.

        In white noise a pixel does not depend on its neighbours, so that these show the law of all.
        The neighbours of a source's pixels are bright.
        """
        own = self.first * np.minimum(self.pixel, _BRIGHT)
        others = (self.filtered - own) / max(1 - self.first**2, 1e-6) ** 0.5
        return self.pixel[others < 1.0]


def filter_weights(sigma: Sigma) -> Float[np.ndarray, "rows columns"]:
    """Returns the weights of the matched filter, whose squares sum to 1."""
    psf = np.outer(*(psf_line(float(width)) for width in per_axis(sigma)))
    weights: np.ndarray = psf / np.sqrt(np.sum(psf**2))
    return weights


def take_sample(sky: Sky, sigma: Sigma, shuffle: bool = False) -> Sample:
    """Takes a sample of a frame's pixels, and filters it.

    Args:
      sky: the frame above its background, or above rings if it is sloped.
      sigma: standard deviation of the PSF in pixels.
      shuffle: True filters the shuffled pixels too. Default: `shuffled` is `filtered`.
    """
    weights = filter_weights(sigma)
    random = np.random.default_rng(0)
    parts = []
    for band in _strips(sky.shape, weights.shape[0] // 2 + ring_of(sigma)[1]):
        counts, noise, _ = sky.read(band)
        pixel = counts / noise
        # Sources would else decide the spread of the shuffled pixels, and that around rings.
        one = np.ones_like(pixel)
        dimmed = sky.above_level(np.minimum(pixel, _BRIGHT), one)
        pixel = sky.above_level(pixel, one)
        known = np.isfinite(pixel)
        images = [pixel, signal_to_noise(dimmed, one, sigma)]
        if shuffle:
            mixed = dimmed.copy()
            mixed[known] = random.permutation(dimmed[known])
            images.append(signal_to_noise(mixed, one, sigma))
        own = slice(band.first - band.start, band.last - band.start)
        whole = known[own] & (images[1][own] != 0)
        parts.append([image[own][whole] for image in images])
    joined = [np.concatenate(some) for some in zip(*parts, strict=True)]
    return Sample(joined[0], joined[1], joined[-1], float(weights.max()))


def _strips(shape: tuple[int, int], margin: int) -> Iterator[Band]:
    """Yields strips over the whole height, whose pixels are about those of a sample."""
    height, width = shape
    if height * width <= 2 * _SAMPLE:
        yield from bands(shape, height, 0)
        return
    every = list(bands(shape, _STRIP, margin))
    number = max(1, _SAMPLE // (_STRIP * width))
    for index in np.unique(np.linspace(0, len(every) - 1, number + 2)[1:-1].astype(int)):
        yield every[index]
