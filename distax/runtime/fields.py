"""Fields of frozen dataclasses, checked against their annotations, with numbers as Python's own."""

import dataclasses
from collections.abc import Collection
from types import NoneType, UnionType
from typing import Any, Union, get_args, get_origin

import jax
import jax.numpy as jnp
import numpy as np

from distax.runtime.errors import DistaxError, check_whole, finite, known_scalar, shown


def check_fields(config: Any, arrays: Collection[str] = ()) -> None:
    """Checks the fields of a dataclass against their annotations, and converts numbers.

    A number of NumPy or JAX becomes a float or an int of Python. So equal settings are equal, have
    one hash and run one compiled program.

    Args:
      config: an instance of a frozen dataclass, at the start of its `__post_init__`.
      arrays: names of fields that may also hold traced numbers and arrays of numbers.

    Raises:
      DistaxError: a value is not of the annotated type, or a number is not finite.
    """
    for field in dataclasses.fields(config):
        value = getattr(config, field.name)
        checked = _checked(field.name, value, field.type, field.name in arrays)
        object.__setattr__(config, field.name, checked)


def _checked(name: str, value: Any, hint: Any, array: bool) -> Any:
    """Checks and converts the value of a field, or of an entry of its tuple, by its annotation."""
    kinds = get_args(hint) if get_origin(hint) in (Union, UnionType) else (hint,)
    if array and _holds_numbers(value):
        return value
    value = known_scalar(name, value)
    for kind in kinds:
        if get_origin(kind) is tuple and isinstance(value, tuple):
            return _checked_tuple(name, value, get_args(kind), array)
        # A class has the attributes of its instances, and would pass for one by its protocol.
        if kind in (float, int) or isinstance(value, type):
            continue
        if isinstance(value, get_origin(kind) or kind):
            return value
    if isinstance(value, list) and any(get_origin(kind) is tuple for kind in kinds):
        wanted = "a finite number" if float in kinds else "of type tuple"
        raise DistaxError(
            f"{name} must be {wanted}, got {shown(value)}; write a tuple in place of the list"
        )
    if float in kinds:
        return finite(name, value, " or None" if NoneType in kinds else "")
    if int in kinds:
        check_whole(**{name: value})
        return int(value)
    wanted = " or ".join("None" if kind is NoneType else kind.__name__ for kind in kinds)
    raise DistaxError(f"{name} must be of type {wanted}, got {shown(value)}")


def _checked_tuple(name: str, value: tuple[Any, ...], kinds: Any, array: bool) -> tuple[Any, ...]:
    if kinds[-1] is Ellipsis:
        kinds = kinds[:1] * len(value)
    if len(kinds) != len(value):
        raise DistaxError(f"{name} must have {len(kinds)} entries, got {shown(value)}")
    return tuple(_checked(name, part, kind, array) for part, kind in zip(value, kinds, strict=True))


def _holds_numbers(value: Any) -> bool:
    """Returns True for an array of real numbers, and for a number that JAX traces."""
    if not isinstance(value, jax.Array | np.ndarray):
        return False
    unknown = value.ndim > 0 or isinstance(value, jax.core.Tracer)
    return unknown and any(jnp.issubdtype(value.dtype, kind) for kind in (np.floating, np.integer))
