"""Sensor files: a sensor as a TOML table, which is also a valid training configuration.

[sensor]
height = 11
sigma = [0.5, 0.55]  # along rows, along columns
bit_depth = "none"  # no rounding

[sensor.measured_psf]  # replaces the Gaussian PSF
oversampling = 4
rows = [[0.0, 0.1, 1.3, 0.1, 0.0]]
columns = [[0.0, 0.1, 1.3, 0.1, 0.0]]
"""

from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

from distax.imaging.sensor import Sensor
from distax.runtime.files import write_text
from distax.runtime.optional import require
from distax.runtime.settings import NO_VALUE, STRICT, from_plain, read_toml

if TYPE_CHECKING:
    from tomlkit.items import Table


@dataclass(frozen=True)
class _File:
    sensor: Sensor

    __pydantic_config__ = STRICT


def read_sensor(path: Path) -> Sensor:
    """Reads a sensor from a TOML file; absent keys keep the defaults of `Sensor`.

    Raises:
      DistaxError: the file cannot be read, is not TOML, has no table `sensor`, or has an unknown
        key or a value of another type or out of range.
    """
    return from_plain(_File, read_toml(path), str(path)).sensor


def write_sensor(
    path: Path, sensor: Sensor, remarks: Mapping[str, str] = MappingProxyType({})
) -> None:
    """Writes a sensor to a TOML file, atomically.

    Args:
      path: the file.
      sensor: the sensor to write.
      remarks: comments by name of the sensor's field.

    Raises:
      DistaxError: the file cannot be written.
    """
    require("tomlkit", "sensor files")
    import tomlkit

    values = {field.name: getattr(sensor, field.name) for field in fields(sensor)}
    psf = values.pop("measured_psf")
    document = tomlkit.document()
    document["sensor"] = table = _table(values, remarks)
    if psf is not None:
        table.append("measured_psf", _table(asdict(psf)))
        _add_comment(table["measured_psf"], remarks.get("measured_psf", ""))
    write_text(path, tomlkit.dumps(document))


def _table(values: Mapping[str, Any], remarks: Mapping[str, str] = MappingProxyType({})) -> "Table":
    """Builds a TOML table with a comment on some of its values."""
    import tomlkit

    table = tomlkit.table()
    for key, value in values.items():
        # TOML has no null.
        table[key] = NO_VALUE if value is None else value
        _add_comment(table.value.item(key), remarks.get(key, ""))
    return table


def _add_comment(item: Any, remark: str) -> None:
    if remark:
        item.comment(remark)
        item.trivia.comment_ws = "  "
