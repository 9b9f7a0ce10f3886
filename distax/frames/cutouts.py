"""Windows around blobs, cut from a frame and converted to patches for an estimator."""

import math
from dataclasses import replace

import jax.numpy as jnp
import numpy as np
from jaxtyping import Bool, Float, Int, Shaped

from distax.fitting.patch import Patch
from distax.frames.blobs import psf_line
from distax.imaging.scenes import ScenePrior
from distax.imaging.sensor import ROUNDING_VARIANCE, Sensor, half_step
from distax.runtime.pytree import pytree


@pytree
class Cutouts:
    """Square windows of a frame, one per row, each around the central pixel of a blob.

    Attributes:
      pixel: `[B, 2]`, row and column of the central pixel in the frame.
      signal_to_noise: `[B]`, signal-to-noise ratio of the blob's peak.
      counts: `[B, S, S]`, counts above the background; NaN for pixels that are bad, beyond the
        frame, or nearer to another blob.
      noise: `[B, S, S]`, standard deviation of the background's noise in counts.
      clipped: `[B, S, S]`, True for saturated pixels.
      inside: `[B, S, S]`, True for pixels in the frame.
    """

    pixel: Int[np.ndarray, "B 2"]
    signal_to_noise: Float[np.ndarray, " B"]
    counts: Float[np.ndarray, "B S S"]
    noise: Float[np.ndarray, "B S S"]
    clipped: Bool[np.ndarray, "B S S"]
    inside: Bool[np.ndarray, "B S S"]

    @property
    def corner(self) -> Int[np.ndarray, "B 2"]:
        """Row and column of each window's first pixel; negative if it lies beyond the frame."""
        return self.pixel - self.counts.shape[-1] // 2

    def middle(self, width: int) -> "Cutouts":
        """Returns the central `width` by `width` pixels of every window."""
        names = ("counts", "noise", "clipped", "inside")
        return replace(self, **{name: middle(getattr(self, name), width) for name in names})


def middle(
    pixels: Shaped[np.ndarray, "B S S"], width: int
) -> Shaped[np.ndarray, "B {width} {width}"]:
    """Returns the central `width` by `width` pixels of every window."""
    edge = (pixels.shape[-1] - width) // 2
    return pixels[:, edge : edge + width, edge : edge + width]


def cut_windows(
    pixel: Int[np.ndarray, "B 2"],
    significance: Float[np.ndarray, "height width"],
    counts: Float[np.ndarray, "height width"],
    noise: Float[np.ndarray, "height width"],
    clipped: Bool[np.ndarray, "height width"],
    side: int,
) -> Cutouts:
    """Cuts windows around pixels of a frame, or of a band of a frame.

    The band is padded by half a window, and all windows of the padded band are viewed without a
    copy. Only the windows around the given pixels are then copied, so that memory grows with the
    number of blobs rather than with the number of pixels.

    Args:
      pixel: row and column of the central pixels in the band.
      significance: signal-to-noise ratio by the matched filter, for the whole band.
      counts, noise, clipped: see `Cutouts`, for the whole band.
      side: height and width of a window in pixels, odd.
    """

    def around(image: np.ndarray, outside: float | bool) -> np.ndarray:
        padded = np.pad(image, side // 2, constant_values=outside)
        windows = np.lib.stride_tricks.sliding_window_view(padded, (side, side))
        return windows[pixel[:, 0], pixel[:, 1]]

    return Cutouts(
        pixel=pixel,
        signal_to_noise=significance[pixel[:, 0], pixel[:, 1]],
        counts=around(counts, math.nan).astype(np.float64),
        noise=around(noise, 1.0).astype(np.float64),
        clipped=around(clipped, False),
        inside=around(np.ones(counts.shape, bool), False),
    )


def without_neighbours(cutouts: Cutouts) -> tuple[Cutouts, Bool[np.ndarray, "B S S"]]:
    """Replaces pixels that are nearer to another blob than to the window's own by NaN.

    Returns:
      The windows, and a mask that is True for the replaced pixels.
    """
    from scipy.spatial import cKDTree

    side = cutouts.counts.shape[-1]
    taken = np.zeros(cutouts.counts.shape, bool)
    # No pixel of a window is nearer to a blob farther away than the window's diagonal.
    pairs = cKDTree(cutouts.pixel).query_pairs(math.sqrt(2) * side, output_type="ndarray")
    steps = np.moveaxis(np.indices((side, side)), 0, -1) - side // 2
    for own, other in np.concatenate([pairs, pairs[:, ::-1]]):
        away = cutouts.pixel[other] - cutouts.pixel[own]
        taken[own] |= np.sum((steps - away) ** 2, axis=-1) < np.sum(steps**2, axis=-1)
    return replace(cutouts, counts=np.where(taken, np.nan, cutouts.counts)), taken


def local_level(cutouts: Cutouts, width: int) -> Float[np.ndarray, " B"]:
    """Estimates the error of the background's map around each blob, in counts.

    It is the median of the window's known pixels outside its middle. The median is shrunk by the
    share that noise explains (the positive-part James–Stein estimator). A level within the median's
    own error becomes zero, and a level far beyond it stays nearly as it is.

    Args:
      cutouts: the windows.
      width: width in pixels of the windows' middle, which holds the targets' flux.
    """
    side = cutouts.counts.shape[-1]
    edge = (side - width) // 2
    ring = np.ones((side, side), bool)
    ring[edge : edge + width, edge : edge + width] = False
    counts = cutouts.counts[:, ring]
    known = np.sum(np.isfinite(counts), axis=1)
    median = np.nanmedian(np.where(known[:, None] > 0, counts, 0.0), axis=1)
    # The variance of the median of n Gaussian numbers is π/2 times that of their mean.
    variance = math.pi / 2 * np.mean(cutouts.noise[:, ring] ** 2, axis=1) / np.maximum(known, 1)
    return shrunk(median, variance)


def shrunk(level: Float[np.ndarray, " N"], variance: Float[np.ndarray, " N"]) -> np.ndarray:
    """Shrinks levels by the share that their variance explains (James–Stein, positive part)."""
    share = 1.0 - variance / np.maximum(level**2, 1e-300)
    return level * np.clip(share, 0.0, 1.0)


def blob_flux(cutouts: Cutouts, sensor: Sensor, prior: ScenePrior) -> Float[np.ndarray, " B"]:
    """Estimates the flux of each blob in counts, also if some of its pixels are bad or clipped.

    It is the flux of a widened PSF, fitted to the known and unclipped pixels by weighted least
    squares. The PSF is widened by the variance of targets anywhere in the prior's square. The flux
    is at least its own standard deviation.
    """
    wide = (math.sqrt(sigma**2 + prior.cluster**2 / 12) for sigma in sensor.sigmas)
    side = cutouts.counts.shape[-1]
    shape = np.outer(*(_crop_or_pad(psf_line(sigma), side) for sigma in wide))
    known = np.isfinite(cutouts.counts) & ~cutouts.clipped
    weight = np.where(known, 1.0 / cutouts.noise**2, 0.0)
    power = np.sum(weight * shape**2, axis=(1, 2))
    power = np.where(power > 0, power, 1.0)
    signal = np.sum(weight * shape * np.where(known, cutouts.counts, 0.0), axis=(1, 2))
    return np.maximum(signal / power, 1.0 / np.sqrt(power))


def _crop_or_pad(line: np.ndarray, width: int) -> np.ndarray:
    """Cuts a line around its middle to a width, or extends it with zeros on both sides."""
    filled = np.pad(line, width)
    start = (len(filled) - width) // 2
    return filled[start : start + width]


def patches(cutouts: Cutouts, unit: Float[np.ndarray, " B"], sensor: Sensor, width: int) -> Patch:
    """Makes patches of the windows' middles, one per lane, each in counts of its own unit.

    The background's noise is taken to include the rounding error of a sensor that rounds. The
    variance of this error is subtracted, because a patch holds it separately.

    Args:
      cutouts: the windows, after the subtraction of their local level.
      unit: `[B]`, counts of the frame in one count of the estimator.
      sensor: the sensor, for its digitiser and its shot noise.
      width: width of the middles in pixels.
    """
    core = cutouts.middle(width)
    known = np.isfinite(core.counts)
    counts = np.where(known, core.counts, 0.0)
    rounding = ROUNDING_VARIANCE if sensor.digital else 0.0
    variance = core.noise**2 + np.asarray(sensor.shot_variance(counts))
    edge = np.asarray(half_step(sensor.digital, core.noise))

    def lanes(pixels: np.ndarray) -> jnp.ndarray:
        return jnp.asarray(pixels.reshape(len(unit), pixels.shape[1] ** 2).T, jnp.float32)

    scale, side = unit[:, None, None], cutouts.counts.shape[-1]
    return Patch(
        counts=lanes(counts / scale),
        lower=lanes(np.where(known, counts - edge, -np.inf) / scale),
        upper=lanes(np.where(known & ~core.clipped, counts + edge, np.inf) / scale),
        variance=lanes(np.maximum(variance - rounding, 0.0) / scale**2),
        rounding=jnp.asarray(rounding / unit**2, jnp.float32),
        origin=jnp.asarray(np.full((2, len(unit)), side // 2)),
        size=jnp.asarray(np.full((2, len(unit)), side)),
    )
