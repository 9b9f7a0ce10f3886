"""Random keys for initial parameters."""

import jax
from flax import nnx
from jaxtyping import PRNGKeyArray


def parameter_rngs(seed: int) -> nnx.Rngs:
    """The keys that `nnx.Rngs(seed)` gives, at the same cost for each.

    Flax counts them in an array, which under a trace is a sum that is one term longer for every
    key: a model of a thousand layers takes most of a minute to trace.
    """
    rngs = nnx.Rngs(seed)
    rngs.default = _Counted(jax.random.key(seed), tag="default")  # type: ignore[attr-defined]
    return rngs


class _Counted(nnx.RngStream):
    """A stream that counts its keys in Python."""

    def __init__(self, key: PRNGKeyArray, *, tag: str):
        super().__init__(key, tag=tag)
        self.given = 0

    def __call__(self) -> PRNGKeyArray:
        key = jax.random.fold_in(self.key[...], self.given)
        self.given += 1
        return key
