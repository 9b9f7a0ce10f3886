"""`distax quickstart`: a small DISTA-Net trained, scored and drawn in a few minutes."""

import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from distax.runtime.optional import require
from distax.training.config import ModelConfig, OptimizerConfig, TrainConfig

if TYPE_CHECKING:
    import numpy as np
    from jax import Array

    from distax.imaging.sensor import Sensor
    from distax.imaging.targets import Targets
    from distax.models import Model
    from distax.unmixer import Unmixer

CONFIG = TrainConfig(
    model=ModelConfig(name="dista", factor=3, options={"stages": 3, "channels": 16}),
    optimizer=OptimizerConfig(learning_rate=3e-3, warmup_steps=100, decay="cosine"),
    steps=560,
    log_every=40,
    eval_every=280,
)


@dataclass(frozen=True)
class Quickstart:
    """Train a small DISTA-Net on simulated scenes, score it, draw what it finds.

    Takes less than five minutes on two CPU cores. Leaves a checkpoint for `evaluate` and `unmix`,
    sample images and a figure in its folder. Started again, it goes on where it was. With
    --checkpoint nothing is trained, and it takes less than a minute.
    """

    run_dir: Path | None = None
    """Folder for the checkpoint, the log, the sample images and the figure; runs/quickstart without
    it, or runs/quickstart_dista where --checkpoint says dista."""
    checkpoint: str | None = None
    """Score and draw these instead of training: weights that come with distax, such as dista, or
    what else `evaluate` takes."""
    steps: int = CONFIG.steps
    """Training steps of 64 images."""
    images: int = 10_000
    """Held-out images to score it on."""

    def run(self) -> None:
        """Train, evaluate, draw."""
        # Checked before minutes of training.
        require("PIL", "the quickstart's images")
        require("matplotlib", "the quickstart's figures")
        import jax

        from distax.cli.console import PUBLISHED, print_evaluation
        from distax.evaluation import evaluate
        from distax.imaging.scenes import simulate
        from distax.unmixer import Unmixer

        start = time.perf_counter()
        if self.checkpoint is None:
            self._train()
            print(f"trained in {time.perf_counter() - start:.0f} s; scoring it", flush=True)
        unmixer = Unmixer.load(self.checkpoint or self.folder)
        assert unmixer.model is not None
        images, truth = simulate(jax.random.key(1), self.images, unmixer.sensor, unmixer.prior)
        result = evaluate(unmixer.model, images, truth, unmixer.sensor)
        print_evaluation(result, _ceiling(unmixer.model, truth) | PUBLISHED)
        self._draw_samples(unmixer, images, truth)
        kept = "" if self.checkpoint else "checkpoint, "
        print(f"{self.folder}: {kept}figure.png, and its images in samples/")
        print(f"{time.perf_counter() - start:.0f} s in all")

    @property
    def folder(self) -> Path:
        """Where all files go."""
        which = f"_{Path(self.checkpoint).stem}" if self.checkpoint else ""
        return self.run_dir or Path(f"runs/quickstart{which}")

    def _train(self) -> None:
        from distax.training.loop import train

        config = replace(CONFIG, steps=self.steps)
        train(config, self.folder, resume=(self.folder / "last").is_dir())

    def _draw_samples(self, unmixer: "Unmixer", images: "Array", truth: "Targets") -> None:
        """A figure of one image for each number of targets, and the images as PNG files."""
        import jax
        import numpy as np

        from distax.viz.figures import draw_unmixing

        counts = np.unique(truth.count)
        chosen = np.array([int(np.argmax(truth.count == count)) for count in counts])
        samples, targets = jax.tree.map(lambda leaf: np.asarray(leaf[chosen]), (images, truth))
        names = [f"{count}_targets.png" for count in counts]
        for name, sample in zip(names, samples, strict=True):
            _save_png(self.folder / "samples" / name, sample, unmixer.sensor)
        figure = self.folder / "figure.png"
        draw_unmixing(figure, samples, unmixer(samples), unmixer.sensor, names, targets)


def _save_png(path: Path, image: "np.ndarray", sensor: "Sensor") -> None:
    """Save an image as PNG, which holds whole counts, of 16 bits where 8 are too few."""
    import numpy as np
    from PIL import Image

    from distax.runtime.files import atomic_write

    counts = np.uint8 if sensor.clip_level <= np.iinfo(np.uint8).max else np.uint16
    held = np.clip(np.round(image), 0, np.iinfo(counts).max).astype(counts)
    with atomic_write(path) as temporary:
        Image.fromarray(held).save(temporary)


def _ceiling(model: "Model", truth: "Targets") -> dict[str, Sequence[float]]:
    """What the perfect answer on a model's grid scores, if it has one."""
    from distax.evaluation.results import percentages
    from distax.imaging.grid import decode, rasterize
    from distax.metrics import cso_map
    from distax.models import GridModel

    if not isinstance(model, GridModel):
        return {}
    perfect = decode(rasterize(truth, model.sensor, model.factor), sensor=model.sensor)
    ceiling = cso_map(perfect, truth)
    return {"the perfect answer on this grid, same images": percentages(ceiling.mean, ceiling.ap)}
