"""Sensor files: a sensor as a TOML table, which is also a valid training configuration.

[sensor]
height = 11
sigma = [0.5, 0.55]  # along rows, along columns
bit_depth = "none"  # no rounding

[sensor.measured_psf]  # replaces the Gaussian PSF
oversampling = 4
rows = [[0.0, 0.1, 1.3, 0.1, 0.0]]
columns = [[0.0, 0.1, 1.3, 0.1, 0.0]]

A PSF that varies over the frame is a table `sensor.psf_grid`, or the name of a FITS file beside the
sensor file that photutils reads as well: psf_grid = "psf.fits".
"""

from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

from distax.imaging.sensor import Sensor
from distax.io.psf_grid_file import read_psf_grid
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
      DistaxError: the file or the grid of PSFs that it names cannot be read; the file is not TOML,
        has no table `sensor`, or has an unknown key or a value of another type or out of range.
    """
    values = read_toml(path)
    sensor = values.get("sensor")
    if isinstance(sensor, dict) and isinstance(name := sensor.get("psf_grid"), str):
        sensor["psf_grid"] = asdict(read_psf_grid(path.parent / name))
    return from_plain(_File, values, str(path)).sensor


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
    psf, grid = values.pop("measured_psf"), values.pop("psf_grid")
    document = tomlkit.document()
    document["sensor"] = table = _table(values, remarks)
    if psf is not None:
        table.append("measured_psf", _table(asdict(psf)))
        _add_comment(table["measured_psf"], remarks.get("measured_psf", ""))
    if grid is not None:
        nodes = {name: value for name, value in asdict(grid).items() if value}
        table.append("psf_grid", _table(nodes))
        _add_comment(table["psf_grid"], remarks.get("psf_grid", ""))
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
