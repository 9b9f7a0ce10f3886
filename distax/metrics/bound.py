"""The Cramér–Rao bound: how well positions can be known from an image, clipping included.

Noise of variance v is taken as Gaussian, pixel by pixel, so that the information that an image
holds of the parameters θ (row, column, intensity of every target) is
J = Σ (∂μ/∂θ)(∂μ/∂θ)ᵀ / v over the pixels, μ being the expected counts (Kay, Fundamentals of
Statistical Signal Processing: Estimation Theory, section 3.9). A clipped pixel is constant near
the truth and tells nothing of it.
"""

import math

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from distax.imaging.psf import responses, slopes
from distax.imaging.scenes import ScenePrior
from distax.imaging.sensor import Sensor, render
from distax.imaging.targets import Targets
from distax.runtime.errors import DistaxError

# Variance in counts² that pixels without light still have, where there is shot noise alone.
_DARK_VARIANCE = 1e-6
# Narrowest range of intensities in counts: of a known intensity everything is known.
_NARROWEST = 1e-3


def noise_free(sensor: Sensor) -> bool:
    """Whether neither noise nor rounding hides anything, so that there is no bound."""
    return not (sensor.read_noise or sensor.bit_depth or sensor.gain)


def cramer_rao(
    targets: Targets, sensor: Sensor, prior: ScenePrior | None = None
) -> Float[Array, "*batch K 2 2"]:
    """Smallest covariance in px² that an unbiased estimate of each position can have.

    All targets of an image are unknown together, and their number is known. Only pixels whose
    expected counts do not clip are used. The variance of a pixel is that of the read noise, the
    shot noise, and 1/12 where the sensor rounds: rounding taken as uniform and independent of the
    signal, as it is for signals that vary by many counts.

    Args:
      targets: the true targets `[..., K]`.
      sensor: the sensor.
      prior: what is known before the image is seen. With it the information of intensities spread
        over the prior's range and positions over its cluster, 12/range² each, is added (van Trees'
        bound, at the true parameters instead of on average): without, four targets under a clipped
        pixel have no useful bound.

    Returns:
      Covariances of (row, column); zero for padding, infinite where the image says nothing.

    Raises:
      DistaxError: a sensor without noise and rounding.
    """
    if noise_free(sensor):
        raise DistaxError(
            "there is no bound for a sensor without noise and rounding; give it a read noise, a "
            "bit depth or a gain"
        )
    rows = jnp.concatenate([_whitened(targets, sensor), _known_before(targets, prior)], axis=-2)
    # J = AᵀA for these rows A. Their QR decomposition spares float32 the squared condition number.
    triangle = jnp.linalg.qr(rows, mode="r")
    identity = jnp.broadcast_to(jnp.eye(triangle.shape[-1]), triangle.shape)
    inverse = jax.lax.linalg.triangular_solve(triangle, identity, left_side=True)
    root = inverse.reshape(*targets.mask.shape, 3, -1)[..., :2, :]
    covariance = jnp.einsum("...ap,...bp->...ab", root, root, precision="highest")
    covariance = jnp.where(jnp.isfinite(covariance), covariance, jnp.inf)
    return jnp.where(targets.mask[..., None, None], covariance, 0.0)


def _whitened(targets: Targets, sensor: Sensor) -> Float[Array, "*batch pixels parameters"]:
    """∂μ/∂(row, column, log intensity) in standard deviations of each pixel's noise."""
    row, column = responses(targets.place, sensor.shape, sensor.psf)
    row_slope, column_slope = slopes(targets.place, sensor.shape, sensor.psf)
    across = jnp.stack([row_slope, row, row], axis=-2)
    along = jnp.stack([column, column_slope, column], axis=-2)
    derivative = jnp.einsum(
        "...k,t...kpi,t...kpj->...ijkp", targets.flux, across, along, precision="highest"
    )
    expected = render(targets, sensor) + sensor.background
    weight = jnp.where(expected < _clips_from(sensor), 1 / _noise(expected, sensor), 0.0)
    rows = weight[..., None, None] * derivative
    return rows.reshape(*targets.mask.shape[:-1], sensor.height * sensor.width, -1)


def _noise(
    expected: Float[Array, "*batch height width"], sensor: Sensor
) -> Float[Array, "*batch height width"]:
    """Standard deviation of each pixel in counts."""
    variance = sensor.noise_variance(expected) + (sensor.bit_depth is not None) / 12
    return jnp.sqrt(jnp.maximum(variance, _DARK_VARIANCE))


def _clips_from(sensor: Sensor) -> float:
    """Expected counts from which a pixel reads as clipped."""
    return sensor.white - (0.5 if sensor.bit_depth is not None else 0.0)


def _known_before(
    targets: Targets, prior: ScenePrior | None
) -> Float[Array, "*batch parameters parameters"]:
    """Rows that stand for the prior; those of padding keep it from making the whole singular."""
    position = intensity = 0.0
    if prior is not None:
        position = math.sqrt(12) / prior.cluster
        intensity = math.sqrt(12) / max(prior.max_intensity - prior.min_intensity, _NARROWEST)
    relative = intensity * targets.flux
    real = jnp.stack(
        [jnp.full_like(relative, position), jnp.full_like(relative, position), relative], axis=-1
    )
    known = jnp.where(targets.mask[..., None], real, 1.0).reshape(*targets.mask.shape[:-1], -1)
    return known[..., None] * jnp.eye(known.shape[-1])
