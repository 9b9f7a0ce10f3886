"""Options of a model: the arguments of its constructor, checked before it is called."""

import inspect
from collections.abc import Sequence
from types import NoneType, UnionType
from typing import Any, get_args, get_origin

from distax.models.base import Model
from distax.runtime.errors import DistaxError, shown, unknown

_PLAIN = (bool, int, float, str)
"""Types of options that a configuration can hold."""
_LARGEST = 2**31 - 1
"""Largest whole number that JAX computes with by default."""


def parameters(model: type[Model]) -> dict[str, inspect.Parameter]:
    """Returns the parameters of a model's constructor by name, except `rngs`."""
    taken = inspect.signature(model.__init__).parameters
    return {key: taken[key] for key in taken if key not in ("self", "rngs")}


def option_types(model: type[Model]) -> dict[str, Any]:
    """Returns the types of a constructor's options by name, except the model that a head takes."""
    return {key: taken.annotation for key, taken in parameters(model).items() if key != "inner"}


def check_options(
    of: str, options: dict[str, Any], types: dict[str, Any], prefix: str = ""
) -> None:
    """Raises DistaxError if an option is unknown or a plain value is not of its type.

    Args:
      of: what the options belong to, for the message.
      options: the options' values by name.
      types: types of the options that there are, by name.
      prefix: what precedes the names in the message.
    """
    for option, value in options.items():
        if option not in types:
            raise unknown("option", prefix + option, [prefix + key for key in types], of)
        _check_type(prefix + option, value, types[option])


def _check_type(option: str, value: Any, hint: Any) -> None:
    """Raises DistaxError if a plain value is not of an option's type, or too large for JAX."""
    allowed = get_args(hint) if isinstance(hint, UnionType) else (hint,)
    # NumPy's numbers and arrays come from Python and not from a configuration.
    plain = type(value) in (*_PLAIN, list, tuple, dict)
    if lists := [kind for kind in allowed if get_origin(kind) is Sequence]:
        return _check_list(option, value, get_args(lists[0]))
    if plain and not any(kind in _PLAIN for kind in allowed):
        raise DistaxError(f"option {option} can be given from Python only, got {shown(value)}")
    if plain and set(allowed) <= {*_PLAIN, NoneType} and not _is_of(value, allowed):
        names = " or ".join(kind.__name__ for kind in allowed if kind is not NoneType)
        raise DistaxError(f"option {option} must be of type {names}, got {shown(value)}")
    _check_whole_numbers(option, [value])


def _check_list(option: str, value: Any, kinds: tuple[Any, ...]) -> None:
    """Raises DistaxError if a value is not a list, or holds other values than of the kinds."""
    if type(value) not in (list, tuple) or not all(_is_of(item, kinds) for item in value):
        names = " or ".join(kind.__name__ for kind in kinds)
        raise DistaxError(f"option {option} must be a list of {names}, got {shown(value)}")
    _check_whole_numbers(option, value)


def _check_whole_numbers(option: str, values: Sequence[Any]) -> None:
    for value in values:
        if type(value) is int and abs(value) > _LARGEST:
            raise DistaxError(f"option {option} must be at most {_LARGEST:,} in size, got {value}")


def _is_of(value: Any, allowed: tuple[Any, ...]) -> bool:
    return type(value) in allowed or (type(value) is int and float in allowed)
