"""Arithmetic and random numbers that are the same on every device.

By default accelerators round the factors of a matrix product before they multiply, TPUs to eight
significant bits. Networks tolerate that. Positions do not, because they are small differences of
large counts.
"""

from collections.abc import Callable
from functools import wraps
from typing import ParamSpec, TypeVar

import jax
import jax.numpy as jnp
from jaxtyping import PRNGKeyArray

from distax.runtime.errors import DistaxError, shown

Arguments = ParamSpec("Arguments")
Result = TypeVar("Result")


def exact_products(function: Callable[Arguments, Result]) -> Callable[Arguments, Result]:
    """Decorates a function so that its matrix products are computed in full float32."""

    @wraps(function)
    def exact(*args: Arguments.args, **kwargs: Arguments.kwargs) -> Result:
        with jax.default_matmul_precision("highest"):
            return function(*args, **kwargs)

    return exact


def check_key(key: object) -> None:
    """Raises DistaxError for what is not one random key of JAX."""
    kind, axes = getattr(key, "dtype", None), len(getattr(key, "shape", ()))
    typed = kind is not None and jnp.issubdtype(kind, jax.dtypes.prng_key)
    if not ((typed and axes == 0) or (kind == jnp.uint32 and axes == 1)):
        raise DistaxError(
            f"key must be one random key, such as jax.random.key(0), got {shown(key)}"
        )


def threefry(key: PRNGKeyArray) -> PRNGKeyArray:
    """Derives a threefry key from a key of any kind.

    Other generators, popular on TPUs, draw other numbers under `vmap` than without it, and have no
    Poisson sampler. With them a rejection loop over scenes would never end.

    Raises:
      DistaxError: it is no random key.
    """
    check_key(key)
    return jax.random.wrap_key_data(jax.random.bits(key, (2,), "uint32"), impl="threefry2x32")
