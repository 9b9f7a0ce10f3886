"""The one exception distax raises for input it cannot use."""

import difflib
import math
from collections.abc import Iterable
from numbers import Integral, Real


class DistaxError(ValueError):
    """Something the user gave cannot be used: one line saying what, where and what to do."""


class DistaxWarning(UserWarning):
    """Something a user should know before relying on an answer that was given all the same."""


class Terminated(Exception):  # noqa: N818 - what happened, not an error
    """SIGTERM arrived, and what it interrupted is saved."""


def unknown(kind: str, name: str, known: Iterable[str]) -> DistaxError:
    """An error for a name that is not among the known ones, with the nearest spelling."""
    known = sorted(known)
    nearest = difflib.get_close_matches(name, known, n=1)
    hint = f"did you mean {nearest[0]!r}? " if nearest else ""
    return DistaxError(f"unknown {kind} {name!r}: {hint}known are {', '.join(known) or 'none'}")


def first_line(error: Exception) -> str:
    """What another library's exception says, short enough to stand in a line of ours."""
    return (str(error).strip() or type(error).__name__).splitlines()[0][:200]


def check_positive(**values: float | int) -> None:
    """Raise DistaxError for the first keyword that is not greater than zero."""
    for name, value in values.items():
        if not value > 0:
            raise DistaxError(f"{name} must be greater than 0, got {value}")


def check_not_negative(**values: float | int) -> None:
    """Raise DistaxError for the first keyword that is less than zero."""
    for name, value in values.items():
        if not value >= 0:
            raise DistaxError(f"{name} must not be negative, got {value}")


def check_finite(**values: object) -> None:
    """Raise DistaxError for the first keyword that is no number, NaN or infinite."""
    for name, value in values.items():
        if not isinstance(value, Real) or not math.isfinite(value):
            raise DistaxError(f"{name} must be a finite number, got {value!r}")


def check_whole(**values: object) -> None:
    """Raise DistaxError for the first keyword that is not a whole number."""
    for name, value in values.items():
        if not isinstance(value, Integral):
            raise DistaxError(f"{name} must be a whole number, got {value!r}")
