"""`distax unmix`: the targets in image files."""

import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import tyro

from distax.cli.choosing import Method
from distax.cli.options import FrameOptions
from distax.cli.prior_options import PriorOptions
from distax.runtime.errors import DistaxError, Terminated

if TYPE_CHECKING:
    from distax.cli.unmix.record import Record
    from distax.cli.unmix.runner import Unmixing

_NAMED = 3
"""Missing files that are named."""


@dataclass(frozen=True)
class Unmix:
    """Find the targets in images of the sensor's size, or in whole frames, and print a table."""

    files: Annotated[tuple[Path, ...], tyro.conf.Positional]
    """FITS, PNG, TIFF or NPY files of raw counts; TIFF pages and the first axis of NPY are images.
    One of the sensor's size (11×11 px) is unmixed as it is, any other is a frame."""
    method: Method | None = None
    """How: fast, a network's one pass, without anything else said; posterior, expected hits
    maximised by sampling, a dozen images a second on two CPU cores; refine, the best least-squares
    fit, which frames take without anything else said; grid, the model of --checkpoint."""
    checkpoint: str | None = None
    """What to use: folder of a run of `train` or `quickstart`, a .safetensors file, weights that
    come with distax, or a solver such as fista."""
    sensor: Path | None = None
    """TOML file with the sensor whose images or frames they are, as `calibrate` writes it;
    CSIST-100K's without one. For images of another sensor posterior is used unless something else
    is said."""
    threshold: float | None = None
    """Counts a grid node needs to be reported; those it was trained with (50, unless said) without
    this."""
    json: Path | None = None
    """Write the targets to this JSON file, with what --resume needs to go on."""
    csv: Path | None = None
    """Write the targets to this CSV file."""
    table: Path | None = None
    """Write the targets to this table with units, for astropy and its like (.ecsv or .fits)."""
    residual: Path | None = None
    """Write what a frame holds besides its background and these targets (.fits or .npy); NaN where
    pixels are bad, and below zero where they are saturated."""
    report: Path | None = None
    """Write an HTML page with pictures and a table that can be sorted and searched."""
    figure: Path | None = None
    """Draw the first images or frames with their targets to this file (PNG, PDF or SVG)."""
    resume: bool = False
    """Go on with a run that was stopped: answers in the --json file are kept, and files that have
    none or failed are unmixed. Files are told by their names."""
    prior: PriorOptions = PriorOptions()
    """What is known of the targets; for images of the sensor's size posterior is used then, unless
    something else is said."""
    frame: FrameOptions = FrameOptions()
    """The camera of frames, and how blobs are found."""

    def run(self) -> None:
        """Unmix every file that can be read; name those that cannot and fail at the end.

        Raises:
          DistaxError: options that do not go together, or some files could not be unmixed or
            written.
          KeyboardInterrupt, Terminated: stopped; what was found until then is written.
        """
        from distax.runtime.progress import PatientBar
        from distax.runtime.signals import sigterm

        work = self._work()
        try:
            with sigterm() as asked_to_stop, PatientBar("file", len(work.files)) as progress:
                work.run(asked_to_stop, progress)
        except (KeyboardInterrupt, Terminated) as stop:
            self._write(work)
            raise type(stop)(self._stopped(work.record())) from None
        unwritten = self._write(work)
        problems = []
        if work.failed:
            problems.append(f"{len(work.failed)} of {len(work.files)} files could not be unmixed")
        if unwritten:
            problems.append(f"{unwritten} of the files asked for could not be written")
        if problems:
            raise DistaxError("; ".join(problems))

    def _work(self) -> "Unmixing":
        """What is to be done, and what is done already."""
        from distax.cli.unmix.estimators import Estimators
        from distax.cli.unmix.pictures import Pictures
        from distax.cli.unmix.record import read_record
        from distax.cli.unmix.runner import Unmixing

        estimators = Estimators(
            *(self.method, self.checkpoint, self.sensor, self.threshold, self.prior, self.frame)
        )
        work = Unmixing(
            estimators=estimators,
            pictures=Pictures(figure=self.figure, report=self.report),
            residual=self.residual,
            files=dict.fromkeys(self.files, "unfinished"),
        )
        if self.resume:
            if self.json is None:
                raise DistaxError("--resume goes on after the answers of a --json file: name it")
            work.go_on_after(read_record(self.json, estimators.options()))
        self._check(tuple(work.files))
        return work

    def _check(self, files: tuple[Path, ...]) -> None:
        """Refuse what cannot be written before anything is unmixed."""
        from distax.cli.unmix.tables import check_table_path
        from distax.io.writing import check_image_path
        from distax.viz.figures import check_figure_path

        if not files:
            raise DistaxError("no image files given; name at least one FITS, PNG, TIFF or NPY file")
        for path in files:
            _check_name(path)
        if self.table:
            check_table_path(self.table)
        if self.figure:
            check_figure_path(self.figure)
        if self.residual:
            check_image_path(self.residual)
            if len(files) > 1:
                raise DistaxError(
                    f"{self.residual}: the residual is one frame's; unmix the {len(files)} files "
                    "by as many commands"
                )

    def _write(self, work: "Unmixing") -> int:
        """Write and print what was found; name what cannot be written, and count it."""
        import numpy as np

        from distax.cli.unmix.answers import Answer, print_table
        from distax.unmixer import warn_of_misfits

        record, unwritten = work.record(), 0
        for write in self._outputs(work, record):
            try:
                write()
            except DistaxError as error:
                print(f"distax: {error}", file=sys.stderr)
                unwritten += 1
        misfits = [answer.misfit for answer in record.images if isinstance(answer, Answer)]
        warn_of_misfits(np.array([misfit for misfit in misfits if misfit is not None]))
        if record.images:
            print_table(record.images)
        return unwritten

    def _outputs(self, work: "Unmixing", record: "Record") -> Iterator[Callable[[], None]]:
        """What writes each of the files asked for."""
        from distax.cli.unmix.answers import to_csv
        from distax.cli.unmix.tables import Means, write_table
        from distax.runtime.files import write_text

        answers = record.images
        if self.json:
            yield partial(record.write, self.json)
        if self.csv:
            yield partial(write_text, self.csv, to_csv(answers))
        if self.table:
            header = Means.header(map(work.estimators.means, answers))
            yield partial(write_table, self.table, answers, header)
        if self.report:
            yield partial(work.pictures.write_report, answers, work.estimators)
        if self.figure:
            yield partial(work.pictures.draw, work.estimators)

    def _stopped(self, record: "Record") -> str:
        """How far it came, and how to go on."""
        missing = [file for file, state in record.files.items() if state != "finished"]
        done = f"{len(record.files) - len(missing)} of {len(record.files)} files are finished"
        named = ", ".join(missing[:_NAMED])
        rest = f" and {len(missing) - _NAMED} more" if len(missing) > _NAMED else ""
        left = f"; missing: {named}{rest}" if missing else ""
        how = "go on by the same command with --resume"
        if self.json is None:
            how = "name a --json file another time, and --resume can go on"
        return f"stopped: {done}{left}; {how}"


def _check_name(path: Path) -> None:
    """Refuse a name that no output could tell of, for those are UTF-8."""
    try:
        str(path).encode()
    except UnicodeEncodeError:
        raise DistaxError(
            f"{path}: the name is not UTF-8, as outputs are; rename the file"
        ) from None
