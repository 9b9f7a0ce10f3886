"""Matrix products that keep the digits of their factors on every device.

By default accelerators round the factors first, TPUs to eight significant bits. Networks do not
mind; positions do, which are small differences of large counts.
"""

from collections.abc import Callable
from functools import wraps
from typing import ParamSpec, TypeVar

import jax

Arguments = ParamSpec("Arguments")
Result = TypeVar("Result")


def exact_products(function: Callable[Arguments, Result]) -> Callable[Arguments, Result]:
    """Decorator: matrix products within the function are those of float32."""

    @wraps(function)
    def exact(*args: Arguments.args, **kwargs: Arguments.kwargs) -> Result:
        with jax.default_matmul_precision("highest"):
            return function(*args, **kwargs)

    return exact
