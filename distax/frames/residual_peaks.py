"""Peaks in the residual of windows: targets that the light of brighter ones had hidden."""

import math

import numpy as np
from jaxtyping import Bool, Float, Int

from distax.frames.blobs import peaks, psf_line, signal_to_noise
from distax.imaging.sensor import Sensor

_APART = 1.2
"""Smallest distance of two peaks along an axis, in standard deviations of the PSF, but at least one
pixel. Nearer ones are one target, or are told apart by the next look."""
_EDGE = 2.0
"""Standard deviations of the PSF at a window's edge without peaks, as the filter sees too little of
them there."""


def residual_peaks(
    residual: Float[np.ndarray, "B S S"],
    noise: Float[np.ndarray, "B S S"],
    centre: Int[np.ndarray, "B 2"],
    threshold: float,
    sensor: Sensor,
) -> tuple[Int[np.ndarray, "N 2"], Float[np.ndarray, " N"], Float[np.ndarray, " N"]]:
    """Finds significant peaks of the matched filter in windows without the light of their targets.

    Args:
      residual: counts in the windows; NaN where they are not known.
      noise: standard deviations in counts, with those of the subtracted light.
      centre: row and column of the windows' central pixels in the frame.
      threshold: least signal-to-noise ratio.
      sensor: the sensor, for its PSF.

    Returns:
      Row and column in the frame of each peak, its signal-to-noise ratio, and the intensity of a
      target there in counts. The most significant is first. A peak in several windows counts once.
    """
    side = residual.shape[-1]
    apart = max(1, round(_APART * sensor.widest_sigma))
    gap = max(len(psf_line(sensor.widest_sigma)) // 2, apart)
    # All windows side by side in one image, with unknown pixels between them.
    pad = ((0, 0), (0, 0), (0, gap))
    strip, strip_noise = (
        np.pad(image, pad, constant_values=fill).swapaxes(0, 1).reshape(side, -1)
        for image, fill in ((residual, math.nan), (noise, float(np.median(noise))))
    )
    significance = signal_to_noise(strip, strip_noise, sensor.sigma)
    found = peaks(significance, threshold, apart)
    window, column = np.divmod(found[:, 1], side + gap)
    edge = round(_EDGE * sensor.widest_sigma)
    within = (column >= edge) & (column < side - edge)
    within &= (found[:, 0] >= edge) & (found[:, 0] < side - edge)
    within &= np.isfinite(strip[found[:, 0], found[:, 1]])
    row, column, window, found = found[within, 0], column[within], window[within], found[within]
    value = significance[found[:, 0], found[:, 1]]
    power = math.prod(float(np.sum(psf_line(float(sigma)) ** 2)) for sigma in sensor.sigmas)
    intensity = value * noise[window, row, column] / math.sqrt(power)
    pixel = centre[window] + np.stack([row, column], axis=1) - side // 2
    order = np.argsort(-value, kind="stable")
    kept = order[_first_of_each(pixel[order], apart)]
    return pixel[kept], value[kept], intensity[kept]


def _first_of_each(pixel: Int[np.ndarray, "N 2"], apart: int) -> Bool[np.ndarray, " N"]:
    """Keeps the first of pixels that are as near to each other as one peak."""
    from scipy.spatial import cKDTree

    kept = np.ones(len(pixel), bool)
    if len(pixel):
        pairs = cKDTree(pixel).query_pairs(apart, p=np.inf, output_type="ndarray")
        for first, second in pairs[np.lexsort(pairs.T[::-1])]:
            kept[second] &= not kept[first]
    return kept
