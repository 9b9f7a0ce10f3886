"""The picture of README.md: answers of a grid network and of distax to the same blobs.

    python experiments/readme_picture.py

writes `docs/images/off_grid.png`. The blobs are held-out simulated scenes: of a fixed seed, the
first scene with each number of targets from two to five.
"""

from pathlib import Path

import jax
import numpy as np
import tyro

from distax import Unmixer
from distax.imaging.scenes import simulate
from distax.viz.comparison import draw_comparison

COUNTS = (2, 3, 4, 5)
"""Numbers of targets that are shown, one column each."""
ROWS = {"DISTA-Net, on a grid": "dista", "distax, off the grid": "density"}
"""Weights that come with distax, by the title of their row."""


def main(
    output: Path = Path(__file__).parents[1] / "docs/images/off_grid.png", seed: int = 20_001
) -> None:
    """Draws the picture.

    Args:
      output: the picture.
      seed: of the scenes; no network was trained on them.
    """
    images, truth = jax.tree.map(np.asarray, simulate(jax.random.key(seed), 100))
    counts = np.sum(truth.mask, axis=-1)
    chosen = np.array([int(np.argmax(counts == count)) for count in COUNTS])
    shown = jax.tree.map(lambda leaf: leaf[chosen], truth)
    answers = {title: Unmixer.load(name)(images[chosen]) for title, name in ROWS.items()}
    draw_comparison(output, images[chosen], answers, shown)
    print(f"{output}: {output.stat().st_size / 1e3:.0f} kB")


if __name__ == "__main__":
    tyro.cli(main)
