"""Objectives of the two players, from a discriminator's logits for true and for generated grids.

Both are made of binary cross-entropies, averaged over the logits of each kind. Each player
minimises its own objective, and neither objective is the other's negative.
"""

from collections.abc import Callable
from dataclasses import dataclass

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

Logits = Float[Array, "*shape"]
Scalar = Float[Array, ""]


@dataclass(frozen=True)
class Game:
    """Objectives of the two players, as functions of the logits of true and of generated grids."""

    generator: Callable[[Logits, Logits], Scalar]
    discriminator: Callable[[Logits, Logits], Scalar]


def _called_true(logits: Logits) -> Scalar:
    """Returns the cross-entropy of logits whose truth is 1."""
    return jnp.mean(jax.nn.softplus(-logits))


def _called_false(logits: Logits) -> Scalar:
    """Returns the cross-entropy of logits whose truth is 0."""
    return jnp.mean(jax.nn.softplus(logits))


def _relativistic(more: Logits, less: Logits) -> Scalar:
    """Returns the cross-entropy for `more` as the truer kind, each beside the other's mean."""
    above, below = more - jnp.mean(less), less - jnp.mean(more)
    return (_called_true(above) + _called_false(below)) / 2


PLAIN = Game(
    generator=lambda true, generated: _called_true(generated),
    discriminator=lambda true, generated: _called_true(true) + _called_false(generated),
)
"""Each grid is judged on its own (Goodfellow et al., NeurIPS 2014)."""

RELATIVISTIC = Game(
    generator=lambda true, generated: _relativistic(generated, true),
    discriminator=lambda true, generated: _relativistic(true, generated),
)
"""Each grid is judged against the mean of the other kind (Jolicoeur-Martineau, ICLR 2019)."""
