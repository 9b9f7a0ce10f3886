"""Arithmetic and random numbers that are the same on every device.

By default accelerators round the factors of a matrix product before they multiply, TPUs to eight
significant bits. Networks tolerate that. Positions do not, because they are small differences of
large counts.
"""

from collections.abc import Callable
from functools import wraps
from typing import ParamSpec, TypeVar

import jax
from jaxtyping import PRNGKeyArray

Arguments = ParamSpec("Arguments")
Result = TypeVar("Result")


def exact_products(function: Callable[Arguments, Result]) -> Callable[Arguments, Result]:
    """Decorates a function so that its matrix products are computed in full float32."""

    @wraps(function)
    def exact(*args: Arguments.args, **kwargs: Arguments.kwargs) -> Result:
        with jax.default_matmul_precision("highest"):
            return function(*args, **kwargs)

    return exact


def threefry(key: PRNGKeyArray) -> PRNGKeyArray:
    """Derives a threefry key from a key of any kind.

    Other generators, popular on TPUs, draw other numbers under `vmap` than without it, and have no
    Poisson sampler. With them a rejection loop over scenes would never end.
    """
    return jax.random.wrap_key_data(jax.random.bits(key, (2,), "uint32"), impl="threefry2x32")
