"""The part of `distax evaluate` that scores on sequences under SeqCSIST's protocol."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal

import jax
import numpy as np
from jaxtyping import Float
from rich.table import Table
from rich.text import Text

from distax.cli.console import print_evaluation, print_rates, wide_console
from distax.cli.options import Method, make_unmixer
from distax.cli.sequence_models import load_sequence_unmixer
from distax.evaluation import SequenceEvaluation, SequenceProtocol
from distax.evaluation.devices import HeldRows, Rows
from distax.evaluation.results import format_percent
from distax.evaluation.sequences import assess_sequence_rows, evaluate_sequence_rows
from distax.evaluation.tables import latex_row
from distax.fitting.cameras import CLUSTER, outside_of_range
from distax.imaging.motion import SEQCSIST, MotionPrior, simulate
from distax.imaging.sensor import Sensor
from distax.imaging.targets import Targets
from distax.io.sensor_file import read_sensor
from distax.runtime.errors import DistaxError, check_positive
from distax.runtime.plain_json import write_json
from distax.runtime.progress import PatientBar
from distax.runtime.terminal import printable
from distax.tracking import unmix_linked, unmix_sequences
from distax.training.config import MotionConfig
from distax.unmixer import Unmixer

_SEQUENCES = 750
"""Default number of sequences. It is the size of SeqCSIST's test split."""
_LINKED_AT_ONCE = 25
"""Sequences whose paths are fitted in one call. More need more memory."""
PUBLISHED = {
    "DeRefNet, published (released sequences)": (51.55, 1.0, 14.4, 54.9, 90.4, 97.1),
}
"""Published CSO-mAP and AP at the five radii in percent."""


@dataclass(frozen=True)
class SequenceOptions:
    """Options of `distax evaluate` that sequences are scored by; see `cli.evaluate.Evaluate`."""

    method: Method | None
    checkpoint: str | None
    sensor: Path | None
    dataset: str | None
    data_dir: Path
    split: Literal["train", "validation", "test"]
    sequences: int | None
    linked: bool
    published_rates: bool
    motion: MotionConfig
    seed: int
    threshold: float | None
    json: Path | None
    latex: bool


def score_sequences(options: SequenceOptions) -> None:
    """Scores an estimator on sequences, prints the tables and writes the JSON file.

    Raises:
      DistaxError: a number is out of range, or the estimator or the sequences cannot be used.
    """
    if options.sequences is not None:
        check_positive(sequences=options.sequences)
    threshold = SequenceProtocol().threshold if options.threshold is None else options.threshold
    protocol = SequenceProtocol(threshold, shifted_rates=options.published_rates)
    prior = MotionPrior(placement=SEQCSIST.placement, **asdict(options.motion))
    unsuitable = {
        "--method": options.method,
        "--linked": options.linked,
        "--sensor": options.sensor,
    }
    by_model = load_sequence_unmixer(options.checkpoint, threshold, unsuitable)
    if by_model is not None:
        sensor, method = by_model.sensor, "sequence"
        rows = _open(options, sensor, prior)
        with PatientBar("sequence", len(rows)) as progress:
            result = evaluate_sequence_rows(
                by_model.model, rows, sensor, protocol, advance=progress.update
            )
    else:
        unmixer = _make_unmixer(options, prior)
        sensor, method = unmixer.sensor, unmixer.method
        rows = _open(options, sensor, prior)
        with PatientBar("sequence", len(rows)) as progress:
            found = _FoundSequences(unmixer, rows, prior if options.linked else None, progress)
            result = assess_sequence_rows(found, sensor, protocol)
    if jax.process_index() == 0:
        name = str(options.checkpoint or method) + (", linked" if options.linked else "")
        print_sequence_evaluation(result, name)
        if options.latex:
            print(latex_row(result.frames, name))
        if options.json:
            about = {
                "method": method,
                "linked": options.linked,
                "checkpoint": options.checkpoint,
                "sensor": asdict(sensor),
                "motion": None if options.dataset else asdict(prior),
                "data": options.dataset and f"seqcsist/{options.dataset}/{options.split}",
                "seed": None if options.dataset else options.seed,
            }
            write_json(options.json, about | result.to_dict())


def _make_unmixer(options: SequenceOptions, prior: MotionPrior) -> Unmixer:
    given = options.method, options.checkpoint
    if options.checkpoint is None:
        if options.method == "fast":
            _check_fast(options.sensor, prior)
        return make_unmixer(*given, options.threshold, options.sensor, prior.frame_prior)
    unmixer = make_unmixer(*given, options.threshold, options.sensor)
    if unmixer.method == "grid" and options.threshold is None:
        # The protocol's threshold, not that of the model's training.
        return make_unmixer(*given, SequenceProtocol().threshold, options.sensor)
    return unmixer


def _check_fast(sensor_file: Path | None, prior: MotionPrior) -> None:
    """Raises DistaxError if the motion alone takes scenes out of the range of the method fast."""
    sensor = read_sensor(sensor_file) if sensor_file else Sensor()
    of_still, of_moving = prior.placement, prior.frame_prior
    problem = outside_of_range(sensor, of_moving)
    if problem and not outside_of_range(sensor, of_still):
        raise DistaxError(
            f"the method fast cannot take these sequences: the targets of a frame lie anywhere in "
            f"{of_moving.cluster:.2f} px, because the group has moved and drifted apart by then, "
            f"and its network knows at most {CLUSTER[1] * max(sensor.sigmas):.2f} px; choose "
            "refine or posterior, or --checkpoint density, whose network knows still groups"
        )


def _open(options: SequenceOptions, sensor: Sensor, prior: MotionPrior) -> Rows:
    """Returns the sequences to score on, with their true targets."""
    count = _SEQUENCES if options.sequences is None else options.sequences
    if options.dataset is None:
        return HeldRows(
            jax.tree.map(np.asarray, simulate(jax.random.key(options.seed), count, sensor, prior))
        )
    if sensor != Sensor():
        raise DistaxError(
            f"dataset {options.dataset} was taken by SeqCSIST's sensor, {options.checkpoint} was "
            f"trained for {sensor}; leave --dataset out to score on simulated sequences of that "
            "sensor"
        )
    from distax.datasets import seqcsist

    name = options.dataset.removeprefix("seqcsist/")
    source = seqcsist.open_split(name, options.split, options.data_dir)
    return _DatasetSequences(source, min(count, len(source)))


@dataclass(frozen=True)
class _DatasetSequences(Rows):
    """The first sequences of a split of SeqCSIST, with their true targets."""

    source: Sequence[Any]
    count: int

    def __len__(self) -> int:
        return self.count

    def read(
        self, start: int, stop: int
    ) -> tuple[Float[np.ndarray, "N frames height width"], Targets]:
        from distax.datasets import seqcsist

        return seqcsist.read_rows(self.source, start, stop)


@dataclass(frozen=True)
class _FoundSequences(Rows):
    """The targets that an unmixer finds in sequences, with the true ones.

    Attributes:
      unmixer: the unmixer of single frames.
      sequences: the sequences and their true targets.
      prior: motion by which the targets of all frames are linked; None for frames by themselves.
      progress: bar that counts sequences.
    """

    unmixer: Unmixer
    sequences: Rows
    prior: MotionPrior | None
    progress: PatientBar

    def __len__(self) -> int:
        return len(self.sequences)

    def read(self, start: int, stop: int) -> tuple[Targets, Targets]:
        frames, truth = self.sequences.read(start, stop)
        # Single frames are unmixed in one call, so that a warning about them is given once.
        size = len(frames) if self.prior is None else _LINKED_AT_ONCE
        parts = [
            self._find(frames[first : first + size], start + first)
            for first in range(0, len(frames), size)
        ]
        return jax.tree.map(lambda *leaves: np.concatenate(leaves), *parts), truth

    def _find(self, frames: Float[np.ndarray, "N T height width"], before: int) -> Targets:
        """Finds the targets of some sequences; `before` sequences are done already."""
        number, length = frames.shape[:2]

        def advance(done: int) -> None:
            self.progress.update(before + done / length)

        if self.prior is None:
            found = unmix_sequences(self.unmixer, frames, advance)
        else:
            found = unmix_linked(self.unmixer, frames, self.prior, advance)
        self.progress.update(before + number)
        return jax.tree.map(np.asarray, found)


def print_sequence_evaluation(result: SequenceEvaluation, name: str) -> None:
    """Prints scores beside published ones, detection and false rates, and CSO-mAP by frame."""
    print_evaluation(result.frames, PUBLISHED, f"{name}, {result.sequences} sequences")
    table = Table("percent", *(f"within {radius} px" for radius in result.detection_rate))
    for label, rates in {
        "detection rate": result.detection_rate,
        "false rate": result.false_rate,
    }.items():
        table.add_row(Text(printable(label)), *map(format_percent, rates.values()))
    wide_console().print(table)
    print_rates(result.frames)
    by_frame = ", ".join(
        f"{frame}: {format_percent(score)}" for frame, score in result.by_frame.items()
    )
    print(f"CSO-mAP by frame, ranked by own score / %: {by_frame}")
