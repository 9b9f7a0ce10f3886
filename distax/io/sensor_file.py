"""A sensor as a small TOML file, which is also a training configuration that says no more.

[sensor]
height = 11
sigma = [0.5, 0.55]  # over rows, over columns
bit_depth = "none"  # real numbers

[sensor.measured_psf]  # instead of the Gaussian, if there is one
oversampling = 4
rows = [[0.0, 0.1, 1.3, 0.1, 0.0]]
columns = [[0.0, 0.1, 1.3, 0.1, 0.0]]
"""

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from types import MappingProxyType
from typing import Any

from distax.imaging.sensor import Sensor
from distax.runtime.files import write_text
from distax.runtime.settings import NO_VALUE, STRICT, from_plain, read_toml


@dataclass(frozen=True)
class _File:
    sensor: Sensor

    __pydantic_config__ = STRICT


def read_sensor(path: Path) -> Sensor:
    """The sensor in a TOML file; what its table leaves out is as CSIST-100K's.

    Raises:
      DistaxError: no such file, not TOML, no table `sensor` or others beside it, an unknown key,
        a value of another type or out of range.
    """
    return from_plain(_File, read_toml(path), str(path)).sensor


def write_sensor(
    path: Path, sensor: Sensor, remarks: Mapping[str, str] = MappingProxyType({})
) -> None:
    """Write a sensor to a TOML file, whole or not at all.

    Args:
      path: the file.
      sensor: what to write.
      remarks: a comment for each field that has something said about it.

    Raises:
      DistaxError: the file cannot be written.
    """
    plain = {field.name: getattr(sensor, field.name) for field in fields(sensor)}
    psf = plain.pop("measured_psf")
    lines = _table("sensor", "", plain, remarks)
    if psf is not None:
        lines += _table("sensor.measured_psf", remarks.get("measured_psf", ""), asdict(psf))
    write_text(path, "\n".join(lines) + "\n")


def _table(
    name: str,
    remark: str,
    values: Mapping[str, Any],
    remarks: Mapping[str, str] = MappingProxyType({}),
) -> list[str]:
    """The lines of a table, with a comment after its name and after some of the values."""
    lines = [f"[{name}]{_comment(remark)}"]
    for key, value in values.items():
        lines.append(f"{key} = {_toml(value)}{_comment(remarks.get(key, ''))}")
    return lines


def _comment(remark: str) -> str:
    return f"  # {remark}" if remark else ""


def _toml(value: Any) -> str:
    if value is None:
        return f'"{NO_VALUE}"'
    # Tuples are arrays, written as JSON writes them.
    return json.dumps(value)
