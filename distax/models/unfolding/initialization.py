"""Linear estimator Q that unfolded models start from: x₀ = Q y.

Source: initialisation of DISTA-Net (ICCV 2025, arXiv 2505.19148).
"""

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
    """Fits Q = X Yᵀ (Y Yᵀ)⁻¹ with Y = Φ X: the least-squares map from images to labels.

    Args:
      labels: true grids in counts, one per row (X transposed).
      phi: sampling matrix Φ.
      ridge: term added to the diagonal of Y Yᵀ, relative to the diagonal's mean. Pixels without
        flux make the plain inverse ill-conditioned; a larger ridge biases Q towards zero.

    Returns:
      Q, for x₀ = y Qᵀ with images as rows.
    """
    images = labels @ phi.T
    gram = images.T @ images
    gram += ridge * jnp.mean(jnp.diagonal(gram)) * jnp.eye(len(gram))
    return jax.scipy.linalg.solve(gram, images.T @ labels, assume_a="pos").T


@partial(jax.jit, static_argnums=(0, 1, 2, 3))
def simulated_estimator(
    sensor: Sensor, factor: int, border: int = 1, scenes: int = 10_000
) -> Float[Array, "nodes pixels"]:
    """Fits Q to simulated scenes of CSIST-100K's prior; the scenes are the same in every call.

    Args:
      sensor: the imaging model.
      factor: grid nodes per pixel along each axis, odd.
      border: the prior's border: pixels along each edge that are never a host pixel.
      scenes: number of scenes.
    """
    prior = ScenePrior(border=border)
    labels = rasterize(sample(jax.random.key(0), scenes, prior, sensor.shape), sensor, factor)
    return linear_estimator(labels.reshape(scenes, -1), sensor.sampling_matrix(factor))
