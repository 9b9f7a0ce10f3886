"""The Cramér–Rao bound on positions, with clipped pixels left out.

Noise of variance v is taken as Gaussian, pixel by pixel. The Fisher information of the parameters θ
(row, column, intensity of every target) is then J = Σ (∂μ/∂θ)(∂μ/∂θ)ᵀ / v over the pixels, μ being
the expected counts (Kay, Fundamentals of Statistical Signal Processing: Estimation Theory, section
3.9). A clipped pixel is constant near the truth and holds no information.
"""

import math
from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from distax.imaging.forward import image_and_jacobian, image_axes
from distax.imaging.scenes import ScenePrior
from distax.imaging.sensor import HALF_STEP, Sensor
from distax.imaging.targets import Targets
from distax.runtime.errors import DistaxError

_DARK_VARIANCE = 1e-6
"""Lower limit in counts² of a pixel's variance. A pixel without light has no shot noise. Without
other noise its variance would be zero."""
_NARROWEST = 1e-3
"""Smallest range of intensities in counts. A known intensity would have infinite information."""


def is_ideal(sensor: Sensor) -> bool:
    """Returns True for a sensor without noise and rounding, for which there is no bound."""
    return not (sensor.read_noise or sensor.digital or sensor.gain)


def cramer_rao(
    targets: Targets, sensor: Sensor, prior: ScenePrior | None = None
) -> Float[Array, "*batch K 2 2"]:
    """Computes the smallest covariance in px² that an unbiased estimate of each position can have.

    All targets of an image are unknown together, and their number is known. Only pixels whose
    expected counts do not clip are used. A pixel's variance is `Sensor.total_variance`. The
    rounding error is taken as uniform and independent of the signal, which holds for signals that
    vary by many counts. Derivatives are taken by the logarithm of the intensity; the bound on
    positions does not depend on this choice.

    Args:
      targets: the true targets `[..., K]`.
      sensor: the sensor.
      prior: prior of the scenes, whose information is added: 12/range² for each intensity, and
        12/cluster² for each coordinate of a position. This is van Trees' bound at the true
        parameters instead of on average. Four targets under a clipped pixel have no useful bound
        otherwise. Default: no prior.

    Returns:
      Covariances of (row, column); zero for padding, infinite if the image does not constrain it.

    Raises:
      DistaxError: a sensor without noise and rounding.
    """
    if is_ideal(sensor):
        raise DistaxError(
            "there is no bound for a sensor without noise and rounding; give it a read noise, a "
            "bit depth or a gain"
        )
    if not targets.mask.shape[-1]:
        return jnp.zeros((*targets.mask.shape, 2, 2))
    rows = jnp.concatenate([_whitened(targets, sensor), _prior_rows(targets, prior)], axis=-2)
    # J = AᵀA for these rows A. Their QR decomposition spares float32 the squared condition number.
    triangle = jnp.linalg.qr(rows, mode="r")
    identity = jnp.broadcast_to(jnp.eye(triangle.shape[-1]), triangle.shape)
    inverse = jax.lax.linalg.triangular_solve(triangle, identity, left_side=True)
    root = inverse.reshape(*targets.mask.shape, 3, -1)[..., :2, :]
    covariance = jnp.einsum("...ap,...bp->...ab", root, root, precision="highest")
    covariance = jnp.where(jnp.isfinite(covariance), covariance, jnp.inf)
    return jnp.where(targets.mask[..., None, None], covariance, 0.0)


def _whitened(targets: Targets, sensor: Sensor) -> Float[Array, "*batch pixels parameters"]:
    """Computes ∂μ/∂(row, column, log intensity) in standard deviations of each pixel's noise."""
    scene = jnp.concatenate([targets.place, targets.flux[..., None]], axis=-1)
    batch = scene.shape[:-2]
    lanes = jnp.moveaxis(scene.reshape(-1, *scene.shape[-2:]), 0, -1)
    image, jacobian = image_and_jacobian(lanes, image_axes(sensor.shape), sensor.psf)
    by_log = jacobian.reshape(*lanes.shape[:2], *image.shape)
    by_log = by_log.at[:, 2].multiply(lanes[:, 2, None])
    expected = image + sensor.background
    deviation = jnp.sqrt(jnp.maximum(sensor.total_variance(expected), _DARK_VARIANCE))
    weight = jnp.where(expected < _lowest_clipped(sensor), 1 / deviation, 0.0)
    rows = jnp.transpose(by_log * weight, (3, 2, 0, 1))
    return rows.reshape(*batch, len(image), -1)


def _lowest_clipped(sensor: Sensor) -> Any:
    """Returns the expected counts from which a pixel reads as clipped."""
    return sensor.clip_level - (HALF_STEP if sensor.digital else 0.0)


def _prior_rows(
    targets: Targets, prior: ScenePrior | None
) -> Float[Array, "*batch parameters parameters"]:
    """Returns the prior's rows. Rows of 1 for padding keep the matrix from being singular."""
    position: Any = 0.0
    intensity: Any = 0.0
    if prior is not None:
        position = math.sqrt(12) / prior.cluster
        width = jnp.maximum(prior.max_intensity - prior.min_intensity, _NARROWEST)
        intensity = math.sqrt(12) / width
    relative = intensity * targets.flux
    real = jnp.stack(
        [jnp.full_like(relative, position), jnp.full_like(relative, position), relative], axis=-1
    )
    known = jnp.where(targets.mask[..., None], real, 1.0).reshape(*targets.mask.shape[:-1], -1)
    return known[..., None] * jnp.eye(known.shape[-1])
