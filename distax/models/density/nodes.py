"""Nodes of the density: a square grid around the window's middle pixel."""

from dataclasses import dataclass

import jax.numpy as jnp
from jaxtyping import Array, Float


@dataclass(frozen=True)
class Nodes:
    """Square grid of nodes centred on the origin.

    Attributes:
      reach: largest coordinate of a node in pixels.
      spacing: distance between neighbouring nodes in pixels.
    """

    reach: float
    spacing: float

    @property
    def side(self) -> int:
        """Number of nodes along an axis, odd."""
        return 2 * round(self.reach / self.spacing) + 1

    @property
    def coordinates(self) -> Float[Array, " side"]:
        """Coordinates of the nodes along an axis in pixels."""
        return (jnp.arange(self.side) - self.side // 2) * self.spacing

    @property
    def place(self) -> Float[Array, "nodes 2"]:
        """Position (row, column) of every node in pixels, in row-major order."""
        return jnp.stack(jnp.meshgrid(*[self.coordinates] * 2, indexing="ij"), -1).reshape(-1, 2)

    @property
    def candidates(self) -> Float[Array, "candidates 2"]:
        """Positions of every other node along each axis: `metrics.decision` starts from these."""
        return self.place.reshape(self.side, self.side, 2)[::2, ::2].reshape(-1, 2)

    def spread(self, position: Float[Array, "*K 2"]) -> Float[Array, "*K side side"]:
        """Spreads a unit mass at each position over the four nodes around it by bilinear weights.

        The weights keep the mean position. Mass beyond the nodes is dropped.
        """
        index = position[..., None] / self.spacing + self.side // 2
        rows, columns = jnp.moveaxis(
            jnp.maximum(1 - jnp.abs(index - jnp.arange(self.side)), 0.0), -2, 0
        )
        return rows[..., :, None] * columns[..., None, :]

    def spread_variance(self, position: Float[Array, "*K 2"]) -> Float[Array, "*K 2"]:
        """Returns the variance in px² along each axis of the mass from `spread`."""
        fraction = jnp.mod(position / self.spacing, 1.0)
        return fraction * (1 - fraction) * self.spacing**2
