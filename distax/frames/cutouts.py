"""Windows around blobs, and what their pixels say to an estimator."""

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
    """Square windows of a frame, one a row, each around the central pixel of a blob.

    Attributes:
      pixel: `[B, 2]`, row and column of the central pixel in the frame.
      signal_to_noise: `[B]`, of the blob's peak.
      counts: `[B, S, S]`, above the background; NaN where a pixel is bad, beyond the frame, or
        nearer to another blob.
      noise: `[B, S, S]`, standard deviation of the background's noise in counts.
      clipped: `[B, S, S]`, the pixel reads what saturated ones do.
      inside: `[B, S, S]`, the pixel is in the frame.
    """

    pixel: Int[np.ndarray, "B 2"]
    signal_to_noise: Float[np.ndarray, " B"]
    counts: Float[np.ndarray, "B S S"]
    noise: Float[np.ndarray, "B S S"]
    clipped: Bool[np.ndarray, "B S S"]
    inside: Bool[np.ndarray, "B S S"]

    @property
    def corner(self) -> Int[np.ndarray, "B 2"]:
        """First pixel of each window in the frame; negative if it reaches beyond."""
        return self.pixel - self.counts.shape[-1] // 2

    def middle(self, width: int) -> "Cutouts":
        """The central `width` by `width` pixels of every window."""
        names = ("counts", "noise", "clipped", "inside")
        return replace(self, **{name: middle(getattr(self, name), width) for name in names})


def middle(
    pixels: Shaped[np.ndarray, "B S S"], width: int
) -> Shaped[np.ndarray, "B {width} {width}"]:
    """The central `width` by `width` pixels of every window."""
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
    """The windows of an odd side around pixels of a frame or of a piece of one.

    Args:
      pixel: central pixels, from the piece's first one.
      significance: by the matched filter, for the whole piece.
      counts, noise, clipped: as of `Cutouts`, for the whole piece.
      side: pixels along a window's edge.
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
    """Each window without the pixels that are nearer to another blob than to its own.

    Returns:
      The windows, and which pixels of them were left out.
    """
    from scipy.spatial import cKDTree

    side = cutouts.counts.shape[-1]
    taken = np.zeros(cutouts.counts.shape, bool)
    # A blob owns a pixel of the window only if it lies within twice the window's half diagonal.
    pairs = cKDTree(cutouts.pixel).query_pairs(math.sqrt(2) * side, output_type="ndarray")
    steps = np.moveaxis(np.indices((side, side)), 0, -1) - side // 2
    for own, other in np.concatenate([pairs, pairs[:, ::-1]]):
        away = cutouts.pixel[other] - cutouts.pixel[own]
        taken[own] |= np.sum((steps - away) ** 2, axis=-1) < np.sum(steps**2, axis=-1)
    return replace(cutouts, counts=np.where(taken, np.nan, cutouts.counts)), taken


def local_level(cutouts: Cutouts, width: int) -> Float[np.ndarray, " B"]:
    """What the background's map is off by around each blob, in counts.

    The median of the window's known pixels outside its middle, shrunk by the share of it that
    noise explains (James & Stein's estimator, its positive part): a level that is within the
    median's own error is taken as zero, one far beyond it as it is.

    Args:
      cutouts: the windows.
      width: of their middle, which targets reach.
    """
    side = cutouts.counts.shape[-1]
    edge = (side - width) // 2
    ring = np.ones((side, side), bool)
    ring[edge : edge + width, edge : edge + width] = False
    counts = cutouts.counts[:, ring]
    known = np.sum(np.isfinite(counts), axis=1)
    median = np.nanmedian(np.where(known[:, None] > 0, counts, 0.0), axis=1)
    # The median of n Gaussian numbers varies π/2 times as much as their mean.
    variance = math.pi / 2 * np.mean(cutouts.noise[:, ring] ** 2, axis=1) / np.maximum(known, 1)
    share = 1.0 - variance / np.maximum(median**2, 1e-300)
    return median * np.clip(share, 0.0, 1.0)


def blob_flux(cutouts: Cutouts, sensor: Sensor, prior: ScenePrior) -> Float[np.ndarray, " B"]:
    """About how many counts each blob emits, also where pixels are bad or clipped.

    The flux of the PSF, widened by targets anywhere in the prior's square, that fits the known and
    unclipped pixels best; one standard deviation of it at least.
    """
    wide = (math.sqrt(sigma**2 + prior.cluster**2 / 12) for sigma in sensor.sigmas)
    side = cutouts.counts.shape[-1]
    shape = np.outer(*(_middle(psf_line(sigma), side) for sigma in wide))
    said = np.isfinite(cutouts.counts) & ~cutouts.clipped
    weight = np.where(said, 1.0 / cutouts.noise**2, 0.0)
    power = np.sum(weight * shape**2, axis=(1, 2))
    power = np.where(power > 0, power, 1.0)
    signal = np.sum(weight * shape * np.where(said, cutouts.counts, 0.0), axis=(1, 2))
    return np.maximum(signal / power, 1.0 / np.sqrt(power))


def _middle(line: np.ndarray, width: int) -> np.ndarray:
    """The line cut or filled with zeros to a width, its middle in the middle."""
    filled = np.pad(line, width)
    start = (len(filled) - width) // 2
    return filled[start : start + width]


def patches(cutouts: Cutouts, unit: Float[np.ndarray, " B"], sensor: Sensor, width: int) -> Patch:
    """Makes patches of the windows' middles, one a lane, each in counts of its own unit.

    The background's noise was measured in the frame. Of a sensor that rounds it includes the
    rounding error.

    Args:
      cutouts: the windows, their local level subtracted.
      unit: the frame's counts in one count of the estimator's.
      sensor: the camera, for its digitiser and its shot noise.
      width: of the middles in pixels.
    """
    core = cutouts.middle(width)
    known = np.isfinite(core.counts)
    counts = np.where(known, core.counts, 0.0)
    rounding = ROUNDING_VARIANCE if sensor.digital else 0.0
    shot = 0.0 if sensor.gain is None else np.maximum(counts, 0.0) / sensor.gain
    variance = core.noise**2 + shot
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
        origin=jnp.full((2, len(unit)), side // 2),
        size=jnp.full((2, len(unit)), side),
    )
