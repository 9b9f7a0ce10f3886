"""Tokens: what the fits tell about each target, in units in which all cameras look alike.

A network needs no pixels where the imaging model is known. The fits' positions, errors and sums of
squares say what the pixels say, whatever the PSF, the noise, the saturation and the border are.
Lengths are measured in the cluster's half side, intensities in the prior's half range.
"""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from distax.fitting.candidates import Modes
from distax.fitting.misfit import TRUSTED_MISFIT, compute_misfit
from distax.fitting.patch import Patch, repeat_lanes
from distax.fitting.prior import intensity_range
from distax.imaging.forward import image_of
from distax.imaging.psf import Psf, peak_share
from distax.imaging.scenes import ScenePrior
from distax.imaging.sensor import Sensor
from distax.runtime.algebra import invert
from distax.runtime.pytree import pytree

AnyArray = Array | np.ndarray
"""An array of JAX, or one of NumPy where tokens are stored."""
FEATURES = 37
"""Number of features of a token."""
LARGEST_COUNT = 6
"""Largest number of targets that a network can be told."""
_LEAST_EVIDENCE = -12.0
"""Smallest logarithm of a mode's evidence, relative to the best mode's, that the network reads.
Lower ones are raised to it."""
_NO_EVIDENCE = -1e9
"""Logarithm of the evidence of a mode whose matrix is singular to float32."""
_FAR_STEP = 5.0
"""The network reads the step that a fit would take next, in standard deviations, up to this
size."""
_NO_CLIPPING = 8.0
"""Value that the network reads in place of the excess over the clip level, if no pixel is
clipped."""


@pytree
class Tokens:
    """Tokens of images with the same number of targets, one for each target of each mode.

    In shapes, N is the number of images, S of modes of an image, and K of targets of a mode.

    Attributes:
      position: row and column in pixels from the window's centre.
      intensity: in counts.
      covariance: of row, column and intensity, by Laplace's method; the prior's at most.
      step: the Gauss–Newton step that the fit would take next.
      log_evidence: of each mode, relative to the best one.
      log_squares: the same without the Occam factor.
      crowding: penalty in χ² for targets that are too close.
      misfit: root-mean-square residual relative to the noise.
      excess: smallest excess of the fitted image over the clip level in clipped pixels, relative to
        the noise; infinite without clipped pixels.
      centre: row and column of the middle of the square of each mode, in pixels from the window's
        centre.
      room: distance in pixels from the window's centre of the outermost host pixels: above, below,
        left and right.
      scale: half the cluster's side in pixels.
      middle, half_range: middle and half width in counts of the prior's range of intensities.
      camera: numbers that describe sensor and prior; see `describe_camera`.
    """

    position: Float[AnyArray, "N S K 2"]
    intensity: Float[AnyArray, "N S K"]
    covariance: Float[AnyArray, "N S K 3 3"]
    step: Float[AnyArray, "N S K 3"]
    log_evidence: Float[AnyArray, "N S"]
    log_squares: Float[AnyArray, "N S"]
    crowding: Float[AnyArray, "N S"]
    misfit: Float[AnyArray, "N S"]
    excess: Float[AnyArray, "N S"]
    centre: Float[AnyArray, "N S 2"]
    room: Float[AnyArray, "N 4"]
    scale: Float[AnyArray, " N"]
    middle: Float[AnyArray, " N"]
    half_range: Float[AnyArray, " N"]
    camera: Float[AnyArray, "N C"]


def read_tokens(
    patch: Patch, modes: Modes, sensor: Sensor, prior: ScenePrior, starts: int
) -> Tokens:
    """Reads the tokens of the modes of each image.

    If no mode explains an image, the errors of its fits are multiplied by the smallest misfit.

    Args:
      patch: the windows.
      modes: `starts` modes of each image.
      sensor: the camera.
      prior: the scenes' prior.
      starts: number of modes of each image.
    """
    fit = modes.fit
    count = len(fit.scene)
    inverse, log_determinant = invert(fit.matrix)
    step = jnp.sum(inverse * fit.vector, axis=1).reshape(fit.scene.shape)
    own = jnp.einsum("kikjl->lkij", inverse.reshape(count, 3, count, 3, -1))
    squares = -0.5 * (fit.squares + modes.crowding)
    repeated = repeat_lanes(patch, starts)

    def by_image(lanes: Array) -> Array:
        leaf = jnp.moveaxis(lanes, -1, 0)
        return leaf.reshape(-1, starts, *leaf.shape[1:])

    def relative(lanes: Array) -> Array:
        rows = by_image(lanes)
        return rows - jnp.max(rows, axis=1, keepdims=True)

    misfit = by_image(compute_misfit(fit.squares, repeated))
    smallest = jnp.min(misfit, axis=1)[:, None, None, None, None]
    widening = jnp.where(smallest > TRUSTED_MISFIT, smallest, 1.0) ** 2
    prior_std = jax.lax.rsqrt(modes.bounds.precision[0]).T[:, None]
    covariance = by_image(jnp.moveaxis(_within_prior(own, prior_std), 0, -1))
    images = len(misfit)
    return Tokens(
        position=by_image(fit.scene[:, :2]),
        intensity=by_image(fit.scene[:, 2]),
        covariance=widening * covariance,
        step=by_image(step),
        log_evidence=relative(
            jnp.nan_to_num(squares - 0.5 * log_determinant, nan=_NO_EVIDENCE, neginf=_NO_EVIDENCE)
        ),
        log_squares=relative(squares),
        crowding=by_image(modes.crowding),
        misfit=misfit,
        excess=by_image(_excess(fit.scene, repeated, sensor)),
        centre=by_image(modes.bounds.centre[0, :2]),
        room=_room(patch, prior),
        scale=jnp.full(images, prior.cluster / 2),
        middle=jnp.full(images, (prior.min_intensity + prior.max_intensity) / 2),
        half_range=jnp.full(images, intensity_range(prior) / 2),
        camera=describe_camera(patch, sensor, prior),
    )


def _within_prior(
    covariance: Float[Array, "lanes K 3 3"], prior_std: Float[Array, "lanes 1 3"]
) -> Float[Array, "lanes K 3 3"]:
    """Limits standard deviations to the prior's, which only rounding lets them exceed.

    Two targets at one place have a matrix that is singular to float32.
    """
    variance = jnp.diagonal(covariance, axis1=-2, axis2=-1)
    std = jnp.sqrt(jnp.maximum(variance, 1e-12))
    share = jnp.where(variance > 0, jnp.minimum(prior_std / std, 1.0), 0.0)
    limited = covariance * share[..., None] * share[..., None, :]
    lost = jnp.where(variance > 0, 0.0, prior_std**2)
    return limited + lost[..., None] * jnp.eye(3)


def _excess(
    scene: Float[Array, "K 3 lanes"], patch: Patch, sensor: Sensor
) -> Float[Array, " lanes"]:
    """Returns the smallest excess over the clip level in clipped pixels; infinite without any."""
    noise = jnp.sqrt(patch.variance + patch.rounding)
    above = (image_of(scene, patch.axes, sensor.psf) - patch.lower) / noise
    return jnp.min(jnp.where(patch.clipped, above, jnp.inf), axis=0)


def _room(patch: Patch, prior: ScenePrior) -> Float[Array, "N 4"]:
    """Returns the distances in pixels of the outermost host pixels from the window's centre."""
    before = patch.origin - prior.border
    after = patch.size - 1 - prior.border - patch.origin
    return jnp.stack([before[0], after[0], before[1], after[1]], axis=-1).astype(float)


def mean_noise(patch: Patch) -> Float[Array, " N"]:
    """Returns the root-mean-square noise of each window's known pixels in counts, with rounding."""
    variance = jnp.where(patch.known, patch.variance + patch.rounding, 0.0)
    return jnp.sqrt(jnp.sum(variance, axis=0) / jnp.maximum(jnp.sum(patch.known, axis=0), 1))


def middle_peak(psf: Psf, prior: ScenePrior) -> Any:
    """Returns the light in counts of the brightest pixel of a target in the middle of a pixel.

    The target's intensity is the middle of the prior's range.
    """
    return (prior.min_intensity + prior.max_intensity) / 2 * peak_share(psf)


def describe_camera(patch: Patch, sensor: Sensor, prior: ScenePrior) -> Float[Array, "N 7"]:
    """Describes sensor and prior by numbers without units.

    They are the widths of the PSF over rows and over columns and the smallest distance of targets,
    all relative to the cluster's side; that side in pixels; the ratio of the largest intensity to
    the smallest; the noise relative to a target's peak; and the number of clipped pixels.
    """
    noise = mean_noise(patch)
    row_sigma, column_sigma = sensor.sigmas
    peak = middle_peak(sensor.psf, prior)
    numbers = (
        jnp.log(row_sigma / prior.cluster),
        jnp.log(column_sigma / prior.cluster),
        jnp.log(prior.cluster),
        2 * prior.min_distance / prior.cluster,
        jnp.log(prior.max_intensity / prior.min_intensity),
        (jnp.log(noise / peak) + 4) / 2,
        jnp.log1p(jnp.sum(patch.clipped, axis=0)),
    )
    shape = noise.shape
    return jnp.stack([jnp.broadcast_to(number, shape) for number in numbers], axis=-1)


def features(tokens: Tokens) -> Float[Array, "N S K F"]:
    """Computes the network's inputs for each token: numbers of order one without units."""
    images, modes, count = tokens.intensity.shape
    scale = tokens.scale[:, None, None, None]
    unit = jnp.stack([tokens.scale, tokens.scale, tokens.half_range], axis=-1)[:, None, None]
    variance = jnp.maximum(jnp.diagonal(tokens.covariance, axis1=-2, axis2=-1), 1e-12)
    deviation = jnp.sqrt(variance)
    correlation = tokens.covariance / (deviation[..., None] * deviation[..., None, :])
    away = tokens.position[:, :, :, None] - tokens.position[:, :, None]
    distance = jnp.sqrt(jnp.sum(away**2, axis=-1) + 1e-12)
    nearest = jnp.min(jnp.where(jnp.eye(count, dtype=bool), 10 * scale, distance), axis=-1)
    from_centre = tokens.position - tokens.centre[:, :, None]
    middle, half_range = tokens.middle[:, None, None], tokens.half_range[:, None, None]
    of_target = [
        from_centre / scale,
        tokens.position / scale,
        ((tokens.intensity - middle) / half_range)[..., None],
        (jnp.log(deviation / unit) + 2) / 2,
        correlation[..., 0, 1, None],
        correlation[..., 0, 2, None],
        correlation[..., 1, 2, None],
        jnp.clip(tokens.step / deviation, -_FAR_STEP, _FAR_STEP) / 2,
        jnp.log(nearest / (2 * scale[..., 0]) + 1e-2)[..., None],
    ]
    excess = jnp.where(jnp.isfinite(tokens.excess), jnp.arcsinh(tokens.excess), _NO_CLIPPING)
    of_mode = jnp.stack(
        [
            jnp.maximum(tokens.log_evidence, _LEAST_EVIDENCE) / 4,
            jnp.maximum(tokens.log_squares, _LEAST_EVIDENCE) / 4,
            jnp.log1p(tokens.crowding) / 2,
            jnp.log(tokens.misfit + 0.05),
            excess / 3,
        ],
        axis=-1,
    )
    of_image = jnp.concatenate(
        [
            tokens.camera,
            jnp.clip(tokens.room / tokens.scale[:, None], -2.0, 4.0) / 4,
            jnp.tile(jax.nn.one_hot(count - 1, LARGEST_COUNT), (images, 1)),
        ],
        axis=-1,
    )
    of_target += [
        jnp.broadcast_to(of_mode[:, :, None], (images, modes, count, of_mode.shape[-1])),
        jnp.broadcast_to(of_image[:, None, None], (images, modes, count, of_image.shape[-1])),
    ]
    return jnp.concatenate(of_target, axis=-1)
