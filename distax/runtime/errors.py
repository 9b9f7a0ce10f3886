"""Exceptions and warnings of distax, and checks of numbers."""

import difflib
import math
from collections.abc import Iterable
from numbers import Integral, Real


class DistaxError(ValueError):
    """Input that cannot be used. The message is one line: what is wrong, where, and what to do."""


class DistaxWarning(UserWarning):
    """Warning that a result may be wrong, although it is returned."""


class Terminated(Exception):  # noqa: N818 - an event, not an error
    """Exception that ends a command on SIGTERM, after its results so far were saved."""


def unknown(kind: str, name: str, known: Iterable[str]) -> DistaxError:
    """Makes the error for an unknown name, with the known name that is spelled most like it."""
    known = sorted(known)
    nearest = difflib.get_close_matches(name, known, n=1)
    hint = f"did you mean {nearest[0]!r}? " if nearest else ""
    return DistaxError(f"unknown {kind} {name!r}: {hint}known are {', '.join(known) or 'none'}")


def first_line(error: Exception) -> str:
    """Shortens another library's exception to its first line, at most 200 characters."""
    return (str(error).strip() or type(error).__name__).splitlines()[0][:200]


def check_positive(**values: float | int) -> None:
    """Raises DistaxError for the first keyword that is not greater than zero."""
    for name, value in values.items():
        if not value > 0:
            raise DistaxError(f"{name} must be greater than 0, got {value}")


def check_not_negative(**values: float | int) -> None:
    """Raises DistaxError for the first keyword that is less than zero or NaN."""
    for name, value in values.items():
        if not value >= 0:
            raise DistaxError(f"{name} must not be negative, got {value}")


def check_finite(**values: object) -> None:
    """Raises DistaxError for the first keyword that is not a finite number."""
    for name, value in values.items():
        if not isinstance(value, Real) or not math.isfinite(value):
            raise DistaxError(f"{name} must be a finite number, got {value!r}")


def check_whole(**values: object) -> None:
    """Raises DistaxError for the first keyword that is not a whole number."""
    for name, value in values.items():
        if not isinstance(value, Integral):
            raise DistaxError(f"{name} must be a whole number, got {value!r}")
