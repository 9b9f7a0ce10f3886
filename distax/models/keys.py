"""Keys for the parameters of new models."""

import math

import jax
from flax import nnx
from jaxtyping import PRNGKeyArray

from distax.runtime.errors import DistaxError


def parameter_rngs(seed: int, most: int | float = math.inf) -> nnx.Rngs:
    """Returns the keys of `nnx.Rngs(seed)`, counted in Python so that tracing stays fast.

    Flax counts keys in an array. While JAX traces, each key adds one term to that count, so tracing
    a model of a thousand layers takes most of a minute.

    Args:
      seed: the seed.
      most: number of keys after which a model is refused as too large. Default: no limit.
    """
    rngs = nnx.Rngs(seed)
    rngs.default = _CountingStream(jax.random.key(seed), tag="default", most=most)  # type: ignore[attr-defined]
    return rngs


class _CountingStream(nnx.RngStream):
    """Stream of keys that counts them in Python."""

    def __init__(self, key: PRNGKeyArray, *, tag: str, most: int | float = math.inf):
        super().__init__(key, tag=tag)
        self.drawn, self.most = 0, most

    def __call__(self) -> PRNGKeyArray:
        key = jax.random.fold_in(self.key[...], self.drawn)
        self.drawn += 1
        if self.drawn > self.most:
            raise DistaxError("the model has more parameters than are stored; the file is damaged")
        return key
