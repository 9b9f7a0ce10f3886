"""Description of a method and its settings, by which a run recognises its own results."""

import json
from collections.abc import Iterator, Mapping
from dataclasses import asdict, fields, is_dataclass
from pathlib import Path
from typing import Any

from flax import nnx

from distax.runtime.errors import DistaxError
from distax.runtime.plain_json import read_table, write_json
from distax.runtime.pytree import fingerprint
from distax.runtime.settings import differences
from distax.runtime.version import __version__
from distax.shards.results import find_results
from distax.unmixer import Unmixer

FILE = "_settings.json"
"""Name of the file that describes a folder of results. Readers of Parquet folders skip files whose
names begin with an underscore."""
SHARD = "shard"
"""Key of the shard in the description of a file of results; see `sources.describe_shard`."""
_NAMED, _LONGEST = 3, 160
"""Settings that an error names before it counts the rest, and the letters of each that it shows.
More make the line hard to read."""


def describe(unmixer: Unmixer, file_format: str) -> dict[str, Any]:
    """Describes the version, the format, the method and its settings as plain values.

    Networks are described by the SHA-256 hash of the names and values of their weights.
    """
    prior = unmixer.assumed_prior
    about = {
        "distax": __version__,
        "format": file_format,
        "method": unmixer.method,
        "estimator": dict(_settings(unmixer.estimator)),
        "sensor": asdict(unmixer.sensor),
        "prior": prior and asdict(prior),
    }
    plain: dict[str, Any] = json.loads(json.dumps(about))
    return plain


def _settings(value: Any) -> Iterator[tuple[str, Any]]:
    """Yields the settings of an estimator by name, with hashes for networks."""
    for field in fields(value) if is_dataclass(value) else ():
        part = getattr(value, field.name)
        if isinstance(part, nnx.Module):
            weights = fingerprint(nnx.state(part))
            yield field.name, {"kind": type(part).__name__, "sha256": weights}
        elif is_dataclass(part):
            yield field.name, dict(_settings(part))
        else:
            yield field.name, part if isinstance(part, int | float | str | None) else str(part)


def claim(folder: Path, about: Mapping[str, Any]) -> None:
    """Marks a folder as one for results of these settings, or checks that it is marked so.

    A folder without a mark takes it if the results that it holds are of these settings.

    Raises:
      DistaxError: the folder holds results of other settings, or cannot be written.
    """
    file = folder / FILE
    if not file.exists():
        for path, file_format in find_results(folder).items():
            _check_same(path, {**file_format.about(path), SHARD: None}, {**about, SHARD: None})
        write_json(file, about)
    try:
        before = read_table(file)
    except (OSError, ValueError):
        raise DistaxError(
            f"{file}: cannot be read; name another folder, or delete this one to start anew"
        ) from None
    _check_same(folder, before, about)


def _check_same(place: Path, before: Mapping[str, Any], now: Mapping[str, Any]) -> None:
    """Raises DistaxError if results in a place are of other settings than those now."""
    if differing := name_differences(before, now):
        raise DistaxError(
            f"{place}: holds results of other settings ({differing}); give the same options, or "
            "name another folder"
        )


def name_differences(before: Mapping[str, Any], now: Mapping[str, Any]) -> str:
    """Names the first of the settings that differ, with both values, in one line."""
    differing = differences(before, now)
    more = [f"and {len(differing) - _NAMED} more"] if len(differing) > _NAMED else []
    shown = [" ".join(one.split())[:_LONGEST] for one in differing[:_NAMED]]
    return "; ".join(shown + more)
