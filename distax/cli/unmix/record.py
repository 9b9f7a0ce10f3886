"""The JSON file of `distax unmix`: the answers, and what it takes to go on after them."""

import json
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal

from distax.cli.unmix.answers import Answer, FrameAnswer
from distax.runtime.errors import DistaxError
from distax.runtime.files import write_text
from distax.runtime.settings import STRICT
from distax.runtime.version import __version__

State = Literal["finished", "failed", "unfinished"]
"""Of a file: all its images have answers, some cannot have one, or there was no time."""


@dataclass(frozen=True)
class Record:
    """What a run has found so far.

    Attributes:
      options: that answers depend on.
      files: all that the run was given, in its order.
      images: the answers, in the order of the files.
      distax: version that found them.
    """

    options: dict[str, Any]
    files: dict[str, State]
    images: tuple[Answer | FrameAnswer, ...]
    distax: str = __version__

    __pydantic_config__ = STRICT

    def __post_init__(self) -> None:
        for image in self.images:
            if image.file not in self.files:
                raise DistaxError(f"has an answer to {image.file}, which is none of its files")

    def write(self, path: Path) -> None:
        """Write it as JSON, whole or not at all."""
        write_text(path, json.dumps(asdict(self), indent=2) + "\n")


def read_record(path: Path, options: Mapping[str, Any]) -> Record:
    """The record in a file, to be gone on with.

    Args:
      path: what `Record.write` wrote.
      options: those of the present run.

    Raises:
      DistaxError: the file cannot be read, is something else, or its answers were found by another
        version or under other options.
    """
    from pydantic import TypeAdapter, ValidationError

    try:
        record = TypeAdapter(Record).validate_json(path.read_bytes())
    except OSError as error:
        raise DistaxError(
            f"{path}: cannot be read ({error.strerror}); leave --resume out to begin anew"
        ) from error
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(map(str, first["loc"])) or "the whole of it"
        raise DistaxError(
            f"{path}: not what --json of unmix writes ({where}: {first['msg']}); name "
            "another file, or leave --resume out to begin anew"
        ) from None
    before = {"distax": record.distax, **dict(_flat(record.options))}
    now = {"distax": __version__, **dict(_flat(options))}
    differing = [
        f"{name} {_said(before.get(name))}, now {_said(now.get(name))}"
        for name in dict.fromkeys([*before, *now])
        if before.get(name) != now.get(name)
    ]
    if differing:
        raise DistaxError(
            f"{path}: its answers were found otherwise ({'; '.join(differing)}); give the same "
            "options, or leave --resume out to begin anew"
        )
    return record


def _flat(options: Mapping[str, Any]) -> Iterator[tuple[str, Any]]:
    """Options by their names on the command line."""
    for name, value in options.items():
        if isinstance(value, Mapping):
            yield from ((f"{name}.{inner}", setting) for inner, setting in _flat(value))
        else:
            yield name.replace("_", "-"), value


def _said(value: Any) -> str:
    return "not given" if value is None else str(value)
