"""Normal equations of a sensor: each image's part, with its scene marginalised.

The parameters are sigma over rows, sigma over columns and the background. The Schur complement of
the joint normal equations of sensor and scene eliminates the scene.

Source: Golub & Pereyra, SIAM Journal on Numerical Analysis 10 (1973).
"""

from dataclasses import replace
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float, Int

from distax.fitting.candidates import Pool, Search, best_fits, bounds_around
from distax.fitting.likelihood import censored
from distax.fitting.misfit import compute_misfit
from distax.fitting.patch import Patch, lanes_last
from distax.fitting.refine import count_evidence
from distax.imaging.forward import image_and_jacobian, image_of
from distax.imaging.least_squares import normal_equations
from distax.imaging.scenes import ScenePrior
from distax.imaging.sensor import Sensor
from distax.runtime.algebra import invert
from distax.runtime.pytree import pytree

_SIZE = 3
"""Number of the sensor's parameters."""
_CLEAR = 3.0
"""If a pixel's level is nearer to clipping or to zero than this, in standard deviations of the
noise, its residual does not count for the noise, because it is cut off on one side. A larger
distance loses dim pixels, which determine the read noise."""
_PLACE_PRIOR = 0.5
"""Precision of the prior of positions, relative to a uniform prior over the cluster's square.
Targets that keep their distance spread wider than the uniform prior. A factor of 1 makes sigma too
wide, by 0.8% with five targets under a read noise of 2 counts; a smaller factor than this makes it
too narrow."""


@pytree
class Residuals:
    """Squared residuals of pixels, for the noise. Images along the first axis.

    Attributes:
      squares: squared residuals in counts².
      freedom: degrees of freedom of each pixel that the scene's fit leaves, 0 to 1; 0 for pixels
        that do not count.
      level: fitted counts, background included.
    """

    squares: Float[Array | np.ndarray, "*N pixels"]
    freedom: Float[Array | np.ndarray, "*N pixels"]
    level: Float[Array | np.ndarray, "*N pixels"]


@pytree
class SensorTerms:
    """Each image's part of the sensor's normal equations. Images along the first axis.

    Attributes:
      matrix, vector: Gauss–Newton matrix and vector of the sensor's parameters.
      count: number of targets in the image.
      misfit: root-mean-square residual in units of the noise.
      residuals: squared residuals of the pixels.
    """

    matrix: Float[Array | np.ndarray, "*N 3 3"]
    vector: Float[Array | np.ndarray, "*N 3"]
    count: Int[Array | np.ndarray, "*N"]
    misfit: Float[Array | np.ndarray, "*N"]
    residuals: Residuals


@partial(jax.jit, static_argnames="search")
def sensor_terms(
    rows: Patch, pools: tuple[Pool, ...], sensor: Sensor, prior: ScenePrior, search: Search
) -> SensorTerms:
    """Fits scenes to windows and computes each image's part of the sensor's normal equations.

    The number of targets is the one of the largest evidence. Censored pixels enter by their
    likelihood (`likelihood.censored`), because the background of a sensor that cannot read below
    zero would be biased otherwise.

    Args:
      rows: the windows, with images along the first axis.
      pools: scenes to start from, for each number of targets.
      sensor: the present sensor, with two sigmas.
      prior: the scenes' prior.
      search: sizes for the cluster; see `Search.over`.
    """
    patch = lanes_last(rows)
    fits = best_fits(patch, pools, prior, search, sensor.psf)
    winner = jnp.argmax(count_evidence(patch, fits), axis=0)
    best = jnp.maximum(winner - 1, 0)
    slots = prior.max_targets
    padded = [jnp.pad(fit.scene, [(0, slots - len(fit.scene)), (0, 0), (0, 0)]) for fit in fits]
    lane = jnp.arange(len(best))
    scene = jnp.moveaxis(jnp.stack(padded)[best, :, :, lane], 0, -1)
    squares = jnp.stack([fit.squares for fit in fits])[best, lane]
    count = prior.min_targets + best
    terms = _terms(patch, scene, count, sensor, prior)
    misfit = compute_misfit(squares, patch)
    return replace(terms, count=jnp.where(winner == 0, 0, count), misfit=misfit)


def _terms(
    patch: Patch,
    scene: Float[Array, "K 3 lanes"],
    count: Int[Array, " lanes"],
    sensor: Sensor,
    prior: ScenePrior,
) -> SensorTerms:
    """Computes the parts of the normal equations under scenes padded to equal numbers of targets.

    Padding targets are held: they have no light, no derivatives, and a precision of 1.
    """
    axes, real = patch.axes, jnp.arange(len(scene))[:, None, None] < count
    image, by_scene = image_and_jacobian(scene, axes, sensor.psf)
    free = jnp.broadcast_to(real, scene.shape).reshape(len(by_scene), -1)
    by_scene *= free[:, None]
    bounds = bounds_around(_without_padding(scene, real), patch, prior)
    weaker = jnp.array([_PLACE_PRIOR, _PLACE_PRIOR, 1.0])[:, None] * bounds.precision
    precision = jnp.where(free, weaker.reshape(len(by_scene), -1), 1.0)
    level = image + sensor.background
    # Weights from readings would favour pixels that read too low; see `cut_patches`.
    patch = replace(patch, variance=sensor.noise_variance(jnp.maximum(level, 1.0)))
    residual, weight, _ = censored(image, patch)
    jacobian = jnp.concatenate([_sensor_jacobian(scene, patch, sensor), by_scene])
    matrix, vector, _ = normal_equations(jacobian, residual, weight)
    scene_part, sensor_part = slice(_SIZE, None), slice(_SIZE)
    away = (scene - bounds.centre).reshape(len(by_scene), -1) * precision * free
    covariance, _ = invert(
        matrix[scene_part, scene_part] + jnp.eye(len(by_scene))[:, :, None] * precision
    )
    # Derivatives of the best scene with respect to the sensor, with the sign reversed.
    follow = jnp.einsum("stn,tun->sun", matrix[sensor_part, scene_part], covariance)
    schur = jnp.einsum("stn,utn->sun", follow, matrix[sensor_part, scene_part])
    taken = jnp.einsum("ipn,ijn,jpn->pn", by_scene, covariance, by_scene) * weight
    return SensorTerms(
        matrix=jnp.moveaxis(matrix[sensor_part, sensor_part] - schur, -1, 0),
        vector=(vector[sensor_part] - jnp.sum(follow * (vector[scene_part] - away), axis=1)).T,
        count=count,
        misfit=jnp.ones(scene.shape[-1]),
        residuals=Residuals(
            squares=((patch.counts - image) ** 2).T,
            freedom=jnp.where(_clear(level, patch, sensor), 1.0 - taken, 0.0).T,
            level=level.T,
        ),
    )


def _without_padding(
    scene: Float[Array, "K 3 lanes"], real: Bool[Array, "K 1 lanes"]
) -> Float[Array, "K 3 lanes"]:
    """Replaces padding targets by the first target, so that they do not move the host pixel."""
    return jnp.where(real, scene, scene[:1])


def _sensor_jacobian(
    scene: Float[Array, "K 3 lanes"], patch: Patch, sensor: Sensor
) -> Float[Array, "3 pixels lanes"]:
    """Computes the derivatives of scenes' images with respect to the sensor's parameters.

    A measured PSF does not depend on the sigmas.
    """
    level = jnp.ones_like(patch.counts)
    if sensor.measured_psf is not None:
        return jnp.stack([0.0 * level, 0.0 * level, level])
    sigmas = tuple(jnp.asarray(sigma, float) for sigma in sensor.sigmas)
    by_sigma = jax.jacfwd(lambda psf: image_of(scene, patch.axes, psf))(sigmas)
    return jnp.stack([*by_sigma, level])


def _clear(
    level: Float[Array, "pixels lanes"], patch: Patch, sensor: Sensor
) -> Bool[Array, "pixels lanes"]:
    """Returns True for known pixels whose level is clear of zero and of the clip level."""
    margin = _CLEAR * jnp.sqrt(patch.variance + patch.rounding)
    clear = patch.known & (level < sensor.clip_level - margin)
    return clear & (level > margin) if sensor.digital else clear
