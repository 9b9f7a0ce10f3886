"""The linear estimate that unrolled models start from: x₀ = Q y."""

from functools import partial

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from distax.imaging.grid import rasterize
from distax.imaging.scenes import ScenePrior, sample
from distax.imaging.sensor import Sensor
from distax.runtime.numerics import exact_products


@exact_products
def linear_estimator(
    labels: Float[Array, "L nodes"], phi: Float[Array, "pixels nodes"], ridge: float = 1e-4
) -> Float[Array, "nodes pixels"]:
    """Q = X Yᵀ (Y Yᵀ)⁻¹ with Y = Φ X: the linear map from images to labels with least error.

    Args:
      labels: true grids, one a row (X transposed).
      phi: sampling matrix.
      ridge: added to the diagonal of Y Yᵀ relative to its mean; pixels without flux leave the
        plain inverse ill-conditioned.

    Returns:
      Q for x₀ = y Qᵀ (DISTA-Net, arXiv 2505.19148, initialisation).
    """
    images = labels @ phi.T
    gram = images.T @ images
    gram += ridge * jnp.mean(jnp.diagonal(gram)) * jnp.eye(len(gram))
    return jax.scipy.linalg.solve(gram, images.T @ labels, assume_a="pos").T


@partial(jax.jit, static_argnums=(0, 1, 2, 3))
def simulated_estimator(
    sensor: Sensor, factor: int, border: int = 1, scenes: int = 10_000
) -> Float[Array, "nodes pixels"]:
    """Q over simulated scenes of CSIST-100K's prior in the sensor's image; always the same scenes.

    `border` is the prior's: how many pixels along each edge are never the host.
    """
    prior = ScenePrior(border=border)
    labels = rasterize(sample(jax.random.key(0), scenes, prior, sensor.shape), sensor, factor)
    return linear_estimator(labels.reshape(scenes, -1), sensor.sampling_matrix(factor))
