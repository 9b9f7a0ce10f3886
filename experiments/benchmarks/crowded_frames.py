"""Compares distax and photutils' iterative PSF photometry on the same simulated crowded frames.

    python experiments/benchmarks/crowded_frames.py

Stars have positions anywhere and fluxes of a power law; the shot noise of their light is part of
the noise. Both methods know the PSF, the gain and the read noise. photutils is measured at two
thresholds. Seconds are those of the processor, for one frame, without compilation. Errors are those
of the stars that all methods found. The script prints a table and writes
`experiments/results/crowded_frames.json`.
"""

import json
import time
import warnings
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import tyro

from distax import Sensor, make_targets, render
from distax.benchmarking.figures import describe_machine
from distax.frames import FrameUnmixer
from distax.imaging.sensor import expose
from distax.runtime.files import write_text

SIGMA = 1.3
CAMERA = Sensor(
    sigma=SIGMA, saturation=None, bit_depth=None, read_noise=5.0, gain=1.0, background=100.0
)
FAINTEST, BRIGHTEST = 300.0, 30000.0
"""Bounds of the fluxes in counts. The faintest have a signal-to-noise ratio of 6 when alone."""
NEAR = 1.0
"""Largest distance in pixels of an answer from its star."""
RESULTS = Path(__file__).parents[1] / "results" / "crowded_frames.json"


@dataclass(frozen=True)
class Stars:
    """Stars of a frame.

    Attributes:
      position: `[K, 2]`, row and column.
      flux: `[K]`, flux in counts.
    """

    position: np.ndarray
    flux: np.ndarray


def simulate(number: int, side: int, seed: int) -> tuple[np.ndarray, Stars]:
    """Simulates a frame of stars anywhere, whose fluxes F have a density of F⁻²."""
    rng = np.random.default_rng([seed, number])
    position = rng.uniform(-0.5, side - 0.5, (number, 2))
    flux = 1 / rng.uniform(1 / BRIGHTEST, 1 / FAINTEST, number)
    sensor = replace(CAMERA, height=side, width=side)
    ideal = render(make_targets(jnp.float32(position), jnp.float32(flux)), sensor)
    return np.array(expose(jax.random.key(seed), ideal, sensor)), Stars(position, flux)


def by_distax(frame: np.ndarray) -> Stars:
    """Finds stars by distax."""
    found = FrameUnmixer(sensor=CAMERA, crowded=True)(frame).targets
    return Stars(found.position, np.asarray(found.intensity))


def by_photutils(frame: np.ndarray, threshold: float) -> Stars:
    """Finds stars by photutils: three passes of detection and joint fits of groups.

    Args:
      frame: counts.
      threshold: of the detection, in standard deviations of the sky's known noise.
    """
    from photutils.background import Background2D, MMMBackground
    from photutils.detection import DAOStarFinder
    from photutils.psf import CircularGaussianSigmaPRF, IterativePSFPhotometry, SourceGrouper

    sky = Background2D(frame, 64, bkg_estimator=MMMBackground(), exclude_percentile=100)
    fwhm = 2.3548 * SIGMA
    noise = np.sqrt(CAMERA.background + CAMERA.read_noise**2)
    photometry = IterativePSFPhotometry(
        CircularGaussianSigmaPRF(sigma=SIGMA),
        fit_shape=(7, 7),
        finder=DAOStarFinder(threshold=threshold * noise, fwhm=fwhm),
        grouper=SourceGrouper(min_separation=1.5 * fwhm),
        aperture_radius=fwhm,
        maxiters=3,
        mode="all",
    )
    variance = np.maximum(frame, 1.0) + CAMERA.read_noise**2
    table = photometry(frame - sky.background, error=np.sqrt(variance))
    position = np.stack([table["y_fit"], table["x_fit"]], axis=1)
    known = np.isfinite(position).all(axis=1)
    return Stars(np.asarray(position)[known], np.asarray(table["flux_fit"])[known])


def matches(found: Stars, truth: Stars) -> tuple[np.ndarray, np.ndarray]:
    """Returns the indices of stars and of their answers, nearest pairs first, each at most once."""
    from scipy.spatial import cKDTree

    near = cKDTree(truth.position).sparse_distance_matrix(
        cKDTree(found.position), NEAR, output_type="ndarray"
    )
    stars: dict[int, int] = {}
    taken: set[int] = set()
    for star, answer, _ in np.sort(near, order="v"):
        if star not in stars and answer not in taken:
            stars[star] = answer
            taken.add(answer)
    return np.array(list(stars), int), np.array(list(stars.values()), int)


METHODS: dict[str, Callable[[np.ndarray], Stars]] = {
    "distax": by_distax,
    "photutils at 3": partial(by_photutils, threshold=3.0),
    "photutils at 5": partial(by_photutils, threshold=5.0),
}


def measure(number: int, side: int, frames: int, names: list[str]) -> dict[str, dict[str, float]]:
    """Measures the methods on frames of a number of stars; errors of stars that all found."""
    simulated = [simulate(number, side, seed) for seed in range(frames)]
    truths = [truth for _, truth in simulated]
    METHODS["distax"](simulated[0][0])
    answers, seconds = {}, {}
    for name in names:
        start = time.process_time()
        answers[name] = [METHODS[name](frame) for frame, _ in simulated]
        seconds[name] = (time.process_time() - start) / frames
    pairs = {
        name: [
            dict(zip(*matches(found, truth), strict=True))
            for found, truth in zip(answers[name], truths, strict=True)
        ]
        for name in names
    }
    return {name: _row(answers[name], pairs, name, truths, seconds[name]) for name in names}


def _row(
    answers: list[Stars],
    pairs: dict[str, list[dict[int, int]]],
    name: str,
    truths: list[Stars],
    seconds: float,
) -> dict[str, float]:
    away, ratio = [], []
    for frame, (found, truth) in enumerate(zip(answers, truths, strict=True)):
        common = set.intersection(*(set(each[frame]) for each in pairs.values()))
        stars = np.array(sorted(common), int)
        answer = np.array([pairs[name][frame][star] for star in stars], int)
        away.append(np.linalg.norm(found.position[answer] - truth.position[stars], axis=1))
        ratio.append(found.flux[answer] / truth.flux[stars])
    matched = sum(map(len, pairs[name]))
    number = sum(len(found.flux) for found in answers)
    return {
        "completeness": matched / sum(len(truth.flux) for truth in truths),
        "contamination": 1 - matched / max(number, 1),
        "position_rmse": float(np.sqrt(np.mean(np.concatenate(away) ** 2))),
        "flux_rmse": float(np.sqrt(np.mean((np.concatenate(ratio) - 1) ** 2))),
        "seconds": seconds,
    }


def main(
    stars: tuple[int, ...] = (500, 1000, 2000),
    side: int = 256,
    frames: int = 2,
    methods: tuple[str, ...] = tuple(METHODS),
    save: bool = True,
) -> None:
    """Measures both methods.

    Args:
      stars: numbers of stars in a frame.
      side: height and width of a frame in pixels.
      frames: frames of each number.
      methods: methods to measure.
      save: True writes the results.
    """
    warnings.simplefilter("ignore")
    print("| stars | method | completeness | contamination | position, px | flux | CPU seconds |")
    print("|---|---|---|---|---|---|---|")
    results = {}
    for number in stars:
        results[str(number)] = measure(number, side, frames, list(methods))
        for name, row in results[str(number)].items():
            shares = f"{100 * row['completeness']:.1f}% | {100 * row['contamination']:.1f}%"
            errors = f"{row['position_rmse']:.3f} | {100 * row['flux_rmse']:.1f}%"
            print(f"| {number} | {name} | {shares} | {errors} | {row['seconds']:.1f} |", flush=True)
    if save:
        content = describe_machine() | {"side": side, "frames": frames, "stars": results}
        write_text(RESULTS, json.dumps(content, indent=2) + "\n")


if __name__ == "__main__":
    tyro.cli(main)
