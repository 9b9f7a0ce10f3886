"""`distax quickstart`: the shipped network's answers, and a small DISTA-Net trained beside them."""

import time
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from distax.runtime.errors import advice_when_stopped, check_positive
from distax.runtime.files import check_place
from distax.runtime.optional import require
from distax.runtime.terminal import say
from distax.training.config import ModelConfig, OptimizerConfig, TrainConfig

if TYPE_CHECKING:
    import numpy as np

    from distax.imaging.targets import Targets
    from distax.unmixer import Unmixer

CONFIG = TrainConfig(
    model=ModelConfig(name="dista", factor=3, options={"stages": 3, "channels": 16, "window": 7}),
    optimizer=OptimizerConfig(learning_rate=3e-3, warmup_steps=100, decay="cosine"),
    steps=560,
    log_every=40,
    eval_every=280,
)
_SHIPPED = "density"
"""Weights that come with distax and answer off the grid."""


@dataclass(frozen=True)
class Quickstart:
    """Show the answers of the network that comes with distax, then train a small DISTA-Net.

    Both are scored on the same held-out images and drawn on the same blobs. Takes less than five
    minutes on two CPU cores; the first answers come within half a minute. Writes a checkpoint for
    `evaluate` and `unmix` and two pictures to its folder. The same command resumes a training run
    that was stopped. With --checkpoint nothing is trained.
    """

    run_dir: Path | None = None
    """Folder for the checkpoint, the log and the pictures. Default: runs/quickstart, or
    runs/quickstart_dista with --checkpoint dista."""
    checkpoint: str | None = None
    """Score and draw this model instead of training one: weights that come with distax, such as
    dista, or anything else that `evaluate` takes."""
    steps: int = CONFIG.steps
    """Training steps of 64 images."""
    images: int = 10_000
    """Held-out images to score on."""

    def run(self) -> None:
        """Scores and draws the shipped network, trains a DISTA-Net, and compares the two."""
        # Checked before minutes of training.
        require("matplotlib", "the quickstart's figures")
        check_positive(steps=self.steps, images=self.images)
        check_place(self.folder / "figure.png")
        import jax
        import numpy as np

        from distax.imaging.scenes import simulate
        from distax.unmixer import Unmixer

        start = time.perf_counter()
        given = Unmixer.load(self.checkpoint) if self.checkpoint else None
        scenes = given or Unmixer()
        drawn = simulate(jax.random.key(1), self.images, scenes.sensor, scenes.prior)
        comparison = _Comparison(*jax.tree.map(np.asarray, drawn))

        shipped = Unmixer.load(_SHIPPED)
        if scenes.sensor == shipped.sensor:
            comparison.answers["distax, off the grid"] = shipped(comparison.images)
            comparison.draw(self.folder / "figure.png")
            comparison.print_scores()
            seconds = time.perf_counter() - start
            say(f"{self.folder}/figure.png: its answers, after {seconds:.0f} s")
            print(flush=True)

        name = f"{self.checkpoint}, for comparison"
        if given is None:
            name = "a small DISTA-Net, on a grid"
            print("Training a small DISTA-Net beside it, as published methods do", flush=True)
            self._train()
            given = Unmixer.load(self.folder)
        comparison.answers[name] = given(comparison.images)
        comparison.draw(self.folder / "comparison.png", getattr(given.model, "factor", 3))
        comparison.print_scores(_ceiling(given, comparison.truth))
        print(_EXPLANATION)
        kept = "" if self.checkpoint else "checkpoint, "
        say(f"{self.folder}: {kept}figure.png, comparison.png")
        print(f"{time.perf_counter() - start:.0f} s in all")

    @property
    def folder(self) -> Path:
        """Folder for all files."""
        which = f"_{Path(self.checkpoint).stem}" if self.checkpoint else ""
        return self.run_dir or Path(f"runs/quickstart{which}")

    def _train(self) -> None:
        from distax.training.loop import train

        config = replace(CONFIG, steps=self.steps)
        with advice_when_stopped("the same command continues"):
            train(config, self.folder, resume=(self.folder / "last").is_dir())


_EXPLANATION = (
    "Count accuracy is the share of images with the right number of targets. A target between two "
    "nodes fills both, and every filled node counts as a target, so a grid seldom gives the right "
    "number. Off the grid, the number is right in nearly every image."
)


@dataclass
class _Comparison:
    """Held-out images with their true targets, and each model's answers to them.

    Attributes:
      images: `[N, height, width]`, raw counts.
      truth: true targets `[N, K]`.
      answers: by name of the model, targets `[N, K]`.
    """

    images: "np.ndarray"
    truth: "Targets"
    answers: "dict[str, Targets]" = field(default_factory=dict)

    def draw(self, path: Path, factor: int = 3) -> None:
        """Draws the first image with each number of targets, a row for each model.

        Args:
          path: the picture.
          factor: nodes per pixel of grid models.
        """
        import jax
        import numpy as np

        from distax.viz.comparison import draw_comparison

        counts = np.sum(self.truth.mask, axis=-1)
        chosen = np.array([int(np.argmax(counts == count)) for count in np.unique(counts)])
        choose = partial(jax.tree.map, lambda leaf: leaf[chosen])
        # Model by model: `jax.tree.map` would sort the names, but the first has to be on top.
        answers = {name: choose(found) for name, found in self.answers.items()}
        draw_comparison(path, self.images[chosen], answers, choose(self.truth), factor)

    def print_scores(self, others: "Mapping[str, Iterable[float]] | None" = None) -> None:
        """Prints rows for each model, then the other rows, then published scores."""
        from rich.table import Table

        from distax.cli.console import PUBLISHED, wide_console
        from distax.evaluation.results import SCORE_HEADINGS, format_percent

        print(f"{len(self.images):,} held-out simulated images:")
        table = Table(*SCORE_HEADINGS, "count accuracy")
        for name, found in self.answers.items():
            right = format_percent((found.count == self.truth.count).mean())
            for label, scores in _scores(name, found, self.truth).items():
                table.add_row(label, *(f"{score:.2f}" for score in scores), right)
        rows: dict[str, Iterable[float]] = {**(others or {}), **PUBLISHED}
        for label, known in rows.items():
            table.add_row(label, *(f"{score:.2f}" for score in known), "–")
        wide_console().print(table)


def _scores(name: str, found: "Targets", truth: "Targets") -> dict[str, tuple[float, ...]]:
    """Returns CSO-mAP and APs in percent, by intensity and by own score, once if both agree.

    `distax.evaluation` gives more, but compiles longer than the first answers may take.
    """
    from distax.evaluation.results import to_percent
    from distax.metrics import cso_map

    by_intensity = cso_map(replace(found, score=found.intensity), truth)
    by_score = cso_map(found, truth)
    rows = {name: to_percent(by_intensity.mean, by_intensity.ap)}
    own = to_percent(by_score.mean, by_score.ap)
    if own not in rows.values():
        rows["… ranked by its own score instead of intensity"] = own
    return rows


def _ceiling(unmixer: "Unmixer", truth: "Targets") -> "dict[str, Iterable[float]]":
    """Scores the perfect answers on a grid model's grid, in percent. Returns {} for other models.

    If the model learned blurred labels, the perfect answer with such labels is scored as well.
    """
    from distax.evaluation.results import to_percent
    from distax.imaging.grid import decode, rasterize
    from distax.metrics import cso_map
    from distax.models import GridModel

    if not isinstance(unmixer.model, GridModel):
        return {}
    model = unmixer.model
    rows: dict[str, Iterable[float]] = {}
    for blur in dict.fromkeys((0.0, model.label_blur)):
        grid = rasterize(truth, model.sensor, model.factor, blur)
        ceiling = cso_map(decode(grid, sensor=model.sensor), truth)
        name = "… with blurred labels" if blur else "the perfect answer on that grid, sharp labels"
        rows[name] = to_percent(ceiling.mean, ceiling.ap)
    return rows
