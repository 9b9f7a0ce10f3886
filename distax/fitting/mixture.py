"""Posterior density of a target as a mixture of Gaussians, and the decision from it."""

import math

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from distax.imaging.targets import CREDIBLE_LEVELS, Targets
from distax.metrics import RADII
from distax.metrics.decision import choose_positions, share_inside
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
COMPONENTS = 3
"""Gaussians for each token. More describe bent valleys better and take longer."""
_TABLE = 16
"""Distances from which credible radii are interpolated. More are exacter and take longer."""


def _gaussian_points(rings: int) -> tuple[np.ndarray, np.ndarray]:
    """Returns points and masses that stand for a Gaussian: in rings of six, and in its middle.

    The radii are those of equal shares of the mass, so the points follow the Gaussian's radial
    distribution.
    """
    shares = np.append(0.1, np.full(rings, 0.9 / rings))
    middle = np.cumsum(shares) - shares / 2
    radii = np.sqrt(-2 * np.log1p(-middle))
    points, masses = [np.zeros((1, 2))], [shares[:1]]
    for ring in range(1, rings + 1):
        angle = 2 * np.pi * (np.arange(6) + ring / rings) / 6
        points.append(radii[ring] * np.stack([np.cos(angle), np.sin(angle)], axis=-1))
        masses.append(np.full(6, shares[ring] / 6))
    return np.concatenate(points), np.concatenate(masses)


_FEW, _MANY = _gaussian_points(1), _gaussian_points(3)
"""Points for the choice of positions, which looks at all pairs of points and candidates, and for
the description of the chosen ones."""


@pytree
class Mixture:
    """Density of a target of each image: the mean over the image's targets.

    Attributes:
      log_weight: logarithms of the weights, which sum to one. The `COMPONENTS` Gaussians of a token
        are consecutive.
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
    scale: Float[Array, " N"],
    half_range: Float[Array, " N"],
) -> Float[Array, " N"]:
    """Computes the mean over true targets of −log density, in units of the cluster and the prior.

    Args:
      mixture: the density.
      position, intensity: true targets, from the window's centre.
      scale: half the cluster's side in pixels.
      half_range: half the prior's range of intensities in counts.
    """
    unit = jnp.log(scale**2 * half_range)
    log_density = mixture.log_density(position, intensity) + unit[:, None]
    # Uniform over the square and the range of intensities, which are 2 units wide each.
    floor = math.log(_OUTLIERS / 8)
    log_density = jnp.logaddexp(math.log1p(-_OUTLIERS) + log_density, floor)
    return -jnp.mean(log_density, axis=-1)


def decide(mixture: Mixture, count: int) -> Targets:
    """Finds the positions with the most expected hits, and describes the mass of each.

    See `metrics.decision`. A position's mass is what is nearer to it than to the others; the
    errors, the intensity and the probabilities are of the target that this mass stands for.

    Args:
      mixture: the densities.
      count: number of targets of each image.

    Returns:
      Targets `[N, count]`, highest score first, with positions from the window's centre.
    """
    return jax.vmap(lambda one: _describe(one, _choose(one, count)))(mixture)


def _choose(mixture: Mixture, count: int) -> Float[Array, "{count} 2"]:
    """Chooses positions, with the heaviest of each token's Gaussians as candidates."""
    place, mass = _points(mixture, *_FEW)
    weight = mixture.log_weight.reshape(-1, COMPONENTS)
    own = jnp.arange(len(weight)) * COMPONENTS + jnp.argmax(weight, axis=1)
    # Without the barriers here and below XLA would compute a point anew wherever it is used.
    place, mass, candidates = jax.lax.optimization_barrier((place, mass, mixture.mean[own]))
    return choose_positions(place, count * mass, candidates, _CELL, jnp.ones(count, bool))


def _points(
    mixture: Mixture, points: np.ndarray, masses: np.ndarray
) -> tuple[Float[Array, "P 2"], Float[Array, " P"]]:
    """Returns points that stand for a mixture, and the mass of each; the sum is 1."""
    factor, (first, second) = mixture.factor, points.T
    row = mixture.mean[:, :1] + factor[:, :1, 0] * first
    column = mixture.mean[:, 1:] + factor[:, 1:, 0] * first + factor[:, 1:, 1] * second
    place = jnp.stack([row.ravel(), column.ravel()], axis=-1)
    return place, (jnp.exp(mixture.log_weight)[:, None] * masses).ravel()


def _describe(mixture: Mixture, position: Float[Array, "K 2"]) -> Targets:
    """Describes the mass that is nearer to each position than to the others."""
    place, mass = jax.lax.optimization_barrier(_points(mixture, *_MANY))
    count, points = len(position), len(_MANY[0])
    offsets = place - position[:, None]
    distances = jnp.sum(offsets**2, axis=-1)
    nearest = jnp.argmin(distances, axis=0)
    distance = jnp.sqrt(jnp.min(distances, axis=0))
    own = count * mass * (nearest == jnp.arange(count)[:, None])
    total = jnp.maximum(jnp.sum(own, axis=-1, keepdims=True), 1e-9)
    share = own / total
    by_component = jnp.sum(share.reshape(count, -1, points), axis=-1)
    intensity = by_component @ mixture.intensity
    brighter = mixture.intensity - intensity[:, None]
    variance = jnp.sum(by_component * (brighter**2 + mixture.intensity_std**2), axis=-1)
    # A point stands for the part of its Gaussian around it.
    area = mixture.factor[:, 0, 0] * mixture.factor[:, 1, 1]
    cell = jnp.repeat(_POINT_WIDTH * jnp.sqrt(area), points)
    farthest = jnp.max(jnp.where(own > 0, distance + cell, 0.0), axis=-1)
    # Every point counts for one position only, so the table's distances are those of its own one.
    table = jnp.linspace(0.0, 1.0, _TABLE) ** 2
    hits = share_inside(distance[:, None], jnp.array(RADII), cell[:, None])
    cumulative = share_inside(distance[:, None], farthest[nearest][:, None] * table, cell[:, None])
    within = share @ jnp.concatenate([hits, cumulative], axis=1)
    hit_probability, rising = within[:, : len(RADII)], within[:, len(RADII) :]
    levels = jnp.array(CREDIBLE_LEVELS)
    radius = jax.vmap(lambda row: jnp.interp(levels, row, table))(rising)
    # A position that has more than one target's mass is hit by no more than one.
    score = jnp.mean(hit_probability, axis=-1) * jnp.minimum(total[:, 0], 1.0)
    found = Targets(
        position=position,
        intensity=intensity,
        mask=jnp.ones(count, bool),
        score=score,
        covariance=jnp.einsum("kp,kpi,kpj->kij", share, offsets, offsets) + 1e-10 * jnp.eye(2),
        intensity_std=jnp.sqrt(variance),
        hit_probability=hit_probability,
        credible_radius=farthest[:, None] * radius,
    )
    order = jnp.argsort(-score)
    return jax.tree.map(lambda leaf: leaf[order], found)
