"""Exceptions and warnings of distax, and checks of numbers."""

import difflib
import math
import re
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from numbers import Integral, Real
from typing import Any

_LONGEST = 60
"""Longest text of a value that an error line quotes. A longer one hides the rest of the line."""

_SMALLEST, _GREATEST = 1.2e-38, 3.4e38
"""Bounds of the sizes of numbers in 32 bits. JAX takes smaller ones for 0."""
_ADDRESS = re.compile(r"(:\s*)?<[^<>]* object at 0x[0-9a-f]+>")


class DistaxError(ValueError):
    """Input that cannot be used. The message is one line: what is wrong, where, and what to do."""


class DistaxWarning(UserWarning):
    """Warning that a result may be wrong, although it is returned."""


class Terminated(Exception):  # noqa: N818 - an event, not an error
    """Exception that ends a command on SIGTERM, after its results so far were saved."""


@contextmanager
def advice_when_stopped(advice: str) -> Iterator[None]:
    """Adds advice to the message of a `Terminated` or KeyboardInterrupt that leaves the block."""
    try:
        yield
    except (Terminated, KeyboardInterrupt) as stop:
        raise type(stop)(f"{stop}; {advice}" if str(stop) else "") from None


@contextmanager
def naming_what_fails(path: object) -> Iterator[None]:
    """Names a file or folder in the error of a block that writes it.

    Raises:
      DistaxError: the block raised OSError.
    """
    try:
        yield
    except OSError as error:
        raise DistaxError(f"{path}: cannot be written ({error.strerror or error})") from error


def unknown(kind: str, name: str, known: Iterable[str], of: str = "") -> DistaxError:
    """Makes the error for an unknown name. It suggests the known name of the closest spelling.

    Args:
      kind: kind of things that the name stands for.
      name: the unknown name.
      known: the known names.
      of: what the things belong to, such as a model with options. Default: nothing.
    """
    known = sorted(known)
    nearest = difflib.get_close_matches(name, known, n=1)
    hint = f"did you mean {nearest[0]!r}? " if nearest else ""
    owner = f" of {of}" if of else ""
    listed = ", ".join(known) or "none"
    return DistaxError(f"unknown {kind} {name!r}{owner}: {hint}known are {listed}")


def first_line(error: Exception) -> str:
    """Shortens another library's exception to its first line, at most 200 characters.

    Addresses of Python's objects tell nothing about the input, so they are left out.
    """
    text = _ADDRESS.sub("", str(error)).strip() or type(error).__name__
    return text.splitlines()[0][:200]


def shown(value: object) -> str:
    """Formats a value for an error line: short ones in full, long ones by their type."""
    if isinstance(value, type):
        return f"the class {value.__name__}; make an instance of it"
    text = repr(value)
    return text if len(text) <= _LONGEST and "\n" not in text else f"a {type(value).__name__}"


def known_scalar(name: str, value: Any) -> Any:
    """Returns the Python scalar that a NumPy scalar or an array without axes holds.

    Other values are returned as they are.

    Raises:
      DistaxError: JAX traces the value, so that it is not known.
    """
    if getattr(value, "shape", None) != () or not hasattr(value, "item"):
        return value
    try:
        return value.item()
    except TypeError:
        raise DistaxError(
            f"{name} must be known, not traced: keep it out of what jit, vmap and grad trace"
        ) from None


def finite(name: str, value: object, limit: str = "") -> float:
    """Converts a finite number of Python, NumPy or JAX to a float.

    Args:
      name: name of the number in the error message.
      value: the number.
      limit: its limit in words, which the error message gives.

    Raises:
      DistaxError: the value is not a number, or is not finite in the 32 bits in which JAX computes.
    """
    number = known_scalar(name, value)
    if not isinstance(number, Real) or isinstance(number, bool) or not _is_finite(number):
        raise DistaxError(f"{name} must be a finite number{limit}, got {shown(number)}")
    value = float(number)
    if abs(value) > _GREATEST:
        raise DistaxError(f"{name} must be at most {_GREATEST} in size, got {shown(number)}")
    return value


def _is_finite(number: Any) -> bool:
    try:
        return math.isfinite(number)
    except OverflowError:  # a whole number beyond the largest float
        return False


def check_positive(**values: object) -> None:
    """Raises DistaxError for the first keyword that is not a finite number greater than zero."""
    for name, value in values.items():
        if not (number := finite(name, value, " greater than 0")) > 0:
            raise DistaxError(f"{name} must be greater than 0, got {value}")
        if number < _SMALLEST:
            raise DistaxError(f"{name} must be at least {_SMALLEST}, got {value}")


def check_not_negative(**values: object) -> None:
    """Raises DistaxError for the first keyword that is not a finite number of at least zero."""
    for name, value in values.items():
        if not finite(name, value, " of at least 0") >= 0:
            raise DistaxError(f"{name} must not be negative, got {value}")


def check_at_most(why: str, **values: tuple[int | float, int | float]) -> None:
    """Raises DistaxError for the first keyword whose value exceeds its limit.

    Args:
      why: reason for the limits, at the end of the message.
      **values: the value and its limit.
    """
    for name, (value, limit) in values.items():
        if value > limit:
            raise DistaxError(f"{name} must be at most {limit:g} {why}, got {value:g}")


def check_finite(**values: object) -> None:
    """Raises DistaxError for the first keyword that is not a finite number."""
    for name, value in values.items():
        finite(name, value)


def check_seed(seed: object) -> None:
    """Raises DistaxError unless a seed is a whole number below 2³². JAX drops higher bits."""
    check_whole(seed=seed)
    if not 0 <= seed < 2**32:  # type: ignore[operator]
        raise DistaxError(f"seed must be from 0 to 2**32 - 1, got {seed}")


def check_whole(**values: object) -> None:
    """Raises DistaxError for the first keyword that is not a whole number."""
    for name, value in values.items():
        if not isinstance(value, Integral) or isinstance(value, bool):
            raise DistaxError(f"{name} must be a whole number, got {shown(value)}")
