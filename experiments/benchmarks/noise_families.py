"""Frames of noise alone, of the kinds that cameras and their software make."""

import io
from collections.abc import Callable

import numpy as np
from PIL import Image
from scipy.ndimage import gaussian_filter, zoom

SIDE = 128
Frame = np.ndarray
Random = np.random.Generator
Family = Callable[[Random], Frame]


def white(random: Random) -> Frame:
    """Gaussian white noise."""
    return 100 + 5 * random.standard_normal((SIDE, SIDE))


def photons(mean: float) -> Family:
    """Photons of a mean number in a pixel."""
    return lambda random: random.poisson(mean, (SIDE, SIDE)).astype(float)


def electron_multiplied(random: Random) -> Frame:
    """One photon in ten pixels, a gain of 100 with an exponential law, and a read noise of 10."""
    photons = random.poisson(0.1, (SIDE, SIDE))
    multiplied = np.where(photons > 0, 100 * random.gamma(np.maximum(photons, 1)), 0.0)
    return multiplied + 100 + 10 * random.standard_normal((SIDE, SIDE))


def smoothed(sigma: float) -> Family:
    """Gaussian noise, smoothed by a Gaussian."""
    return lambda random: 100 + 5 * gaussian_filter(random.standard_normal((SIDE, SIDE)), sigma)


def compressed(noise: float) -> Family:
    """A frame of 8 bits that was saved as JPEG of quality 75."""

    def make(random: Random) -> Frame:
        pixels = np.rint(100 + noise * random.standard_normal((SIDE, SIDE)))
        file = io.BytesIO()
        Image.fromarray(np.clip(pixels, 0, 255).astype(np.uint8)).save(file, "JPEG", quality=75)
        return np.asarray(Image.open(file)).astype(float)

    return make


def enlarged(order: int) -> Family:
    """A frame of half the size, enlarged by linear (order 1) or cubic (3) interpolation."""
    half = SIDE // 2
    return lambda random: zoom(100 + 5 * random.standard_normal((half, half)), 2, order=order)


def quantised(noise: float) -> Family:
    """Gaussian noise, rounded to whole counts."""
    return lambda random: np.rint(100.3 + noise * random.standard_normal((SIDE, SIDE)))


def hot_pixels(random: Random) -> Frame:
    """One pixel in a thousand is hot."""
    frame = white(random)
    hot = random.random((SIDE, SIDE)) < 1e-3
    frame[hot] += random.uniform(50, 500, hot.sum())
    return frame


FAMILIES: dict[str, Family] = {
    "Gaussian": white,
    "Poisson of mean 5": photons(5.0),
    "Poisson of mean 1": photons(1.0),
    "Poisson of mean 0.2": photons(0.2),
    "electron-multiplied": electron_multiplied,
    "smoothed by 0.5 px": smoothed(0.5),
    "smoothed by 1 px": smoothed(1.0),
    "JPEG 75 of noise 8": compressed(8.0),
    "JPEG 75 of noise 3": compressed(3.0),
    "enlarged, linear": enlarged(1),
    "enlarged, cubic": enlarged(3),
    "whole counts of noise 0.6": quantised(0.6),
    "whole counts of noise 0.3": quantised(0.3),
}
"""Families in which the stated number of false blobs holds."""
