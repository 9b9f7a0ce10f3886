"""Keys for the parameters of new models."""

from dataclasses import dataclass

import jax
from flax import nnx
from jaxtyping import PRNGKeyArray

from distax.runtime.errors import DistaxError


@dataclass(frozen=True)
class Limit:
    """The most keys that a model may draw, one for each array and some that layers do not need.

    Attributes:
      most: number of keys.
      refusal: line for a model that draws more.
    """

    most: int
    refusal: str


LARGEST = Limit(
    3_000,
    "the model has more than 3,000 arrays of parameters, the most that distax builds; make it "
    "smaller, for example with fewer stages or blocks",
)
"""Limit for models that somebody asks for. The largest of the toolkit's networks draws 1,600."""


def parameter_rngs(seed: int, limit: Limit = LARGEST) -> nnx.Rngs:
    """Returns the keys of `nnx.Rngs(seed)`, counted in Python so that tracing stays fast.

    Flax counts keys in an array. While JAX traces, each key adds one term to that count, so tracing
    a model of a thousand layers takes most of a minute.

    Args:
      seed: the seed.
      limit: the most keys that may be drawn; the next one raises a DistaxError. A configuration of
        a few bytes could otherwise take any time.
    """
    rngs = nnx.Rngs(seed)
    rngs.default = _CountingStream(jax.random.key(seed), tag="default", limit=limit)  # type: ignore[attr-defined]
    return rngs


class _CountingStream(nnx.RngStream):
    """Stream of keys that counts them in Python."""

    def __init__(self, key: PRNGKeyArray, *, tag: str, limit: Limit = LARGEST):
        super().__init__(key, tag=tag)
        self.drawn, self.limit = 0, limit

    def __call__(self) -> PRNGKeyArray:
        key = jax.random.fold_in(self.key[...], self.drawn)
        self.drawn += 1
        if self.drawn > self.limit.most:
            raise DistaxError(self.limit.refusal)
        return key
