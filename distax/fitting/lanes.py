"""Scenes a portion at a time: as many as a processor is quickest with."""

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

LANES = 128
"""Scenes handled at a time on a CPU: their matrices just fit its second-level cache."""


def split(lanes: Float[Array, "*shape N"]) -> Float[Array, "chunks *shape lanes"]:
    """Lanes in portions; all in one where there is no such cache to fit."""
    at_once = LANES if jax.default_backend() == "cpu" else lanes.shape[-1]
    return jnp.moveaxis(lanes.reshape(*lanes.shape[:-1], -1, at_once), -2, 0)


def join(chunks: Float[Array, "chunks *shape lanes"]) -> Float[Array, "*shape N"]:
    """The inverse of `split`."""
    lanes = jnp.moveaxis(chunks, 0, -2)
    return lanes.reshape(*lanes.shape[:-2], -1)
