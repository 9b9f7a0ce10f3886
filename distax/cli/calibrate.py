"""`distax calibrate`: a sensor file from the sensor's own images."""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import tyro

from distax.runtime.errors import DistaxError

if TYPE_CHECKING:
    import numpy as np

    from distax.calibration import Calibration, Quantity
    from distax.imaging.psf import MeasuredPsf


@dataclass(frozen=True)
class Calibrate:
    """Measure a sensor from images of isolated point sources, and write it to a file.

    The file is what --sensor of other commands and --config of train take.
    """

    files: Annotated[tuple[Path, ...], tyro.conf.Positional]
    """PNG, TIFF or NPY files of raw counts: images of one source each, or whole frames; a hundred
    isolated sources or more, at many places between pixel centres."""
    dark: Path | None = None
    """File of frames without light, for the read noise."""
    flat: tuple[Path, ...] = ()
    """Files of repeated frames of one unchanged scene each, such as an evenly lit surface at
    several levels, for the gain; without any it is taken from how well sources are fitted."""
    elongated: bool = False
    """Give the PSF one width over rows and one over columns."""
    measured_psf: bool = False
    """Give the sensor the PSF as it is, of whatever shape, where no Gaussian holds; from a hundred
    bright sources or more."""
    size: tuple[int, int] | None = None
    """Height and width of the images to be unmixed; without it those of small images given here,
    11 and 11 for whole frames."""
    out: Path = Path("sensor.toml")
    """Write the sensor to this TOML file."""
    json: Path | None = None
    """Write the sensor, what each value comes from and how good the fit is to this JSON file."""

    def run(self) -> None:
        """Read, measure, print, write."""
        from distax.calibration import calibrate
        from distax.io.images import read_images
        from distax.io.sensor_file import write_sensor
        from distax.runtime.files import write_text

        if not self.files:
            raise DistaxError("no image files given; name at least one PNG, TIFF or NPY file")
        result = calibrate(
            _stacked(self.files),
            None if self.dark is None else read_images(self.dark),
            [read_images(path) for path in self.flat],
            self.elongated,
            self.measured_psf,
            self.size,
        )
        _print(result)
        write_sensor(self.out, result.sensor, {k: _remark(q) for k, q in result.quantities.items()})
        if self.json:
            write_text(self.json, json.dumps(result.to_dict(), indent=2) + "\n")
        print(f"{self.out}: the sensor")


def _stacked(files: tuple[Path, ...]) -> "np.ndarray":
    """The images of all files."""
    import numpy as np

    from distax.io.images import read_images

    stacks = {path: read_images(path) for path in dict.fromkeys(files)}
    first = next(iter(stacks))
    for path, stack in stacks.items():
        if stack.shape[1:] != stacks[first].shape[1:]:
            raise DistaxError(
                f"{path}: {_size(stack)} px, {first} has {_size(stacks[first])}; give images of "
                "one size"
            )
    return np.concatenate(list(stacks.values()))


def _size(stack: "np.ndarray") -> str:
    return f"{stack.shape[1]}×{stack.shape[2]}"


def _print(result: "Calibration") -> None:
    """A table of what was measured and assumed, and what is to be known of the fit."""
    from rich.table import Table

    from distax.cli.console import wide_console

    table = Table("", "value", "±", "from")
    for name, quantity in result.quantities.items():
        table.add_row(name, _text(quantity.value), _text(quantity.std, "2g"), quantity.source)
    wide_console().print(table)
    excess, std = result.elongation
    print(
        f"{result.used} isolated sources used, {result.rejected} not explained by one PSF, "
        f"{result.crowded} with neighbours left alone"
    )
    print(
        f"misfit {result.misfit:.3f} (1 where the PSF holds), elongation {100 * excess:+.2f}% "
        f"± {100 * std:.2f}% of rows over columns"
    )


def _remark(quantity: "Quantity") -> str:
    spread = "" if quantity.std is None else f"± {_text(quantity.std, '2g')}, "
    return spread + quantity.source


def _text(
    value: "int | float | tuple[float, float] | MeasuredPsf | None", style: str = "5g"
) -> str:
    from distax.imaging.psf import MeasuredPsf

    if value is None:
        return "–"
    if isinstance(value, MeasuredPsf):
        return str(value)
    values = value if isinstance(value, tuple) else (value,)
    return ", ".join(f"{each:.{style}}" for each in values)
