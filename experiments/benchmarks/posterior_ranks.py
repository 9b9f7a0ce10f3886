"""Checks the posterior sampler by simulation: ranks of true values among posterior draws.

    python experiments/benchmarks/posterior_ranks.py --json experiments/results/posterior_ranks.json

Scenes are drawn from the prior, and images from the scenes. If the sampler is right, the share of
posterior draws below the true value is then uniform between 0 and 1, for any function of the scene.
Draws that are too narrow give too many shares near 0 and 1.

Source: Talts et al. 2018 (arXiv 1804.06788), "Validating Bayesian inference algorithms with
simulation-based calibration".
"""

import json
from collections.abc import Iterator
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Annotated

import jax
import numpy as np
import tyro
from jaxtyping import Float

from distax.benchmarking.figures import describe_machine
from distax.evaluation.results import format_percent
from distax.fitting.posterior import draw_scenes
from distax.imaging.scenes import ScenePrior, simulate
from distax.imaging.sensor import Sensor
from distax.runtime.files import atomic_write, write_text

CAMERAS = {
    "no noise": Sensor(),
    **{f"read noise {n}": Sensor(read_noise=float(n)) for n in (1, 2, 5, 10)},
    **{f"gain {n}": Sensor(gain=float(n)) for n in (10, 1)},
}
COUNTS = (1, 2, 3, 4, 5)
FUNCTIONS = ("mean row", "mean column", "total intensity", "extent")
"""Functions of the scene, none of which depends on the order of the targets. The extent is the
root-mean-square distance of the targets from their mean, and of one target its distance from the
middle of the nearest pixel."""


@dataclass(frozen=True)
class Ranks:
    """Ranks for one camera and number of targets.

    Attributes:
      shares: for each function, the share of draws below the true value, image by image.
      excluded: number of images whose scene the sampler's prior excludes.
    """

    camera: str
    count: int
    shares: dict[str, list[float]]
    excluded: int

    def inside(self, level: float) -> float:
        """Returns the share of true values in the central interval of a probability."""
        shares = np.concatenate(list(self.shares.values()))
        return float(np.mean(np.abs(shares - 0.5) <= level / 2))


def values_of(
    position: Float[np.ndarray, "*N K 2"], intensity: Float[np.ndarray, "*N K"]
) -> Float[np.ndarray, "F *N"]:
    """Computes the values of `FUNCTIONS`."""
    mean = position.mean(axis=-2)
    centre = mean if position.shape[-2] > 1 else np.round(mean)
    away = position - centre[..., None, :]
    extent = np.sqrt(np.mean(np.sum(away**2, axis=-1), axis=-1))
    return np.stack([mean[..., 0], mean[..., 1], intensity.sum(axis=-1), extent])


def measure(camera: str, count: int, images: int, seed: int) -> Ranks:
    """Draws scenes from the posterior of simulated images, and ranks the true values among them."""
    sensor, prior = CAMERAS[camera], ScenePrior()
    of_count = replace(prior, min_targets=count, max_targets=count)
    pixels, truth = simulate(jax.random.key(seed), images, sensor, of_count)
    position, intensity = draw_scenes(np.asarray(pixels), count, sensor, prior)
    drawn = values_of(position, intensity)
    true = values_of(np.asarray(truth.position), np.asarray(truth.intensity))
    known = np.isfinite(drawn).all(axis=(0, 2))
    shares = np.mean(drawn < true[..., None], axis=-1)[:, known]
    by_function = {name: row.tolist() for name, row in zip(FUNCTIONS, shares, strict=True)}
    return Ranks(camera, count, by_function, int(np.sum(~known)))


def lines(ranks: list[Ranks]) -> Iterator[str]:
    """Yields the lines of a Markdown table: central intervals by camera and number of targets."""
    yield "| camera | " + " | ".join(f"{count} targets: in 50%, in 90%" for count in COUNTS) + " |"
    yield "|---" + "|--:" * len(COUNTS) + "|"
    for camera in CAMERAS:
        own = {one.count: one for one in ranks if one.camera == camera}
        cells = (
            f"{format_percent(own[count].inside(0.5))}, {format_percent(own[count].inside(0.9))}"
            for count in COUNTS
        )
        yield f"| {camera} | " + " | ".join(cells) + " |"


def draw(path: Path, ranks: list[Ranks]) -> None:
    """Draws how far the distribution of the shares is from uniform, with the 95% band of chance."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(14, 9), layout="constrained")
    panels = figure.subplots(len(FUNCTIONS), len(COUNTS), sharex=True, sharey=True)
    level = np.linspace(0, 1, 101)
    for row, function in zip(panels, FUNCTIONS, strict=True):
        for ax, count in zip(row, COUNTS, strict=True):
            for one in (one for one in ranks if one.count == count):
                shares = np.sort(one.shares[function])
                below = np.searchsorted(shares, level, side="right") / len(shares)
                ax.plot(level, below - level, label=one.camera, linewidth=1)
            # Largest deviation that 95% of uniform samples stay within (Kolmogorov and Smirnov).
            band = 1.36 / np.sqrt(len(shares))
            ax.axhspan(-band, band, color="0.9", zorder=0)
            ax.grid(alpha=0.3)
    for ax, count in zip(panels[0], COUNTS, strict=True):
        ax.set_title(f"{count} target{'s' if count > 1 else ''}", fontsize="medium")
    for ax, function in zip(panels[:, 0], FUNCTIONS, strict=True):
        ax.set_ylabel(f"{function}: excess")
    for ax in panels[-1]:
        ax.set_xlabel("share of draws below the true value")
    handles = {line.get_label(): line for line in panels[0, 0].lines}
    figure.legend(handles.values(), handles.keys(), loc="outside upper center", ncols=7)
    with atomic_write(path) as unfinished:
        figure.savefig(unfinished, dpi=80)


def main(
    images: int = 200,
    seed: int = 3,
    json_file: Annotated[Path | None, tyro.conf.arg(name="json")] = None,
    figure: Path | None = None,
) -> None:
    """Rank true values among posterior draws.

    Args:
      images: number of images for each camera and number of targets.
      seed: random seed of the images.
      json_file: JSON file to write the ranks to.
      figure: PNG file to draw them in.
    """
    ranks = [measure(camera, count, images, seed) for camera in CAMERAS for count in COUNTS]
    print("\n".join(lines(ranks)))
    if json_file:
        about = describe_machine() | {"images": images, "seed": seed}
        rows = [asdict(one) for one in ranks]
        write_text(json_file, json.dumps(about | {"ranks": rows}) + "\n")
    if figure:
        draw(figure, ranks)


if __name__ == "__main__":
    tyro.cli(main)
