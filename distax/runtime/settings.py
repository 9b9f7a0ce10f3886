"""Reading of typed, frozen dataclasses from TOML files and from plain values, by pydantic."""

import dataclasses
import datetime
import difflib
import json
import tomllib
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from types import NoneType, UnionType
from typing import Any, TypeVar, Union, get_args, get_origin

from distax.runtime.devices import check_regular
from distax.runtime.errors import DistaxError

Settings = TypeVar("Settings")

STRICT = {"extra": "forbid", "strict": True}
"""Value of `__pydantic_config__` that forbids undeclared fields and values of another type."""
NO_VALUE = "none"
"""Value that stands for None in the table `[sensor]`, because TOML has no null."""


def read_toml(path: Path) -> dict[str, Any]:
    """Reads the plain values in a TOML file. In the table `[sensor]`, "none" becomes None.

    Raises:
      DistaxError: the file cannot be read, is not TOML, holds a date or a time, or is a pipe or a
        device, which may never end.
    """
    check_regular(path)
    try:
        values = tomllib.loads(path.read_text(encoding="utf-8"))
        date = next(_dates(values), None)
    except OSError as error:
        raise DistaxError(f"{path}: cannot be read ({error.strerror})") from error
    # Besides TOML's own error: bytes that are not UTF-8, numbers of thousands of digits, and values
    # that are nested thousands of times.
    except (ValueError, RecursionError) as error:
        raise DistaxError(f"{path}: not a TOML file ({error})") from error
    if date:
        raise DistaxError(f"{path}: {date} is a date or a time, which no setting takes")
    if isinstance(sensor := values.get("sensor"), dict):
        values["sensor"] = {k: None if v == NO_VALUE else v for k, v in sensor.items()}
    return values


def _dates(value: Any, key: str = "") -> Iterator[str]:
    """Yields the dates and times in a value and in what it holds, each after its key."""
    if isinstance(value, datetime.date | datetime.time):
        yield f"{key}: {value}"
    elif isinstance(value, dict):
        for name, inner in value.items():
            yield from _dates(inner, name)
    elif isinstance(value, list):
        for inner in value:
            yield from _dates(inner, key)


def from_plain(kind: type[Settings], values: dict[str, Any], where: str) -> Settings:
    """Makes an instance of a dataclass from plain values; absent keys keep their defaults.

    Args:
      kind: the dataclass, with `STRICT` as its `__pydantic_config__`.
      values: nested dictionaries, as a TOML file gives them.
      where: the file they come from, for error messages.

    Raises:
      DistaxError: a key is unknown or missing, or a value has another type or is out of range.
    """
    from pydantic import TypeAdapter, ValidationError

    try:
        return TypeAdapter(kind).validate_json(json.dumps(values))
    except RecursionError:
        raise DistaxError(f"{where}: its values are nested too deeply") from None
    except ValidationError as error:
        keys, problem = _first_problem(kind, error.errors(), values)
        raise DistaxError(f"{where}: {'.'.join(keys) or 'configuration'}: {problem}") from None


def _first_problem(
    kind: Any, errors: Sequence[Mapping[str, Any]], values: dict[str, Any]
) -> tuple[list[str], str]:
    """Returns the keys that lead to the first value with a problem, and the problem."""
    first = errors[0]
    keys = _keys(first["loc"], values)
    if first["type"] == "missing":
        return [*map(str, first["loc"])], "is missing"
    if first["type"] == "unexpected_keyword_argument":
        return keys, "is not a known key" + _hint(kind, keys)
    # pydantic reports a value that may be of several types once for each type it tried.
    problems = dict.fromkeys(
        error["msg"].removeprefix("Value error, ")
        for error in errors
        if _keys(error["loc"], values) == keys
    )
    return keys, ", or ".join(problems)


def _keys(location: tuple[int | str, ...], values: Any) -> list[str]:
    """Returns the keys of an error's location, with the numbers of list entries between them.

    pydantic also puts the names of tried types there; these are dropped.
    """
    path: list[int | str] = []
    for part in location:
        entries = dict(enumerate(values)) if isinstance(values, list) else values
        if isinstance(entries, dict) and part in entries:
            path.append(part)
            values = entries[part]
    while path and isinstance(path[-1], int):
        path.pop()
    return [*map(str, path)]


def _hint(kind: Any, keys: list[str]) -> str:
    """Names the known key spelled most like the last of `keys`, or else all known keys."""
    for key in keys[:-1]:
        kind = _type_of_entry(kind, key)
    known = [field.name for field in dataclasses.fields(kind)]
    nearest = difflib.get_close_matches(keys[-1], known, n=1)
    return f"; did you mean {nearest[0]!r}?" if nearest else f"; known are {', '.join(known)}"


def _type_of_entry(kind: Any, key: str) -> Any:
    """Returns the type of a dataclass's field, or of the entries of a table or a list.

    Of several types that it may have, it is the one that is a dataclass.
    """
    if dataclasses.is_dataclass(kind):
        (kind,) = (field.type for field in dataclasses.fields(kind) if field.name == key)
    else:
        *_, kind = (one for one in get_args(kind) if one is not Ellipsis)
    choices = get_args(kind) if get_origin(kind) in (Union, UnionType) else (kind,)
    known = [one for one in choices if one is not NoneType]
    return next(filter(dataclasses.is_dataclass, known), known[0])


def differences(before: Mapping[str, Any], now: Mapping[str, Any]) -> list[str]:
    """Lists the settings that differ, each with both values.

    Args:
      before, now: plain values by name; nested settings are named by both names.
    """
    earlier, present = dict(_flatten(before)), dict(_flatten(now))
    return [
        f"{name} {_format(earlier.get(name))}, now {_format(present.get(name))}"
        for name in dict.fromkeys([*earlier, *present])
        if earlier.get(name) != present.get(name)
    ]


def _flatten(settings: Mapping[str, Any]) -> Iterator[tuple[str, Any]]:
    """Yields settings under their names on the command line, with nested ones flattened."""
    for name, value in settings.items():
        if isinstance(value, Mapping):
            yield from ((f"{name}.{inner}", setting) for inner, setting in _flatten(value))
        else:
            yield name.replace("_", "-"), value


def _format(value: Any) -> str:
    """Returns a setting's value as text."""
    return "not given" if value is None else str(value)
