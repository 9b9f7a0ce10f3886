"""Trackers: TensorBoard, JSON lines and Weights & Biases, behind one protocol."""

import math
import os
import socket
import time
import uuid
from collections.abc import Callable, Iterable, Mapping
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol, runtime_checkable

from distax.runtime.errors import DistaxError, first_line, naming_what_fails
from distax.runtime.files import GrowingFiles, write_text
from distax.runtime.optional import require
from distax.runtime.plain_json import format_json, parse_table, write_json

if TYPE_CHECKING:
    from distax.training.config import TrackerName


@runtime_checkable
class Tracker(Protocol):
    """A place that keeps a run's configuration and figures.

    Only the first process of a run calls its tracker, from one thread.
    """

    def describe(self, config: Mapping[str, Any]) -> None:
        """Takes the run's configuration, once and before all figures.

        Args:
          config: nested plain values, as `TrainConfig.to_dict` gives them.
        """

    def log(self, step: int, figures: Mapping[str, float]) -> None:
        """Takes figures under their names after a step, counted from 1."""

    def flush(self) -> None:
        """Stores what was logged. It is called before each checkpoint and at least once a minute.

        A run that resumes from the checkpoint then has all figures up to it.
        """

    def close(self) -> None:
        """Stores what was logged and ends, also after an error of the run."""


def open_trackers(names: Iterable["TrackerName"], run: Path, start: int) -> list[Tracker]:
    """Opens the trackers of a run that keep its figures in the run's folder.

    Args:
      names: names of the trackers.
      run: the run's folder, on disk or in a bucket. Records of an earlier part of the run are
        continued.
      start: steps already done. Figures of later steps are dropped, because they come again.

    Raises:
      DistaxError: a package is not installed, or the folder cannot be written.
    """
    makers: dict[TrackerName, Callable[[Path, int], Tracker]] = {
        "jsonl": JsonLines,
        "tensorboard": TensorBoard,
        "wandb": WeightsAndBiases,
    }
    opened: list[Tracker] = []
    with ExitStack() as unless_all_open:
        for name in dict.fromkeys(names):
            tracker = makers[name](run, start)
            unless_all_open.callback(tracker.close)
            opened.append(tracker)
        unless_all_open.pop_all()
    return opened


class JsonLines:
    """Writes each step's figures as a line of `metrics.jsonl`, and `config.json`.

    Args:
      run, start: as for `open_trackers`.
    """

    def __init__(self, run: Path, start: int):
        name = "metrics.jsonl"
        self._files = GrowingFiles(run, known=[name])
        self._path = self._files.local / name
        with naming_what_fails(self._path):
            _drop_lines_after(start, self._path)
            self._lines = self._path.open("a", encoding="utf-8")

    def describe(self, config: Mapping[str, Any]) -> None:
        """Writes the configuration as JSON."""
        write_json(self._files.local / "config.json", config)

    def log(self, step: int, figures: Mapping[str, float]) -> None:
        """Appends a line, at once; a figure that is not finite is null in it."""
        known = {name: x if math.isfinite(x) else None for name, x in figures.items()}
        with naming_what_fails(self._path):
            self._lines.write(format_json(self._path, {"step": step, **known}) + "\n")
            self._lines.flush()

    def flush(self) -> None:
        """Uploads the lines of a run in a bucket."""
        self._files.upload()

    def close(self) -> None:
        """Uploads the lines, and closes the file."""
        with naming_what_fails(self._path):
            self._lines.close()
        self._files.close()


def _drop_lines_after(step: int, log: Path) -> None:
    """Removes lines about later steps: a run that crashed after its checkpoint repeats them."""
    if log.exists():
        lines = log.read_bytes().splitlines(keepends=True)
        kept = [line.decode() for line in lines if _is_up_to(step, line)]
        write_text(log, "".join(kept))


def _is_up_to(step: int, line: bytes) -> bool:
    """Returns True if a line is complete and not about a later step; a crash may cut a line."""
    try:
        return bool(parse_table(line)["step"] <= step)
    except (ValueError, KeyError, TypeError):
        return False


class TensorBoard:
    """Writes event files to the run's folder `tensorboard`.

    A run that resumes begins a new file, which tells TensorBoard to drop later steps of the others.

    Args:
      run, start: as for `open_trackers`.
    """

    def __init__(self, run: Path, start: int):
        require("tensorboardX", "TensorBoard event files")
        from tensorboardX.proto.event_pb2 import SessionLog
        from tensorboardX.record_writer import RecordWriter

        self._files = GrowingFiles(run / "tensorboard")
        # The usual names differ only by the second in which the file is made.
        unique = f"{time.time():.0f}.{socket.gethostname()}.{uuid.uuid4().hex[:8]}"
        self._path = self._files.local / f"events.out.tfevents.{unique}"
        with naming_what_fails(self._path):
            # tensorboardX's SummaryWriter keeps events in a queue, which its `flush` leaves there,
            # and both it and its EventsWriter leave the file open if the disk is full.
            self._records = RecordWriter(str(self._path))
        self._write(0, file_version="brain.Event:2")
        self._write(start + 1, session_log=SessionLog(status=SessionLog.START))

    def _write(self, step: int, **content: Any) -> None:
        from tensorboardX.proto.event_pb2 import Event

        event = Event(wall_time=time.time(), step=step, **content)
        with naming_what_fails(self._path):
            self._records.write(event.SerializeToString())

    def describe(self, config: Mapping[str, Any]) -> None:
        """Writes the configuration as a text, which TensorBoard shows as Markdown."""
        from tensorboardX.summary import text

        shown = format_json("config", config, indent=2)
        self._write(0, summary=text("config", f"```json\n{shown}\n```"))

    def log(self, step: int, figures: Mapping[str, float]) -> None:
        """Writes a scalar for each figure."""
        from tensorboardX.summary import scalar

        for name, value in figures.items():
            self._write(step, summary=scalar(name, value))

    def flush(self) -> None:
        """Writes the file, and uploads that of a run in a bucket."""
        with naming_what_fails(self._path):
            self._records.flush()
        self._files.upload()

    def close(self) -> None:
        """Writes and closes the file."""
        with naming_what_fails(self._path):
            self._records.close()
        self._files.close()


class WeightsAndBiases:
    """Sends figures to Weights & Biases, under the name of the run's folder.

    W&B reads its environment variables, such as WANDB_PROJECT (default: distax) and WANDB_MODE. In
    the mode offline, the files are in the run's folder `wandb`, and `wandb sync` sends them. A
    resumed run continues the same run at W&B; the file `id` in that folder identifies it. W&B keeps
    the figures that it has, and ignores figures that are sent again.

    Args:
      run, start: as for `open_trackers`.
    """

    def __init__(self, run: Path, start: int):
        require("wandb", "Weights & Biases")
        import wandb

        # W&B writes into a folder `wandb` of the one it is given.
        self._files = GrowingFiles(run, known=["wandb/id"])
        try:
            self._run = wandb.init(
                project=os.environ.get("WANDB_PROJECT", "distax"),
                name=run.name,
                id=self._identity(new=start == 0),
                resume="allow",
                dir=str(self._files.local),
                # The lines of the log are those that the run prints.
                settings=wandb.Settings(console="off", quiet=True),
            )
        # W&B raises exceptions of many types: no key, no network, no permission.
        except Exception as error:
            raise DistaxError(
                f"{run}: W&B cannot be started ({first_line(error)}); run `wandb login`, or set "
                "WANDB_MODE=offline"
            ) from error

    def _identity(self, new: bool) -> str:
        """Reads the identity of the run at W&B, or makes one and writes it."""
        path = self._files.local / "wandb" / "id"
        if new or not path.is_file():
            write_text(path, uuid.uuid4().hex)
        return path.read_text(encoding="utf-8")

    def describe(self, config: Mapping[str, Any]) -> None:
        """Sends the configuration."""
        self._run.config.update(dict(config), allow_val_change=True)

    def log(self, step: int, figures: Mapping[str, float]) -> None:
        """Sends figures of a step, which W&B shows over `step`."""
        self._run.log(dict(figures), step=step)

    def flush(self) -> None:
        """Uploads the files of a run in a bucket; W&B itself sends figures as they come."""
        self._files.upload()

    def close(self) -> None:
        """Waits until all is sent or written, and ends the run at W&B."""
        import wandb

        self._run.finish()
        # W&B's own process may write the end of its file after that. What is in a bucket cannot
        # grow, so wait for the process to end. A caller with another run at W&B still needs it.
        if self._files.copies and wandb.run is None:
            wandb.teardown()
        self._files.close()
