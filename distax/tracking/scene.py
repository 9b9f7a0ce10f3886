"""Shift of the camera from the scene behind the targets: correlation, then least squares.

Frames are compared with the first one. A cross-correlation of both gives the shift to the pixel,
and a fit by least squares (Lucas & Kanade, IJCAI 1981) its fraction. Pixels around detections are
left out of both, so that a moving target does not move the scene.
"""

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float, Int

from distax.frames import FrameTargets
from distax.frames.bands import Band
from distax.io.pixels import Pixels, to_floats
from distax.tracking.camera import Shifts

_REACH = 5.0
"""Distance from a detection, in standard deviations of the PSF, up to which pixels are left out. A
bright target is seen farther, a larger one leaves little of a crowded scene."""
_BLUR = 1.0
"""Standard deviation in pixels of the Gaussian that smooths both images before the fit. A wider one
loses fine structure, a narrower one its smooth course between pixels."""
_EDGE = 4
"""Pixels near unknown ones that the fit leaves out: the reach of the smoothing and of gradients."""
_PEAK = 7.0
"""Height of the correlation's peak, in standard deviations of the correlation, from which it shows
a shift. In pure noise the highest of a million reaches 5."""
_ITERATIONS = 20
_CONVERGED = 1e-4
"""Change of the shift in pixels at which the fit ends."""
_LIMIT = 30.0
"""Counts in units of the noise beyond which the scene is cut off, so that no pixel leads."""


@dataclass(frozen=True)
class Scene:
    """Background of a frame without its targets.

    Attributes:
      image: counts above the level of the background in units of its noise; 0 where unknown.
      known: False for bad pixels and around detections.
    """

    image: Float[np.ndarray, "height width"]
    known: Bool[np.ndarray, "height width"]


def make_scene(pixels: Pixels, found: FrameTargets, sigma: float) -> Scene:
    """Takes the targets out of a frame.

    Args:
      pixels: the frame `[height, width]` in counts.
      found: its targets.
      sigma: standard deviation of the PSF in pixels.
    """
    background = found.background
    height = background.shape[0]
    whole = Band(first=0, last=height, start=0, stop=height)
    noise = np.maximum(background.noise_in(whole), 1e-6 * np.max(background.noise) or 1.0)
    image = (to_floats(pixels[:]) - background.level_in(whole)) / noise
    known = np.isfinite(image)
    reach = int(np.ceil(_REACH * sigma))
    for row, column in np.rint(found.targets.position).astype(int):
        rows = slice(max(row - reach, 0), row + reach + 1)
        known[rows, max(column - reach, 0) : column + reach + 1] = False
    image = np.where(known, np.clip(image, -_LIMIT, _LIMIT), 0.0).astype(np.float32)
    return Scene(image=image, known=known)


def register_scenes(scenes: Iterable[Scene | None]) -> Shifts | None:
    """Measures the camera's shift in each frame from the scene.

    Args:
      scenes: frames without their targets; None for a frame that could not be used. Its shift is
        interpolated from its neighbours'.

    Returns:
      Shifts relative to the first usable frame; None if a frame shows none.
    """
    first: Scene | None = None
    measured = []
    shown = True
    # All scenes are read, because they may be made as they are read.
    for scene in scenes:
        first = first or scene
        answer = measure_shift(first, scene) if shown and first and scene else None
        shown &= scene is None or answer is not None
        measured.append(answer or (np.full(2, np.nan), np.full((2, 2), np.nan)))
    if first is None or not shown:
        return None
    shift, covariance = map(np.array, zip(*measured, strict=True))
    return Shifts("scene", *_interpolated(shift, covariance))


def measure_shift(
    first: Scene, other: Scene
) -> tuple[Float[np.ndarray, "2"], Float[np.ndarray, "2 2"]] | None:
    """Measures the shift of one scene relative to another of the same size.

    Returns:
      Rows and columns in pixels by which the content is displaced, and their covariance; None if
      the scenes have no structure in common.
    """
    start = _whole_shift(first.image, other.image)
    return None if start is None else _fine_shift(first, other, start.astype(float))


def _whole_shift(
    first: Float[np.ndarray, "height width"], other: Float[np.ndarray, "height width"]
) -> Int[np.ndarray, "2"] | None:
    """Finds the shift to the pixel at the peak of the cross-correlation; None without a peak."""
    from scipy import fft

    size = [fft.next_fast_len(2 * length, real=True) for length in first.shape]
    product = np.conj(fft.rfft2(first, size)) * fft.rfft2(other, size)
    correlation = fft.irfft2(product, size)
    peak = np.unravel_index(np.argmax(correlation), correlation.shape)
    if correlation[peak] < _PEAK * np.std(correlation) or not correlation[peak] > 0:
        return None
    place = np.array(peak)
    return np.where(place > np.array(size) / 2, place - np.array(size), place)


def _fine_shift(
    first: Scene, other: Scene, shift: Float[np.ndarray, "2"]
) -> tuple[Float[np.ndarray, "2"], Float[np.ndarray, "2 2"]] | None:
    """Fits the shift by least squares, from the nearest pixel on.

    The noise of both images shows in their difference after the fit. The part of the normal
    equations that comes from the noise of the gradients tells nothing and is subtracted. The
    covariance takes into account that the smoothing correlates the noise.
    """
    from scipy import ndimage

    smooth = ndimage.gaussian_filter(first.image, _BLUR)
    target = ndimage.gaussian_filter(other.image, _BLUR)
    used, seen = _eroded(first.known), _eroded(other.known).astype(np.float32)
    for _ in range(_ITERATIONS):
        moved = ndimage.shift(target, -shift, order=3, mode="constant")
        weight = used & (ndimage.shift(seen, -shift, order=1, mode="constant") > 1 - 1e-3)
        gradient = np.stack(np.gradient((smooth + moved) / 2))[:, weight]
        difference = (moved - smooth)[weight]
        normal = gradient @ gradient.T
        if np.linalg.matrix_rank(normal) < 2:
            return None
        step = -np.linalg.solve(normal, gradient @ difference)
        shift = shift + step
        if np.max(np.abs(step)) < _CONVERGED:
            break
    whole = np.zeros((2, *weight.shape))
    whole[:, weight] = gradient
    spread = np.stack([ndimage.gaussian_filter(one, np.sqrt(2) * _BLUR) for one in whole])
    # Variance of the noise of one image before the smoothing.
    noise = float(np.mean(difference**2)) * 2 * np.pi * _BLUR**2
    signal = normal - np.sum(weight) * noise * _gradient_noise() / 2 * np.eye(2)
    if np.min(np.linalg.eigvalsh(signal)) <= 0:
        return None
    scatter = 2 * noise * gradient @ spread[:, weight].T
    inverse = np.linalg.inv(signal)
    return shift, inverse @ ((scatter + scatter.T) / 2) @ inverse


def _eroded(known: Bool[np.ndarray, "height width"]) -> Bool[np.ndarray, "height width"]:
    """Leaves out the pixels that an unknown one or the frame's edge is near to."""
    from scipy import ndimage

    return ndimage.minimum_filter(known, 2 * _EDGE + 1, mode="constant", cval=0)


def _gradient_noise() -> float:
    """Variance of the central differences of white noise of variance 1 that was smoothed."""
    variance = 1 / (4 * np.pi * _BLUR**2)
    return variance * (1 - np.exp(-1 / _BLUR**2)) / 2


def _interpolated(
    shift: Float[np.ndarray, "T 2"], covariance: Float[np.ndarray, "T 2 2"]
) -> tuple[Float[np.ndarray, "T 2"], Float[np.ndarray, "T 2 2"]]:
    """Fills the shifts of frames that could not be used, with errors as large as their scatter."""
    known = np.isfinite(shift[:, 0])
    time = np.arange(len(shift))
    filled = np.stack([np.interp(time, time[known], axis[known]) for axis in shift.T], axis=1)
    scatter = np.var(np.diff(filled[known], axis=0), axis=0) if known.sum() > 2 else np.ones(2)
    covariance = np.where(known[:, None, None], covariance, np.diag(scatter))
    return filled, covariance + 1e-8 * np.eye(2)
