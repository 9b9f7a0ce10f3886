"""Random keys of one kind, whatever kind the caller uses."""

import jax
from jaxtyping import PRNGKeyArray


def threefry(key: PRNGKeyArray) -> PRNGKeyArray:
    """A threefry key derived from a key of any kind.

    Other generators, popular on TPUs, draw differently under `vmap` (a rejection loop over scenes
    would never end) and offer no Poisson numbers.
    """
    return jax.random.wrap_key_data(jax.random.bits(key, (2,), "uint32"), impl="threefry2x32")
