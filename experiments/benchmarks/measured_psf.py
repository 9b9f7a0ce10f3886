"""Benchmarks measured PSFs against Gaussian ones for a camera with an asymmetric PSF.

    python experiments/benchmarks/measured_psf.py --json experiments/results/measured_psf.json

The PSF is a Gaussian with a wider, fainter one beside it. The camera is calibrated from isolated
sources, with a Gaussian PSF and with a measured PSF. Images of one or two targets are then unmixed
with both calibrations and with the true PSF.
"""

import json
import time
import warnings
from dataclasses import replace
from pathlib import Path
from typing import Annotated, Any

import jax
import jax.numpy as jnp
import numpy as np
import tyro

import distax
from distax.benchmarking.figures import describe_machine
from distax.calibration import calibrate
from distax.evaluation.results import format_percent
from distax.imaging.psf import MeasuredPsf
from distax.imaging.scenes import ScenePrior, simulate
from distax.imaging.targets import Targets
from distax.metrics import assign
from distax.runtime.files import write_text

PRIOR = ScenePrior(max_targets=2, cluster=1.5, min_intensity=400.0, max_intensity=600.0)
OVERSAMPLING, SAMPLES = 4, 49


def make_asymmetric_psf() -> MeasuredPsf:
    """Makes a PSF with a fifth of the flux in a wider Gaussian 0.3 px beside the first."""
    offset = (np.arange(SAMPLES) - SAMPLES // 2) / OVERSAMPLING
    row, column = np.meshgrid(offset, offset, indexing="ij")
    narrow = np.exp(-(row**2 + column**2) / 0.6) / 0.6
    wide = np.exp(-((row + 0.3) ** 2 + column**2) / 2) / 2
    return MeasuredPsf.from_samples(0.8 * narrow + 0.2 * wide, OVERSAMPLING)


def simulate_isolated_sources(key: jax.Array, count: int, sensor: distax.Sensor) -> np.ndarray:
    """Simulates images of one bright source each."""
    place_key, flux_key, noise_key = jax.random.split(key, 3)
    place = 5 + jax.random.uniform(place_key, (count, 1, 2), minval=-0.5, maxval=0.5)
    flux = jax.random.uniform(flux_key, (count, 1), minval=4e3, maxval=2e4)
    light = distax.render(distax.make_targets(place, flux), sensor)
    return np.asarray(distax.expose(noise_key, light, sensor))


def score_positions(sensor: distax.Sensor, images: np.ndarray, truth: Targets) -> dict[str, float]:
    """Scores the positions of `refine`; a shift common to all positions is not an error."""
    with warnings.catch_warnings():
        # The warning that the PSF does not hold is expected.
        warnings.simplefilter("ignore", distax.DistaxWarning)
        found = distax.Unmixer(method="refine", sensor=sensor, prior=PRIOR)(images)
    pairing = assign(found, truth)
    partner = np.maximum(pairing.partner, 0)[..., None]
    true = np.take_along_axis(np.asarray(truth.position), partner, axis=1)
    error = (np.asarray(found.position) - true)[np.asarray(pairing.paired)]
    error = np.linalg.norm(error - np.median(error, axis=0), axis=-1)
    return {
        "right_count": float(np.mean(found.count == truth.count)),
        "median_error": float(np.median(error)),
        "rmse": float(np.sqrt(np.mean(error**2))),
        "misfit": float(np.median(found.misfit)),
        "trusted": float(np.mean(found.trusted)),
    }


def time_calibration(images: np.ndarray, dark: np.ndarray, measured_psf: bool) -> tuple[Any, float]:
    """Calibrates a sensor; returns the result and the time in seconds."""
    start = time.perf_counter()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", distax.DistaxWarning)
        result = calibrate(images, dark, measured_psf=measured_psf)
    return result, time.perf_counter() - start


def main(
    sources: tuple[int, ...] = (50, 100, 300),
    images: int = 1000,
    seed: int = 10_000,
    json_file: Annotated[Path | None, tyro.conf.arg(name="json")] = None,
) -> None:
    """Calibrate from isolated sources, then unmix pairs.

    Args:
      sources: numbers of isolated sources.
      images: number of images of one or two targets.
      seed: random seed.
      json_file: JSON file to write the scores to.
    """
    psf = make_asymmetric_psf()
    camera = distax.Sensor(
        saturation=None, bit_depth=16, read_noise=2.0, background=50.0, measured_psf=psf
    )
    keys = jax.random.split(jax.random.key(seed), 3)
    shutter_closed = replace(camera, background=0.0)
    dark = np.asarray(distax.expose(keys[0], jnp.zeros((8, 30, 30)), shutter_closed))
    pixels, truth = simulate(keys[1], images, camera, PRIOR)
    figures = {"the true PSF": score_positions(camera, np.asarray(pixels), truth)}
    for number in sources:
        taken = simulate_isolated_sources(keys[2], number, camera)
        for shape, measured in {"a Gaussian": False, "measured": True}.items():
            result, seconds = time_calibration(taken, dark, measured)
            scored = score_positions(result.sensor, np.asarray(pixels), truth)
            figures[f"{shape}, {number} sources"] = scored | {"calibration_seconds": seconds}
    print("| PSF | right count / % | median error / px | RMSE / px | misfit | trusted / % |")
    print("|---|--:|--:|--:|--:|--:|")
    for name, row in figures.items():
        print(
            f"| {name} | {format_percent(row['right_count'])} | {row['median_error']:.4f} | "
            f"{row['rmse']:.4f} | {row['misfit']:.2f} | {format_percent(row['trusted'])} |"
        )
    if json_file:
        about = describe_machine() | {"seed": seed, "images": images}
        write_text(json_file, json.dumps(about | {"figures": figures}, indent=2) + "\n")


if __name__ == "__main__":
    tyro.cli(main)
