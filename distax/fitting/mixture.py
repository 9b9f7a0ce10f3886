"""Posterior density of a target as a mixture of Gaussians, and the decision from it."""

import math

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float

from distax.imaging.targets import CREDIBLE_LEVELS, Targets
from distax.metrics import RADII
from distax.metrics.decision import choose_positions, distances_to, share_inside
from distax.runtime.pytree import pytree

_OUTLIERS = 1e-4
"""Share of targets that the mixture takes as uniform over the cluster's square in the training's
loss. Without it single targets far from every mode would dominate the loss. A larger share teaches
less about them."""
_CELL = 0.01
"""Width in pixels over which a disc's edge is smoothed. A wider edge blurs the hits, a narrower one
makes the expectation jump from point to point."""
_POINT_WIDTH = 1.2
"""Width, in standard deviations of a Gaussian, of the part that one of its points stands for."""
_TABLE = 20
"""Distances from which credible radii are interpolated."""


def _gaussian_points() -> tuple[np.ndarray, np.ndarray]:
    """Returns points and masses that stand for a Gaussian: in three rings, and in its middle.

    The radii are those of equal shares of the mass, so the points follow the Gaussian's radial
    distribution.
    """
    sizes, turns = (1, 6, 6, 6), (0.0, 0.0, 0.5, 0.25)
    shares = np.array([0.1, 0.3, 0.3, 0.3])
    middle = np.cumsum(shares) - shares / 2
    radii = np.sqrt(-2 * np.log1p(-middle))
    radii[0] = 0.0
    points, masses = [], []
    for size, turn, radius, share in zip(sizes, turns, radii, shares, strict=True):
        angle = 2 * np.pi * (np.arange(size) + turn) / size
        points.append(radius * np.stack([np.cos(angle), np.sin(angle)], axis=-1))
        masses.append(np.full(size, share / size))
    return np.concatenate(points), np.concatenate(masses)


_POINTS, _MASSES = _gaussian_points()


@pytree
class Mixture:
    """Density of a target of each image: the mean over the image's targets.

    Attributes:
      log_weight: logarithms of the weights, which sum to one; -inf for padding.
      mean: row and column in pixels from the window's centre.
      factor: lower Cholesky factor of each covariance in px.
      intensity, intensity_std: mean and standard deviation of the intensity in counts.
    """

    log_weight: Float[Array, "*N M"]
    mean: Float[Array, "*N M 2"]
    factor: Float[Array, "*N M 2 2"]
    intensity: Float[Array, "*N M"]
    intensity_std: Float[Array, "*N M"]

    def log_density(
        self, position: Float[Array, "*N K 2"], intensity: Float[Array, "*N K"]
    ) -> Float[Array, "*N K"]:
        """Computes the logarithm of the density at targets, in 1/(px² count)."""
        away = position[..., :, None, :] - self.mean[..., None, :, :]
        first = away[..., 0] / self.factor[..., None, :, 0, 0]
        second = away[..., 1] - self.factor[..., None, :, 1, 0] * first
        second /= self.factor[..., None, :, 1, 1]
        std = self.intensity_std[..., None, :]
        third = (intensity[..., None] - self.intensity[..., None, :]) / std
        area = self.factor[..., 0, 0] * self.factor[..., 1, 1]
        log_height = self.log_weight - jnp.log(area) - jnp.log(self.intensity_std)
        squares = first**2 + second**2 + third**2
        return jax.nn.logsumexp(
            log_height[..., None, :] - 0.5 * squares - 1.5 * math.log(2 * math.pi), axis=-1
        )


def negative_log_likelihood(
    mixture: Mixture,
    position: Float[Array, "N K 2"],
    intensity: Float[Array, "N K"],
    mask: Bool[Array, "N K"],
    scale: Float[Array, " N"],
    half_range: Float[Array, " N"],
) -> Float[Array, " N"]:
    """Computes the mean over true targets of −log density, in units of the cluster and the prior.

    Args:
      mixture: the density.
      position, intensity, mask: true targets, from the window's centre.
      scale: half the cluster's side in pixels.
      half_range: half the prior's range of intensities in counts.
    """
    unit = jnp.log(scale**2 * half_range)
    log_density = mixture.log_density(position, intensity) + unit[:, None]
    # Uniform over the square and the range of intensities, which are 2 units wide each.
    floor = math.log(_OUTLIERS / 8)
    log_density = jnp.logaddexp(math.log1p(-_OUTLIERS) + log_density, floor)
    return -jnp.sum(jnp.where(mask, log_density, 0.0), axis=-1) / jnp.maximum(
        jnp.sum(mask, axis=-1), 1
    )


def decide(mixture: Mixture, mask: Bool[Array, "N K"]) -> Targets:
    """Finds the positions with the most expected hits, and describes the mass of each.

    See `metrics.decision`. A position's mass is what is nearer to it than to the others; the
    errors, the intensity and the probabilities are of the target that this mass stands for.

    Args:
      mixture: the densities.
      mask: True for as many positions as wanted; these come first.

    Returns:
      Targets `[N, K]`, highest score first, with positions from the window's centre.
    """
    return jax.vmap(_decide)(mixture, mask)


def _decide(mixture: Mixture, mask: Bool[Array, " K"]) -> Targets:
    weight = jnp.exp(mixture.log_weight)
    spread = jnp.einsum("mij,pj->mpi", mixture.factor, _POINTS)
    place = (mixture.mean[:, None] + spread).reshape(-1, 2)
    mass = (weight[:, None] * _MASSES).ravel() * jnp.sum(mask)
    position = choose_positions(place, mass, mixture.mean, _CELL, mask)
    distance = distances_to(place, position)
    nearest = jnp.argmin(jnp.where(mask[:, None], distance, jnp.inf), axis=0)
    own = mass * (nearest == jnp.arange(len(mask))[:, None])
    total = jnp.maximum(jnp.sum(own, axis=-1, keepdims=True), 1e-9)
    share = own / total
    offset = place - position[:, None]
    by_component = jnp.sum(share.reshape(len(mask), len(weight), -1), axis=-1)
    intensity = by_component @ mixture.intensity
    second = by_component @ (mixture.intensity**2 + mixture.intensity_std**2)
    # A point stands for the part of its Gaussian around it.
    area = mixture.factor[:, 0, 0] * mixture.factor[:, 1, 1]
    cell = jnp.repeat(_POINT_WIDTH * jnp.sqrt(area), len(_POINTS))
    farthest = jnp.max(jnp.where(own > 0, distance + cell, 0.0), axis=-1)
    table = farthest[:, None] * jnp.linspace(0.0, 1.0, _TABLE) ** 2
    radii = jnp.concatenate([jnp.broadcast_to(jnp.array(RADII), (len(mask), len(RADII))), table], 1)
    inside = share_inside(distance[:, None], radii[..., None], cell)
    within = jnp.einsum("kp,krp->kr", share, inside)
    hits, cumulative = within[:, : len(RADII)], within[:, len(RADII) :]
    levels = jnp.array(CREDIBLE_LEVELS)
    radius = jax.vmap(lambda rising, grid: jnp.interp(levels, rising, grid))(cumulative, table)
    # A position that has more than one target's mass is hit by no more than one.
    score = jnp.mean(hits, axis=-1) * jnp.minimum(total[:, 0], 1.0)
    found = Targets(
        position=position,
        intensity=intensity,
        mask=mask,
        score=score,
        covariance=jnp.einsum("kp,kpi,kpj->kij", share, offset, offset) + 1e-10 * jnp.eye(2),
        intensity_std=jnp.sqrt(jnp.maximum(second - intensity**2, 1e-12)),
        hit_probability=hits,
        credible_radius=radius,
    )
    order = jnp.argsort(-jnp.where(mask, score, -1.0))
    return jax.tree.map(lambda leaf: leaf[order], found)
