"""Density of a target's position and intensity: a mixture of Gaussians, one for each grid node."""

import math

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from distax.runtime.pytree import pytree

_SHARPEST, _WIDEST = 0.005, 0.3
"""Limits in pixels of the diagonal of a component's root. No position is known better than the
first. A density wider than the second is described by the components of several nodes together."""
_LEAST_SPREAD = 0.1
"""Least standard deviation of an intensity, as a share of the prior's."""
_POINTS = 16
"""Number of points that stand for a component. With fewer the probability of a hit changes in
coarser steps."""
OUTPUTS = 8
"""Numbers that describe a component; `make_mixture` has the same number in its annotation."""


@pytree
class Mixture:
    """Density of one target's position and intensity in each image of a batch.

    Attributes:
      log_weight: logarithm of the probability that the target belongs to each component.
      mean: mean position (row, column) in pixels from the window's middle.
      root: lower-triangular root L of the position's covariance L Lᵀ, in pixels.
      intensity, intensity_std: mean and standard deviation of the intensity, in standard deviations
        of the prior's intensity from its mean.
    """

    log_weight: Float[Array, "*batch nodes"]
    mean: Float[Array, "*batch nodes 2"]
    root: Float[Array, "*batch nodes 2 2"]
    intensity: Float[Array, "*batch nodes"]
    intensity_std: Float[Array, "*batch nodes"]

    def log_density(
        self,
        position: Float[Array | np.ndarray, "*batch K 2"],
        intensity: Float[Array | np.ndarray, "*batch K"],
    ) -> Float[Array, "*batch K"]:
        """Computes the logarithm of the density at the positions and intensities of targets."""
        away = position[..., :, None, :] - self.mean[..., None, :, :]
        root = self.root[..., None, :, :, :]
        row = away[..., 0] / root[..., 0, 0]
        column = (away[..., 1] - root[..., 1, 0] * row) / root[..., 1, 1]
        spread = self.intensity_std[..., None, :]
        light = (intensity[..., :, None] - self.intensity[..., None, :]) / spread
        squares = row**2 + column**2 + light**2
        volume = jnp.log(root[..., 0, 0] * root[..., 1, 1] * spread) + 1.5 * math.log(2 * math.pi)
        return jax.nn.logsumexp(self.log_weight[..., None, :] - squares / 2 - volume, axis=-1)

    def points(self) -> Float[Array, "*batch points 2"]:
        """Returns points in pixels. Those of one component stand for equal parts of its weight."""
        steps = jnp.einsum("...nij,pj->...npi", self.root, _normal_points(), precision="highest")
        place = self.mean[..., None, :] + steps
        return place.reshape(*place.shape[:-3], -1, 2)

    def of_points(self, value: Float[Array, "*batch nodes"]) -> Float[Array, "*batch points"]:
        """Repeats each component's value for each of its points."""
        return jnp.repeat(value, _POINTS, axis=-1)

    def point_mass(self) -> Float[Array, "*batch points"]:
        """Returns the probability that each of `points` stands for; their sum is 1."""
        return self.of_points(jnp.exp(self.log_weight)) / _POINTS


def make_mixture(
    outputs: Float[Array, "*batch nodes 8"],
    nodes: Float[np.ndarray, "nodes 2"],
    spacing: float,
) -> Mixture:
    """Makes the mixture that a network's outputs describe.

    Args:
      outputs: for each node the logit of its weight, the offset, three numbers of the covariance's
        root, and mean and spread of the intensity.
      nodes: positions of the nodes in pixels from the window's middle.
      spacing: distance between neighbouring nodes in pixels, which is also the largest offset of a
        mean from its node along an axis.
    """
    weight, row, column, tall, wide, skew, light, spread = jnp.moveaxis(outputs, -1, 0)
    offset = spacing * jnp.tanh(jnp.stack([row, column], axis=-1))
    # Outputs are near zero at first. The constant makes the first components about 0.08 px wide.
    deviation = jnp.exp(
        jnp.clip(jnp.stack([tall, wide], -1) - 2.5, math.log(_SHARPEST), math.log(_WIDEST))
    )
    first, second = deviation[..., 0], deviation[..., 1]
    top = jnp.stack([first, jnp.zeros_like(first)], axis=-1)
    bottom = jnp.stack([skew * second, second], axis=-1)
    return Mixture(
        log_weight=jax.nn.log_softmax(weight),
        mean=jnp.asarray(nodes) + offset,
        root=jnp.stack([top, bottom], axis=-2),
        intensity=light,
        intensity_std=_LEAST_SPREAD + jax.nn.softplus(spread),
    )


def _normal_points() -> Float[np.ndarray, "points 2"]:
    """Returns points of equal weight that stand for the standard normal distribution.

    The radii are quantiles, and the angle grows by the golden angle from point to point. All points
    are then shifted and scaled so that their mean is zero and their covariance the identity.
    """
    rank = np.arange(_POINTS)
    radius = np.sqrt(-2 * np.log1p(-(rank + 0.5) / _POINTS))
    angle = rank * math.pi * (3 - math.sqrt(5))
    points = np.stack([radius * np.cos(angle), radius * np.sin(angle)], axis=-1)
    points -= points.mean(axis=0)
    root = np.linalg.cholesky(points.T @ points / _POINTS)
    return np.linalg.solve(root, points.T).T.astype(np.float32)
