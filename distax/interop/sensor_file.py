"""A sensor as a small TOML file, which is also a training configuration that says no more.

[sensor]
height = 11
sigma = [0.5, 0.55]  # over rows, over columns
bit_depth = "none"  # real numbers
"""

from collections.abc import Mapping
from dataclasses import dataclass, fields
from pathlib import Path
from types import MappingProxyType

from distax.files import write_text
from distax.sensor import Sensor
from distax.settings import NO_VALUE, STRICT, from_plain, read_toml


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
    lines = ["[sensor]"]
    for field in fields(sensor):
        remark = f"  # {remarks[field.name]}" if field.name in remarks else ""
        lines.append(f"{field.name} = {_toml(getattr(sensor, field.name))}{remark}")
    write_text(path, "\n".join(lines) + "\n")


def _toml(value: int | float | tuple[float, float] | None) -> str:
    if value is None:
        return f'"{NO_VALUE}"'
    return repr(list(value) if isinstance(value, tuple) else value)
