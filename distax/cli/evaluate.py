"""`distax evaluate`: score a checkpoint."""

import json
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from distax.cli.choosing import Method, chosen_unmixer
from distax.cli.options import FrameOptions
from distax.runtime.errors import DistaxError, check_positive

if TYPE_CHECKING:
    import numpy as np
    from jax import Array

    from distax.evaluation import Evaluation
    from distax.imaging.scenes import ScenePrior
    from distax.imaging.sensor import Sensor
    from distax.imaging.targets import Targets
    from distax.unmixer import Unmixer


@dataclass(frozen=True)
class Evaluate:
    """Score an estimator: CSO-mAP, counts, positions against their bound, calibration."""

    method: Method | None = None
    """What to score: fast, a network's one pass, without anything else said; refine, the best fit;
    posterior; grid, the model of --checkpoint."""
    checkpoint: str | None = None
    """What to score: folder of a run of `train` or `quickstart`, a .safetensors file, weights that
    come with distax, or a solver such as fista."""
    sensor: Path | None = None
    """TOML file with the sensor to simulate the scenes of, as `calibrate` writes it; CSIST-100K's
    without one. For another sensor posterior is scored unless something else is said."""
    dataset: str | None = None
    """A CSIST-100K built on disk, such as simulated or released; without it new scenes."""
    data_dir: Path = Path("data")
    """Folder the dataset was built in."""
    split: Literal["train", "validation", "test"] = "test"
    """Which split of the dataset."""
    images: int = 10_000
    """How many images at most."""
    frames: int | None = None
    """Score on so many simulated frames of 640×512 pixels instead of images, by refine unless
    --method says posterior."""
    seed: int = 1
    """Seed of the simulated scenes."""
    threshold: float | None = None
    """Counts a grid node needs to be reported; those it was trained with (50, unless said) without
    this."""
    json: Path | None = None
    """Write the result to this file."""
    figure: Path | None = None
    """Draw position errors beside their bound, and calibration where it is known, to this file
    (PNG, PDF or SVG)."""

    def run(self) -> None:
        """Evaluate, print the tables, write the JSON and draw the figure."""
        from distax.cli.console import print_by_count, print_evaluation, print_reliability
        from distax.runtime.files import write_text
        from distax.viz.figures import check_figure_path, draw_evaluation

        if self.frames is not None:
            return self._run_frames(self.frames)
        check_positive(images=self.images)
        if self.figure:
            check_figure_path(self.figure)
        if self.dataset and self.sensor:
            raise DistaxError(
                f"dataset {self.dataset} was taken by CSIST-100K's sensor; give --dataset or "
                "--sensor, not both"
            )
        unmixer = chosen_unmixer(self.method, self.checkpoint, self.threshold, self.sensor)
        images, truth = self._data(unmixer.sensor, unmixer.prior)
        result = _result(unmixer, images, truth)
        print_evaluation(result, name=str(self.checkpoint or unmixer.method))
        print_by_count(result)
        print_reliability(result)
        if self.json:
            about = {
                "method": unmixer.method,
                "checkpoint": self.checkpoint,
                "sensor": asdict(unmixer.sensor),
                "data": self.dataset and f"{self.dataset}/{self.split}",
                "seed": None if self.dataset else self.seed,
                "threshold": unmixer.threshold,
            }
            write_text(self.json, json.dumps(about | result.to_dict(), indent=2) + "\n")
        if self.figure:
            draw_evaluation(self.figure, result)

    def _run_frames(self, frames: int) -> None:
        import jax

        from distax.cli.console import print_frame_evaluation
        from distax.frames.scoring import assess_frames
        from distax.frames.simulation import simulate_frame
        from distax.runtime.files import write_text
        from distax.runtime.progress import PatientBar

        check_positive(frames=frames)
        if self.dataset or self.figure or self.sensor:
            raise DistaxError(
                "frames are simulated, by one camera, and not drawn: leave --dataset, --sensor and "
                "--figure out"
            )
        unmixer = FrameOptions().unmixer(self.method, self.checkpoint)
        found, truth = [], []
        with PatientBar("frame", frames) as progress:
            for key in jax.random.split(jax.random.key(self.seed), frames):
                pixels, true = simulate_frame(key)
                found.append(unmixer(pixels))
                truth.append(true)
                progress.update(len(found))
        result = assess_frames(found, truth)
        print_frame_evaluation(result, unmixer.method)
        if self.json:
            about = {"method": unmixer.method, "seed": self.seed}
            write_text(self.json, json.dumps(about | result.to_dict(), indent=2) + "\n")

    def _data(self, sensor: "Sensor", prior: "ScenePrior") -> "tuple[np.ndarray | Array, Targets]":
        """Images to evaluate on, and their targets."""
        import jax

        from distax.imaging.scenes import simulate
        from distax.imaging.sensor import Sensor

        if self.dataset is None:
            return simulate(jax.random.key(self.seed), self.images, sensor, prior)
        if sensor != Sensor():
            raise DistaxError(
                f"dataset {self.dataset} was taken by CSIST-100K's sensor, {self.checkpoint} was "
                f"trained for {sensor}; leave the dataset out, and it is scored on new scenes of "
                "its own sensor"
            )
        from distax.datasets import csist100k

        source = csist100k.open_split(self.dataset, self.split, self.data_dir)
        data: tuple[np.ndarray, Targets] = csist100k.read_split(source)
        return jax.tree.map(lambda leaf: leaf[: self.images], data)


def _result(unmixer: "Unmixer", images: "np.ndarray | Array", truth: "Targets") -> "Evaluation":
    """How it does; a model's grids are judged too."""
    from distax.evaluation import assess, evaluate
    from distax.runtime.progress import PatientBar

    sensor, prior = unmixer.sensor, unmixer.prior
    if unmixer.model is None:
        with PatientBar("image", len(images)) as progress:
            found = unmixer(images, progress.update)
        return assess(found, truth, sensor, prior)
    return evaluate(unmixer.model, images, truth, sensor, unmixer.threshold, prior=prior)
