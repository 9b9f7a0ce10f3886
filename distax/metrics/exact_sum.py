"""Sums of real numbers that are the same in whatever order they are added."""

import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int

from distax.runtime.pytree import pytree

# A value below 2**24 in digits of eight bits, down to 2**-32.
_DIGITS, _BITS, _LARGEST = 7, 8, 2.0**24


@pytree
class ExactSum:
    """A sum in digits, each an integer: adding two of them, in any order, is exact.

    Floating-point addition rounds, so that its result depends on how values are spread over
    batches and devices. Values are cut below 2**-32; eight million of them fit.

    Attributes:
      digits: `[..., 7]`, sums of the base-256 digits of the values, 2**16 first.
      excess: `[...]`, number of values that are NaN or 2**24 and more, infinity included.
    """

    digits: Int[Array, "*rest digits"]
    excess: Int[Array, "*rest"]

    @classmethod
    def of(
        cls,
        values: Float[Array, "*shape"],
        where: Bool[Array, "*shape"],
        axis: int | tuple[int, ...] | None = None,
    ) -> "ExactSum":
        """Sum of the values, over all axes or some, where told to count them."""
        countable = jnp.abs(values) < _LARGEST
        rest = jnp.where(where & countable, jnp.abs(values), 0.0) / _LARGEST
        sign = jnp.sign(values).astype(jnp.int32)
        digits = []
        for _ in range(_DIGITS):
            # Both lines are exact: a digit is a float32's next eight bits.
            digit = jnp.floor(rest * 2.0**_BITS)
            rest = rest * 2.0**_BITS - digit
            digits.append(jnp.sum(jnp.where(where, sign * digit.astype(jnp.int32), 0), axis=axis))
        return cls(digits=jnp.stack(digits, axis=-1), excess=jnp.sum(where & ~countable, axis=axis))

    @property
    def total(self) -> Float[Array, "*rest"]:
        """The sum as a number; infinite if any value was not countable."""
        weights = _LARGEST * 2.0 ** (-_BITS * jnp.arange(1, _DIGITS + 1))
        # From the smallest digit, so that nothing of it is lost.
        total = jnp.sum((self.digits * weights)[..., ::-1], axis=-1)
        return jnp.where(self.excess > 0, jnp.inf, total)
