"""Light of targets in the windows of a frame, whose pixels are listed once for all windows."""

import math
from dataclasses import dataclass
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float, Int

from distax.frames.cutouts import Cutouts
from distax.imaging.forward import image_and_jacobian, window_axes
from distax.imaging.psf import Psf
from distax.imaging.sensor import Sensor
from distax.runtime.batching import in_batches

_REACH = 5.0
"""Standard deviations of a Gaussian PSF from a target to the edge of its image. A millionth of the
flux lies beyond. A larger image costs time and memory, a smaller one has an edge."""
_AT_ONCE = 128
"""Targets whose images are computed at a time. One size makes one small program."""


@dataclass(frozen=True)
class Ground:
    """Pixels of a frame that lie in a window around a blob, each listed once.

    Attributes:
      shape: height and width of the frame in pixels.
      pixel: `[M]`, row · width + column of each pixel in rising order.
      counts: `[M]`, counts above the background; NaN where they are not known.
      noise: `[M]`, standard deviation of the background's noise in counts.
      clipped: `[M]`, True for saturated pixels.
    """

    shape: tuple[int, int]
    pixel: Int[np.ndarray, " M"]
    counts: Float[np.ndarray, " M"]
    noise: Float[np.ndarray, " M"]
    clipped: Bool[np.ndarray, " M"]

    def windows(self, centre: Int[np.ndarray, "B 2"], side: int) -> Int[np.ndarray, "B S S"]:
        """Returns the indices of the pixels of windows; the list's length for others."""
        row, column, inside = window_pixels(centre, side, self.shape)
        wanted = np.where(inside, row * self.shape[1] + column, -1)
        index = np.minimum(np.searchsorted(self.pixel, wanted), len(self.pixel) - 1)
        return np.where(self.pixel[index] == wanted, index, len(self.pixel))

    def cut(
        self, centre: Int[np.ndarray, "B 2"], signal_to_noise: Float[np.ndarray, " B"], side: int
    ) -> Cutouts:
        """Cuts windows out of the listed pixels; others are unknown."""
        index = self.windows(centre, side)
        return Cutouts(
            pixel=centre,
            signal_to_noise=signal_to_noise,
            counts=np.append(self.counts, math.nan)[index],
            noise=np.append(self.noise, np.median(self.noise))[index],
            clipped=np.append(self.clipped, False)[index],
            inside=window_pixels(centre, side, self.shape)[2],
        )


def window_pixels(
    centre: Int[np.ndarray, "B 2"], side: int, shape: tuple[int, int]
) -> tuple[Int[np.ndarray, "B S 1"], Int[np.ndarray, "B 1 S"], Bool[np.ndarray, "B S S"]]:
    """Returns rows and columns of the pixels of windows, and True for those in the frame."""
    step = np.arange(side) - side // 2
    row = (centre[:, :1] + step)[:, :, None]
    column = (centre[:, 1:] + step)[:, None]
    inside = (row >= 0) & (row < shape[0]) & (column >= 0) & (column < shape[1])
    return row, column, inside


def ground_of(cutouts: Cutouts, shape: tuple[int, int]) -> Ground:
    """Lists the pixels of windows.

    Args:
      cutouts: the windows, without pixels left out.
      shape: height and width of the frame in pixels.
    """
    row, column, inside = window_pixels(cutouts.pixel, cutouts.counts.shape[-1], shape)
    pixel, first = np.unique((row * shape[1] + column)[inside], return_index=True)
    return Ground(
        shape=shape,
        pixel=pixel,
        counts=cutouts.counts[inside][first],
        noise=cutouts.noise[inside][first],
        clipped=cutouts.clipped[inside][first],
    )


@dataclass(frozen=True)
class Light:
    """Images of targets, each in its own window, and their derivatives.

    Attributes:
      centre: `[K, 2]`, row and column of the central pixel of each window.
      index: `[K, P]`, indices of the windows' pixels in the ground; its length for others.
      image: `[K, P]`, counts.
      derivative: `[K, 3, P]`, derivatives with respect to row, column and intensity.
    """

    centre: Int[np.ndarray, "K 2"]
    index: Int[np.ndarray, "K P"]
    image: Float[np.ndarray, "K P"]
    derivative: Float[np.ndarray, "K 3 P"]

    def total(self, ground: Ground) -> Float[np.ndarray, " M"]:
        """Adds the images of all targets."""
        pixels = len(ground.pixel)
        total = np.bincount(self.index.ravel(), self.image.ravel(), pixels + 1)[:pixels]
        return total.astype(np.float64)

    def own(
        self, blob: Int[np.ndarray, " K"], centre: Int[np.ndarray, "B 2"], side: int
    ) -> Float[np.ndarray, "B S S"]:
        """Adds the images of each blob's own targets, in the blob's window.

        Args:
          blob: index of each target's blob.
          centre: row and column of the blobs' windows.
          side: height and width of these windows in pixels.
        """
        length = math.isqrt(self.image.shape[1])
        step = np.arange(length) - length // 2 + side // 2
        away = self.centre - centre[blob]
        row = (away[:, 0, None] + step)[:, :, None]
        column = (away[:, 1, None] + step)[:, None]
        inside = (row >= 0) & (row < side) & (column >= 0) & (column < side)
        pixel = (blob[:, None, None] * side + row) * side + column
        image = self.image.reshape(-1, length, length)
        flat = np.bincount(pixel[inside], image[inside], len(centre) * side**2)
        return flat.astype(np.float64).reshape(len(centre), side, side)


def light_of(
    position: Float[np.ndarray, "K 2"],
    intensity: Float[np.ndarray, " K"],
    ground: Ground,
    sensor: Sensor,
) -> Light:
    """Computes the images of targets.

    Args:
      position: row and column in the frame.
      intensity: counts.
      ground: the pixels.
      sensor: the sensor, for its PSF.
    """
    reach = math.ceil(_REACH * sensor.widest_sigma)
    if sensor.measured_psf is not None:
        reach = math.ceil(sensor.measured_psf.reach)
    side = 2 * reach + 1
    centre = np.rint(position).astype(int)
    scene = np.concatenate([position - centre, intensity[:, None]], axis=1)
    compute = partial(_images, psf=sensor.psf, side=side)
    image, derivative = in_batches(compute, scene.astype(np.float32), _AT_ONCE, smallest=_AT_ONCE)
    return Light(
        centre=centre,
        index=ground.windows(centre, side).reshape(-1, side**2),
        image=image.astype(np.float64),
        derivative=derivative.astype(np.float64),
    )


@partial(jax.jit, static_argnames="side")
def _images(
    scene: Float[Array, "K 3"], psf: Psf, side: int
) -> tuple[Float[Array, "K P"], Float[Array, "K 3 P"]]:
    image, derivative = image_and_jacobian(scene.T[None], window_axes(side), psf)
    return image.T, jnp.moveaxis(derivative, -1, 0)
