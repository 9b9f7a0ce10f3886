"""`distax unmix`: finds the targets in image files and writes them."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import tyro

from distax.cli.options import (
    Checkpoint,
    FrameOptions,
    Input,
    InputOptions,
    Method,
    ModelModule,
    OptionError,
    OutputPath,
    PriorOptions,
    Threshold,
    default,
    register_models,
)
from distax.runtime.errors import DistaxError, Terminated
from distax.runtime.optional import require
from distax.runtime.processes import Cluster, sharing
from distax.runtime.terminal import tell

if TYPE_CHECKING:
    from distax.cli.unmix.answers import Record
    from distax.cli.unmix.runner import Runner, Unmixers

_MAX_NAMED = 3
"""Number of unfinished files that the message of a stopped run names before it counts the rest."""
_OUTPUTS = ("json", "csv", "table", "residual", "report", "figure")
"""Options that name the files of a run over files."""
_ONLY_FILES = (*_OUTPUTS, "resume", "fit_sensor")
"""Options that have no effect on a run over shards."""


@dataclass(frozen=True)
class Unmix:
    """Find the targets in images of the sensor's size or in whole frames, and print a table.

    Attributes:
      files: Files of raw counts (FITS, PNG, TIFF, BMP, JPEG, NPY or NPZ), folders of such files, or
        patterns. Each TIFF page, each plane of a FITS cube, and each entry along the first axis of
        an array is one image. With --output: shards of many images, their folders, or patterns such
        as 'images/*.npy'. Images of the sensor's size (11×11 px by default) are unmixed directly.
        An image of any other size is a frame, in which blobs are detected first.
      method: Method to use: fast (a network), posterior (sampling; about a dozen images per second
        on two CPU cores), refine (least squares) or grid (the model of --checkpoint). Frames take
        fast, refine or posterior.
      sensor: TOML file of the sensor that took the images or frames, as `calibrate` writes it.
      fit_sensor: Fit the sensor to the images first, starting from --sensor, unmix them with the
        fitted one, and write it to this TOML file, which --sensor reads. All images must have the
        sensor's size; `calibrate` measures a sensor from frames.
      json: Write the targets to this JSON file, which --resume reads.
      csv: Write the targets to this CSV file.
      table: Write a table with units (.ecsv or .fits) for astropy and similar tools to this file.
      residual: Write the frame minus its background and its targets to this file (.fits or .npy).
        Bad pixels are NaN, and saturated pixels are below zero. For one frame only.
      report: Write an HTML page with pictures to zoom into and a table to sort and search.
      figure: Draw the first images or frames with their targets to this file (PNG, PDF or SVG).
      resume: Resume a run that was stopped. Answers in the --json file are kept; files without
        answers, files that failed and files whose content has changed are unmixed. Files are
        matched by their names.
      output: Write the answers to shards of images of the sensor's size to this folder, a file for
        each shard, and print no table. A shard is an .npy file or an .array_record file as
        `build-dataset` writes it. The same command resumes a run that was stopped.
      format: Format of the files in --output.
      distributed: Share the shards of --output with other processes, each started by the same
        command.
      prior: Number, spacing and intensity of the targets, as far as they are known.
      frame: Camera of the frames, unless --sensor gives it, and settings of the blob detection.
      input: Parts of the files that are read.
    """

    files: Annotated[
        tuple[Path, ...],
        tyro.conf.Positional,
        tyro.conf.arg(help_behavior_hint="(at least one file, or --resume)"),
    ]
    method: Annotated[
        Method | None,
        default(
            "the method of --checkpoint; without one, fast for every sensor and prior in its "
            "range, and beyond it posterior for images and refine for frames"
        ),
    ] = None
    checkpoint: Checkpoint = None
    module: ModelModule = None
    sensor: Annotated[Path | None, default("the checkpoint's, or CSIST-100K's sensor")] = None
    threshold: Threshold = None
    fit_sensor: OutputPath = None
    json: OutputPath = None
    csv: OutputPath = None
    table: OutputPath = None
    residual: OutputPath = None
    report: OutputPath = None
    figure: OutputPath = None
    resume: bool = False
    output: OutputPath = None
    format: Annotated[Literal["parquet", "array_record"] | None, default("parquet")] = None
    distributed: bool = False
    cluster: Cluster = Cluster()
    prior: PriorOptions = PriorOptions()
    frame: FrameOptions = FrameOptions()
    input: Input = InputOptions()

    def run(self) -> None:
        """Unmixes every file that can be read, names the others and fails at the end.

        Raises:
          DistaxError: options that contradict each other, or files that could not be unmixed or
            written.
          KeyboardInterrupt, Terminated: the run was stopped; the answers so far are written.
        """
        from distax.cli.unmix.autosave import Autosave
        from distax.runtime.progress import PatientBar
        from distax.runtime.signals import ending_soon, sigterm

        if self.output:
            return self._unmix_shards(self.output)
        register_models(self.module)
        self._check_needs_output()
        runner = self._make_runner()
        with ending_soon(partial(self._end_at_once, runner)), sigterm() as stop_requested:
            try:
                with PatientBar("file", len(runner.files)) as progress:
                    runner.run(stop_requested, Autosave(partial(self._save, runner)), progress)
            except (KeyboardInterrupt, Terminated) as stop:
                self._write(runner)
                raise type(stop)(self._stop_message(runner.record())) from None
            except OptionError:
                self._write(runner)
                raise
        unwritten = self._write(runner)
        runner.warn_of_unused_options()
        problems = []
        if runner.failed:
            problems.append(
                f"{len(runner.failed)} of {len(runner.files)} files could not be unmixed"
            )
        if unwritten:
            problems.append(f"{unwritten} of the output files could not be written")
        if problems:
            raise DistaxError("; ".join(problems))

    def _save(self, runner: "Runner") -> None:
        """Writes the answers so far to the JSON file, if there is one that can be replaced."""
        from distax.runtime.devices import is_device

        if self.json and not is_device(self.json):
            runner.record().write(self.json)

    def _end_at_once(self, runner: "Runner") -> None:
        """Writes the answers so far, for a process that is about to be ended from outside."""
        self._save(runner)
        tell(self._stop_message(runner.record()))

    def _make_runner(self) -> "Runner":
        """Makes the runner, with the answers of an earlier run if there is one to resume."""
        from distax.cli.unmix.answers import read_record
        from distax.cli.unmix.pictures import Pictures
        from distax.cli.unmix.runner import Runner
        from distax.io.frames import find_files_or_names

        if self.resume and self.fit_sensor:
            raise DistaxError(
                "--resume takes the sensor of the earlier run: leave --fit-sensor out and name its "
                "file by --sensor, or leave --resume out"
            )
        unmixers = self._unmixers()
        runner = Runner(
            unmixers=unmixers,
            pictures=Pictures(figure=self.figure, report=self.report),
            residual=self.residual,
            files=dict.fromkeys(find_files_or_names(self.files), "unfinished"),
        )
        if self.resume:
            if self.json is None:
                raise DistaxError("--resume needs the answers of an earlier run: name its --json")
            runner.resume_from(read_record(self.json, unmixers.options()))
        self._check(tuple(runner.files))
        unmixers.check()
        if self.fit_sensor:
            from distax.cli.unmix.sensor_fit import fit_sensor

            runner.unmixers = fit_sensor(unmixers, tuple(runner.files), self.fit_sensor)
        return runner

    def _unmixers(self) -> "Unmixers":
        from distax.cli.unmix.runner import Unmixers

        return Unmixers(
            *(self.method, self.checkpoint, self.sensor, self.threshold, self.prior, self.frame),
            input=self.input,
        )

    def _unmix_shards(self, output: Path) -> None:
        """Unmixes shards into a folder, alone or as one of several processes."""
        from distax.cli.unmix.sharded import unmix_into

        for name in _ONLY_FILES:
            if getattr(self, name):
                option = name.replace("_", "-")
                raise DistaxError(
                    f"--{option} has no effect on the shards of --output; leave one of the two out"
                )
        if self.frame.given:
            raise DistaxError("the --frame options have no effect on the shards of --output")
        with sharing(self.distributed, self.cluster):
            register_models(self.module)
            unmixer = self._unmixers().for_images
            unmix_into(output, self.files, unmixer, self.format or "parquet")

    def _check_needs_output(self) -> None:
        """Raises DistaxError for options of shards without a folder for their results."""
        given = self.format or self.distributed or self.cluster != Cluster()
        if given:
            raise DistaxError(
                "--format, --distributed and --cluster are for shards: name the folder of their "
                "results by --output"
            )

    def _check(self, files: tuple[Path, ...]) -> None:
        """Raises DistaxError for files and outputs that cannot be used, before any work."""
        from distax.cli.unmix.tables import check_table_path
        from distax.io.writing import check_image_path
        from distax.runtime.files import check_outputs
        from distax.viz.figures import check_figure_path

        if not files:
            raise DistaxError("no image files given; name at least one file or folder")
        outputs = {f"--{name}": getattr(self, name) for name in _OUTPUTS}
        outputs["--fit-sensor"] = self.fit_sensor
        read = self.sensor, self.checkpoint, self.module, self.input.mask
        check_outputs(outputs, (*files, *read))
        if self.table:
            check_table_path(self.table)
        if self.figure:
            check_figure_path(self.figure)
        if self.report:
            require("jinja2", "reports")
        if self.residual:
            check_image_path(self.residual)
            if len(files) > 1:
                raise DistaxError(
                    f"{self.residual}: --residual takes one frame, not {len(files)} files; run the "
                    "command once for each file"
                )

    def _write(self, runner: "Runner") -> int:
        """Writes the outputs and prints the table.

        Returns:
          The number of outputs that could not be written; each is named on standard error.
        """
        import numpy as np

        from distax.cli.unmix.answers import Answer
        from distax.cli.unmix.tables import print_table
        from distax.fitting.misfit import warn_of_misfits

        record, unwritten, tables = runner.record(), 0, []
        for path, write in self._outputs(runner, record):
            try:
                write()
            except DistaxError as error:
                tell(error)
                unwritten += 1
            else:
                tables += [path] if path in (self.csv, self.table, self.json) else []
        misfits = [answer.misfit for answer in record.images if isinstance(answer, Answer)]
        warn_of_misfits(np.array([misfit for misfit in misfits if misfit is not None]))
        if record.images:
            print_table(record.images, tables[-1] if tables else None)
        return unwritten

    def _outputs(
        self, runner: "Runner", record: "Record"
    ) -> Iterator[tuple[Path, Callable[[], None]]]:
        """Yields each requested file with a function that writes it."""
        from distax.cli.unmix.tables import Provenance, to_csv, write_table
        from distax.runtime.files import write_text

        answers, unmixers = record.images, runner.unmixers
        if self.json:
            yield self.json, partial(record.write, self.json)
        if self.csv:
            yield self.csv, partial(write_text, self.csv, to_csv(answers))
        if self.table or self.report:
            header = Provenance.header(map(unmixers.provenance, answers))
        if self.table:
            yield self.table, partial(write_table, self.table, answers, header)
        if self.report:
            write = runner.pictures.write_report
            yield self.report, partial(write, answers, header, unmixers.sensor)
        if self.figure:
            yield self.figure, partial(runner.pictures.draw, unmixers.sensor)

    def _stop_message(self, record: "Record") -> str:
        """Returns the files that are missing, and the way to resume, in one line."""
        missing = [file for file, state in record.files.items() if state != "finished"]
        done = f"{len(record.files) - len(missing)} of {len(record.files)} files are finished"
        named = ", ".join(missing[:_MAX_NAMED])
        rest = f" and {len(missing) - _MAX_NAMED} more" if len(missing) > _MAX_NAMED else ""
        unfinished = f"; missing: {named}{rest}" if missing else ""
        advice = "run the same command with --resume to continue"
        if self.json is None:
            advice = "give a --json file next time, so that --resume can continue"
        return f"stopped: {done}{unfinished}; {advice}"
