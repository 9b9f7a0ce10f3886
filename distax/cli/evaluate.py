"""`distax evaluate`: score a checkpoint."""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from distax.errors import check_positive


@dataclass(frozen=True)
class Evaluate:
    """Score a trained model: CSO-mAP, PSNR, SSIM, counts and positions."""

    checkpoint: Path = Path("runs/quickstart")
    """Folder of a run of `train` or `quickstart`."""
    dataset: str | None = None
    """A CSIST-100K built on disk, such as simulated or released; without it new scenes."""
    data_dir: Path = Path("data")
    """Folder the dataset was built in."""
    split: Literal["train", "validation", "test"] = "test"
    """Which split of the dataset."""
    images: int = 10_000
    """How many images at most."""
    seed: int = 1
    """Seed of the simulated scenes."""
    threshold: float = 50.0
    """Counts a grid node needs to become a detection."""
    json: Path | None = None
    """Write the result to this file."""

    def run(self) -> None:
        """Evaluate, print the table and write the JSON."""
        import jax

        from distax.cli.report import print_evaluation
        from distax.evaluation import evaluate
        from distax.files import write_text
        from distax.scenes import simulate
        from distax.training.checkpoints import load_model

        check_positive(images=self.images)
        model, config = load_model(self.checkpoint)
        if self.dataset is None:
            key = jax.random.key(self.seed)
            images, truth = simulate(key, self.images, config.sensor, config.law)
        else:
            from distax.datasets import csist100k

            source = csist100k.open_split(self.dataset, self.split, self.data_dir)
            images, truth = jax.tree.map(
                lambda leaf: leaf[: self.images], csist100k.read_split(source)
            )
        result = evaluate(model, images, truth, config.sensor, self.threshold)
        print_evaluation(result)
        if self.json:
            about = {
                "checkpoint": str(self.checkpoint),
                "data": self.dataset and f"{self.dataset}/{self.split}",
                "seed": None if self.dataset else self.seed,
                "threshold": self.threshold,
            }
            write_text(self.json, json.dumps(about | result.to_dict(), indent=2) + "\n")
