"""Exact sums of real numbers: the result does not depend on the order of addition."""

import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int

from distax.runtime.pytree import pytree

_DIGITS, _BITS, _LARGEST = 7, 8, 2.0**24
"""Values below 2**24 are written in 7 digits of 8 bits, down to 2**-32. More digits keep smaller
parts of a value and take more memory. Larger digits leave fewer bits of int32 for the sum of many
values: with 8 bits, eight million values fit."""


@pytree
class ExactSum:
    """A sum that is kept as integer digits, so that adding two sums in any order is exact.

    Floating-point addition rounds, so that its result depends on how values are spread over batches
    and devices. Integer addition does not round. Parts of a value below 2**-32 are cut off. Eight
    million values fit.

    Attributes:
      digits: `[..., 7]`, sums of the base-256 digits of the values. The first digit counts 2**16.
      excess: `[...]`, number of values that cannot be summed: NaN, infinity, 2**24 and more.
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
        """Sums values exactly.

        Args:
          values: the values.
          where: True for values that are summed.
          axis: axes to sum over. Default: all.
        """
        countable = jnp.abs(values) < _LARGEST
        rest = jnp.where(where & countable, jnp.abs(values), 0.0) / _LARGEST
        sign = jnp.sign(values).astype(jnp.int32)
        digits = []
        for _ in range(_DIGITS):
            # Neither line rounds: a digit is the next eight bits of the float32 mantissa, and the
            # rest keeps the bits below them.
            digit = jnp.floor(rest * 2.0**_BITS)
            rest = rest * 2.0**_BITS - digit
            digits.append(jnp.sum(jnp.where(where, sign * digit.astype(jnp.int32), 0), axis=axis))
        return cls(digits=jnp.stack(digits, axis=-1), excess=jnp.sum(where & ~countable, axis=axis))

    @property
    def total(self) -> Float[Array, "*rest"]:
        """The sum as a floating-point number; infinite if any value could not be summed."""
        weights = _LARGEST * 2.0 ** (-_BITS * jnp.arange(1, _DIGITS + 1))
        # Small digits are added first. They would be lost beside a large partial sum.
        total = jnp.sum((self.digits * weights)[..., ::-1], axis=-1)
        return jnp.where(self.excess > 0, jnp.inf, total)


@pytree
class ExactMean:
    """The sum of a number of values, merged by adding, and their mean.

    Attributes:
      number: `[...]`, number of values.
      sum: `[...]`, their sum.
    """

    number: Int[Array, "*rest"]
    sum: ExactSum

    @classmethod
    def of(cls, values: Float[Array, "*shape"], where: Bool[Array, "*shape"]) -> "ExactMean":
        """Sums values.

        Args:
          values: the values.
          where: True for values that are counted.
        """
        return cls(number=jnp.sum(where), sum=ExactSum.of(values, where))

    @property
    def mean(self) -> Float[Array, "*rest"]:
        """The mean; NaN without values."""
        return self.sum.total / self.number
