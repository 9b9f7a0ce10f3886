"""`distax calibrate`: measures a sensor from its own images."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import tyro

from distax.cli.options import Input, InputOptions, OutputPath, default, read_sequence
from distax.runtime.errors import DistaxError
from distax.runtime.terminal import say

if TYPE_CHECKING:
    from collections.abc import Sequence

    from distax.calibration import Calibration, Quantity
    from distax.calibration.result import Node
    from distax.imaging.psf import MeasuredPsf
    from distax.imaging.psf_grid import PsfGrid


@dataclass(frozen=True)
class Calibrate:
    """Measure a sensor from images of isolated point sources, and write it to a TOML file.

    Pass the file to --sensor of other commands, or to --config of `train`.

    Attributes:
      files: Files of raw counts (FITS, PNG, TIFF, BMP, NPY or NPZ), folders of such files, or
        patterns: small images of one source each, or whole frames. Give a hundred bright sources or
        more, spread over all positions between pixel centres; fewer than five is an error.
      dark: File or folder of dark frames, from which the read noise is measured.
      flat: Files or folders from which the gain is measured. Each holds repeated frames of one
        unchanged scene; an evenly lit surface at several levels serves best.
      elongated: Fit two widths of the PSF, one over rows and one over columns.
      measured_psf: Measure the PSF as samples, for PSFs that are not Gaussian.
      psf_grid: Measure a PSF that varies over the frame, at this many rows and columns of nodes, as
        in 3 3. Each node needs five sources near it or more.
      size: Height and width in pixels of the images that will be unmixed.
      out: Write the sensor to this TOML file.
      psf_fits: Write the PSF's grid to this FITS file also, in the form that photutils reads
        (STDPSF).
      json: Write the sensor, the source of each value and the quality of the fit to this JSON file.
      input: Parts of the files that are read.
    """

    files: Annotated[
        tuple[Path, ...],
        tyro.conf.Positional,
        tyro.conf.arg(help_behavior_hint="(at least one file)"),
    ]
    dark: Annotated[
        Path | None, default("read noise from --flat, or from the residuals of the fit")
    ] = None
    flat: Annotated[tuple[Path, ...], default("gain from the residuals of the fit")] = ()
    elongated: bool = False
    measured_psf: bool = False
    psf_grid: Annotated[tuple[int, int] | None, default("one PSF")] = None
    size: Annotated[
        tuple[int, int] | None, default("the size of the given images, 11 11 for whole frames")
    ] = None
    out: Path = Path("sensor.toml")
    psf_fits: OutputPath = None
    json: OutputPath = None
    input: Input = InputOptions()

    def run(self) -> None:
        """Measures the sensor, prints a table and writes the files."""
        from distax.calibration import calibrate
        from distax.io.frames import find_files
        from distax.io.psf_grid_file import write_psf_grid
        from distax.io.sensor_file import write_sensor
        from distax.runtime.files import check_outputs
        from distax.runtime.plain_json import write_json

        if not self.files:
            raise DistaxError("no image files given; name at least one file or folder")
        files = find_files(self.files)
        even = find_files([*self.flat, *filter(None, [self.dark])])
        inputs = (*files, *even, self.input.mask)
        outputs = {"--out": self.out, "--psf-fits": self.psf_fits, "--json": self.json}
        check_outputs(outputs, inputs)
        if self.psf_fits and not self.psf_grid:
            raise DistaxError("--psf-fits writes the PSF's grid: give --psf-grid as well")
        with self._files_named():
            result = calibrate(
                read_sequence(files, self.input),
                None if self.dark is None else read_sequence([self.dark], self.input),
                [read_sequence([path], self.input) for path in self.flat],
                self.elongated,
                self.measured_psf,
                self.size,
                self.psf_grid,
            )
        _print_result(result)
        write_sensor(
            self.out, result.sensor, {k: _comment(q) for k, q in result.quantities.items()}
        )
        if self.psf_fits and result.sensor.psf_grid:
            write_psf_grid(self.psf_fits, result.sensor.psf_grid)
        if self.json:
            write_json(self.json, result.to_dict())
        say(f"{self.out}: the sensor")

    @contextmanager
    def _files_named(self) -> Iterator[None]:
        """Names the files of an array by which `calibrate` begins an error."""
        given = {"images": self.files, "dark": (self.dark,), "flats": self.flat}
        try:
            yield
        except DistaxError as error:
            array, _, problem = str(error).partition(": ")
            if array not in given:
                raise
            names = ", ".join(map(str, given[array]))
            raise DistaxError(f"{names}: {problem}") from None


def _print_nodes(nodes: "Sequence[Node]") -> None:
    """Prints the widths at each node of a grid of PSFs."""
    from rich.table import Table

    from distax.cli.console import wide_console

    table = Table("node", "sigma over rows", "±", "sigma over columns", "±", "sources")
    for node in nodes:
        (row, column), (row_std, column_std) = node.sigma, node.std
        table.add_row(
            f"({node.row:.0f}, {node.column:.0f})",
            *(f"{row:.4f}", f"{row_std:.2g}", f"{column:.4f}", f"{column_std:.2g}"),
            str(node.sources),
        )
    wide_console().print(table)


def _print_result(result: "Calibration") -> None:
    """Prints each quantity with its error and source, and the quality of the fit."""
    from rich.table import Table

    from distax.cli.console import wide_console

    table = Table("", "value", "±", "from")
    for name, quantity in result.quantities.items():
        table.add_row(name, _format(quantity.value), _format(quantity.std, "2g"), quantity.source)
    wide_console().print(table)
    if result.nodes:
        _print_nodes(result.nodes)
    excess, std = result.elongation
    from_residuals = any(q.source == "residuals of the fit" for q in result.quantities.values())
    meaning = (
        "always about 1: the noise comes from the residuals"
        if from_residuals
        else "about 1 if the PSF fits"
    )
    print(
        f"{result.used} isolated sources used, {result.rejected} not explained by one PSF, "
        f"{result.crowded} with neighbours left out"
    )
    print(
        f"misfit {result.misfit:.3f} ({meaning}), elongation {100 * excess:+.2f}% "
        f"± {100 * std:.2f}% (width over rows beyond width over columns)"
    )


def _comment(quantity: "Quantity") -> str:
    spread = "" if quantity.std is None else f"± {_format(quantity.std, '2g')}, "
    return spread + quantity.source


def _format(
    value: "int | float | tuple[float, float] | MeasuredPsf | PsfGrid | None", style: str = "5g"
) -> str:
    from distax.imaging.psf import MeasuredPsf
    from distax.imaging.psf_grid import PsfGrid

    if value is None:
        return "–"
    if isinstance(value, MeasuredPsf | PsfGrid):
        return str(value)
    values = value if isinstance(value, tuple) else (value,)
    return ", ".join(f"{each:.{style}}" for each in values)
