"""The nodes on which the density lives: a square grid around the window's middle pixel."""

from dataclasses import dataclass

import jax.numpy as jnp
from jaxtyping import Array, Float


@dataclass(frozen=True)
class Nodes:
    """A square of nodes centred on the origin.

    Attributes:
      reach: largest coordinate in pixels.
      spacing: distance of neighbours in pixels.
    """

    reach: float
    spacing: float

    @property
    def side(self) -> int:
        """Nodes along an axis, odd."""
        return 2 * round(self.reach / self.spacing) + 1

    @property
    def coordinates(self) -> Float[Array, " side"]:
        """The nodes' coordinates along an axis."""
        return (jnp.arange(self.side) - self.side // 2) * self.spacing

    @property
    def place(self) -> Float[Array, "nodes 2"]:
        """Row and column of every node, row-major."""
        return jnp.stack(jnp.meshgrid(*[self.coordinates] * 2, indexing="ij"), -1).reshape(-1, 2)

    @property
    def candidates(self) -> Float[Array, "candidates 2"]:
        """Row and column of every other node along each axis."""
        return self.place.reshape(self.side, self.side, 2)[::2, ::2].reshape(-1, 2)

    def spread(self, position: Float[Array, "*K 2"]) -> Float[Array, "*K side side"]:
        """A unit mass at each position, shared by the four nodes around it with that mean.

        What lies beyond the nodes is lost.
        """
        index = position[..., None] / self.spacing + self.side // 2
        rows, columns = jnp.moveaxis(
            jnp.maximum(1 - jnp.abs(index - jnp.arange(self.side)), 0.0), -2, 0
        )
        return rows[..., :, None] * columns[..., None, :]

    def spread_variance(self, position: Float[Array, "*K 2"]) -> Float[Array, "*K 2"]:
        """Variance along each axis of the mass that `spread` makes of a position, in px²."""
        fraction = jnp.mod(position / self.spacing, 1.0)
        return fraction * (1 - fraction) * self.spacing**2
