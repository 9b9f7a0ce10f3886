"""`distax evaluate`: scores an estimator on simulated images, a dataset or frames."""

from contextlib import AbstractContextManager
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

from distax.cli.options import (
    Checkpoint,
    FrameOptions,
    Method,
    ModelModule,
    OutputPath,
    Threshold,
    default,
    make_unmixer,
    register_models,
)
from distax.runtime.errors import DistaxError, check_positive, check_seed
from distax.runtime.processes import Cluster, sharing
from distax.training.config import MotionConfig

if TYPE_CHECKING:
    from distax.evaluation import Evaluation
    from distax.evaluation.devices import Rows
    from distax.imaging.scenes import ScenePrior
    from distax.imaging.sensor import Sensor
    from distax.unmixer import Unmixer

_IMAGES = 10_000
"""Default number of images. It is the size of CSIST-100K's test split."""
_ONLY_IMAGES = ("dataset", "figure", "images", "sensor", "threshold", "distributed")
"""Options that the evaluation of frames does not use."""
_NOT_FOR_SEQUENCES = ("frames", "images", "figure")
"""Options that the evaluation of sequences does not use."""
_ONLY_SEQUENCES = ("sequences", "linked", "published_rates", "motion")
"""Options of `--protocol seqcsist`."""


@dataclass(frozen=True)
class Evaluate:
    """Score an estimator by CSO-mAP, number of targets, position errors and calibration.

    Position errors are compared with their Cramér–Rao bound.

    Attributes:
      method: Method to score: fast (a network), refine (least squares), posterior
        (sampling) or grid (the model of --checkpoint).
      sensor: TOML file of the sensor whose scenes are simulated, as `calibrate` writes it.
      dataset: Dataset on disk to score on, such as simulated or released; of SeqCSIST under
        --protocol seqcsist, otherwise of CSIST-100K.
      data_dir: Folder in which the dataset was built.
      split: Split of the dataset.
      images: Largest number of images to score on.
      frames: Number of simulated frames of 640×512 pixels to score on instead of images. Frames are
        unmixed by refine unless --method names fast or posterior.
      protocol: seqcsist scores on sequences of moving targets, with the published threshold of 70
        counts, frames 3 to 18 of 20, detection and false rates, and CSO-mAP by frame. Single-frame
        methods unmix every frame by itself.
      sequences: Largest number of sequences to score on under --protocol seqcsist.
      linked: Under --protocol seqcsist, link the targets of all frames and estimate them together.
      published_rates: Compare answers with the truth of two frames earlier in the detection and
        false rates, as the published code does by mistake.
      motion: Motion of simulated sequences.
      seed: Seed of the simulated scenes.
      distributed: Share the images with other processes, each started by the same command. The
        first prints the result and writes the files.
      json: Write the result to this JSON file.
      latex: Print the main scores as one row of a LaTeX table as well, below a comment with its
        columns.
      figure: Draw position errors beside their bound to this file (PNG, PDF or SVG), with the
        calibration of methods that state uncertainties.
    """

    method: Annotated[
        Method | None,
        default(
            "the method of --checkpoint; without one, fast for every sensor in its range and "
            "posterior for others"
        ),
    ] = None
    checkpoint: Checkpoint = None
    module: ModelModule = None
    sensor: Annotated[Path | None, default("the checkpoint's, or CSIST-100K's sensor")] = None
    dataset: Annotated[str | None, default("newly simulated scenes")] = None
    data_dir: Path = Path("data")
    split: Literal["train", "validation", "test"] = "test"
    images: Annotated[int | None, default("10,000")] = None
    frames: Annotated[int | None, default("score on images")] = None
    protocol: Literal["csist100k", "seqcsist"] = "csist100k"
    sequences: Annotated[int | None, default("750")] = None
    linked: bool = False
    published_rates: bool = False
    motion: MotionConfig = MotionConfig()
    seed: int = 1
    threshold: Threshold = None
    distributed: bool = False
    cluster: Cluster = Cluster()
    json: OutputPath = None
    latex: bool = False
    figure: OutputPath = None

    def run(self) -> None:
        """Scores the estimator, prints the tables and writes the files."""
        from distax.runtime.files import check_outputs
        from distax.viz.figures import check_figure_path

        check_seed(self.seed)
        outputs = {"--json": self.json, "--figure": self.figure}
        check_outputs(outputs, (self.sensor, self.checkpoint, self.module))
        work = sharing(self.distributed, self.cluster)
        if self.protocol == "seqcsist":
            return self._score_sequences(work)
        for option in _ONLY_SEQUENCES:
            if getattr(self, option) not in (None, False, MotionConfig()):
                raise DistaxError(
                    f"--{option.replace('_', '-')} is for sequences; add --protocol seqcsist, or "
                    "leave it out"
                )
        if self.frames is not None:
            return self._score_frames(self.frames)
        if self.images is not None:
            check_positive(images=self.images)
        if self.figure:
            check_figure_path(self.figure)
        if self.dataset and self.sensor:
            raise DistaxError(
                f"dataset {self.dataset} was taken by CSIST-100K's sensor; give --dataset or "
                "--sensor, not both"
            )
        with work:
            register_models(self.module)
            self._score_images()

    def _score_sequences(self, work: AbstractContextManager[None]) -> None:
        from distax.cli.evaluate_sequences import SequenceOptions, score_sequences

        for option in _NOT_FOR_SEQUENCES:
            if getattr(self, option) is not None:
                raise DistaxError(
                    f"--{option} has no effect on --protocol seqcsist; leave one of the two out"
                )
        names = [field.name for field in fields(SequenceOptions)]
        with work:
            register_models(self.module)
            score_sequences(SequenceOptions(**{name: getattr(self, name) for name in names}))

    def _score_images(self) -> None:
        import jax

        from distax.cli.scoring import score

        unmixer = make_unmixer(self.method, self.checkpoint, self.threshold, self.sensor)
        result = score(unmixer, self._open_images(unmixer.sensor, unmixer.prior))
        if jax.process_index() == 0:
            self._report(unmixer, result)

    def _report(self, unmixer: "Unmixer", result: "Evaluation") -> None:
        """Prints the tables and writes the files."""
        from distax.cli.console import (
            print_by_count,
            print_evaluation,
            print_rates,
            print_reliability,
        )
        from distax.evaluation.tables import latex_row
        from distax.runtime.plain_json import write_json
        from distax.viz.figures import draw_evaluation

        name = str(self.checkpoint or unmixer.method)
        print_evaluation(result, name=name)
        print_by_count(result)
        print_rates(result)
        print_reliability(result)
        if self.latex:
            print(latex_row(result, name))
        if self.json:
            assumed_prior = unmixer.assumed_prior
            about = {
                "method": unmixer.method,
                "checkpoint": self.checkpoint,
                "sensor": asdict(unmixer.sensor),
                "prior": assumed_prior and asdict(assumed_prior),
                "data": self.dataset and f"{self.dataset}/{self.split}",
                "seed": None if self.dataset else self.seed,
                "threshold": unmixer.threshold,
            }
            write_json(self.json, about | result.to_dict())
        if self.figure:
            draw_evaluation(self.figure, result)

    def _score_frames(self, frames: int) -> None:
        import jax

        from distax.cli.console import print_frame_evaluation
        from distax.evaluation.tables import latex_row
        from distax.frames.scoring import assess_frames
        from distax.frames.simulation import simulate_frame
        from distax.runtime.plain_json import write_json
        from distax.runtime.progress import PatientBar

        check_positive(frames=frames)
        for option in _ONLY_IMAGES:
            if getattr(self, option) not in (None, False):
                raise DistaxError(
                    f"--{option} is for images and has no effect on --frames; leave one of the two "
                    "out"
                )
        unmixer = FrameOptions().make_unmixer(self.method, self.checkpoint)
        found, truth = [], []
        with PatientBar("frame", frames) as progress:
            for key in jax.random.split(jax.random.key(self.seed), frames):
                pixels, true = simulate_frame(key)
                found.append(unmixer(pixels))
                truth.append(true)
                progress.update(len(found))
        result = assess_frames(found, truth)
        print_frame_evaluation(result, unmixer.estimator.name)
        if self.latex:
            print(latex_row(result, unmixer.estimator.name))
        if self.json:
            about = {
                "method": unmixer.estimator.name,
                "sensor": asdict(unmixer.sensor),
                "prior": asdict(unmixer.prior),
                "seed": self.seed,
            }
            write_json(self.json, about | result.to_dict())

    def _open_images(self, sensor: "Sensor", prior: "ScenePrior") -> "Rows":
        """Returns the images to score on, with their true targets."""
        import jax
        import numpy as np

        from distax.evaluation.devices import HeldRows
        from distax.imaging.scenes import simulate
        from distax.imaging.sensor import Sensor

        count = _IMAGES if self.images is None else self.images
        if self.dataset is None:
            scenes = simulate(jax.random.key(self.seed), count, sensor, prior)
            return HeldRows(jax.tree.map(np.asarray, scenes))
        if sensor != Sensor():
            raise DistaxError(
                f"dataset {self.dataset} was taken by CSIST-100K's sensor, {self.checkpoint} was "
                f"trained for {sensor}; leave --dataset out to score on simulated scenes of that "
                "sensor"
            )
        from distax.cli.scoring import DatasetRows
        from distax.datasets import csist100k

        source = csist100k.open_split(self.dataset, self.split, self.data_dir)
        return DatasetRows(source, min(count, len(source)))
