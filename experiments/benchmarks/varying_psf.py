"""Benchmarks a grid of PSFs against one PSF for a camera whose PSF varies over the frame.

    python experiments/benchmarks/varying_psf.py --json experiments/results/varying_psf.json

The Gaussian PSF is 0.7 px wide in the middle of the frame and 1.2 px in the corners. It is
elongated at the edges, along them by 8%. The camera is calibrated from frames of isolated stars,
with one PSF and with grids. Frames of stars and close pairs are then unmixed with each calibration
and with the true PSF.
"""

import json
import time
import warnings
from dataclasses import replace
from pathlib import Path
from typing import Annotated, Any

import jax
import numpy as np
import tyro
from scipy.spatial import cKDTree

import distax
from distax.benchmarking.figures import describe_machine
from distax.calibration import calibrate
from distax.frames import FramePrior, FrameTargets, FrameUnmixer
from distax.frames.scoring import assess_frames
from distax.frames.simulation import FrameScene, FrameTruth, simulate_frame
from distax.imaging.psf_grid import PsfGrid
from distax.imaging.scenes import ScenePrior
from distax.runtime.files import write_text

PAIRS = ScenePrior(
    min_targets=2, max_targets=2, min_intensity=3e3, max_intensity=1e4, separation=1.0, cluster=2.5
)
"""Pairs at least 1.2 px apart, which is one Rayleigh unit of σ = 1 px."""
_LINES, _NEAR = 33, 0.5


def make_true_grid(side: int) -> PsfGrid:
    """Makes the true PSF, at so many nodes that the interpolation is exact to a thousandth."""
    lines = np.linspace(0.0, side - 1.0, _LINES)
    from_middle = 2 * lines / (side - 1) - 1
    row, column = np.meshgrid(from_middle, from_middle, indexing="ij")
    width = 0.7 + 0.25 * (row**2 + column**2)
    elongation = 0.04 * (column**2 - row**2)
    sigmas = np.stack([width * (1 + elongation), width * (1 - elongation)], axis=-1)
    pairs = tuple((a, b) for a, b in sigmas.reshape(-1, 2).tolist())
    return PsfGrid(tuple(lines.tolist()), tuple(lines.tolist()), pairs)


def width_errors(sensor: distax.Sensor, camera: distax.Sensor) -> dict[str, float]:
    """Compares a sensor's widths with the true ones all over the frame, relative to these."""
    lines = np.linspace(camera.psf_grid.rows[0], camera.psf_grid.rows[-1], 101)
    place = np.stack(np.meshgrid(lines, lines), axis=-1).reshape(-1, 2)
    widths = sensor.psf_grid.sigmas_at(place) if sensor.psf_grid else np.array(sensor.sigmas)
    error = widths / camera.psf_grid.sigmas_at(place) - 1
    return {
        "width_rms": float(np.sqrt(np.mean(error**2))),
        "width_worst": float(np.abs(error).max()),
    }


def score(found: list[FrameTargets], truth: list[FrameTruth]) -> dict[str, float]:
    """Scores targets that lie within half a pixel of a true one, and the numbers of targets.

    Errors are compared with the stated ones in stars and pairs whose number of targets is right.
    """
    place, flux, place_pull, flux_pull = [], [], [], []
    for one, true in zip(found, truth, strict=True):
        targets, partners = one.targets, true.targets
        distance, nearest = cKDTree(partners.position).query(targets.position)
        near = distance < _NEAR
        away = (targets.position - np.asarray(partners.position)[nearest])[near]
        excess = (targets.intensity - np.asarray(partners.intensity)[nearest])[near]
        place.append(away)
        flux.append(excess / np.asarray(partners.intensity)[nearest][near])
        group = true.group[nearest]
        members = [
            np.bincount(each, minlength=true.group.max() + 1) for each in (group, true.group)
        ]
        right = (members[0] == members[1])[group][near]
        place_pull.append((away / np.asarray(targets.position_std)[near])[right])
        flux_pull.append((excess / np.asarray(targets.intensity_std)[near])[right])
    scored = assess_frames(found, truth)

    def rms(parts: list[np.ndarray]) -> float:
        return float(np.sqrt(np.mean(np.concatenate(parts) ** 2)))

    return {
        "position_rmse": rms(place),
        "flux_rmse": rms(flux),
        "position_pull": rms(place_pull),
        "flux_pull": rms(flux_pull),
        "wrong_counts": 1 - float(scored.right_count or 0),
        "found": scored.recall["0.25"],
        "misfit": float(np.median(np.concatenate([one.misfit for one in found]))),
        "false_blobs": scored.false_blobs,
    }


def main(
    side: int = 384,
    star_frames: int = 4,
    frames: int = 2,
    method: str = "refine",
    seed: int = 20_000,
    json_file: Annotated[Path | None, tyro.conf.arg(name="json")] = None,
) -> None:
    """Calibrate from frames of stars, then unmix frames of stars and pairs.

    Args:
      side: height and width of the frames in pixels.
      star_frames: number of frames of isolated stars to calibrate from.
      frames: number of frames of stars and pairs to unmix.
      method: method of the unmixer of frames.
      seed: random seed.
      json_file: JSON file to write the scores to.
    """
    camera = distax.Sensor(
        sigma=0.9,
        saturation=None,
        bit_depth=16,
        read_noise=2.0,
        gain=2.0,
        background=100.0,
        psf_grid=make_true_grid(side),
    )
    room = (side // 16) ** 2
    scene = FrameScene(side, side, 0, PAIRS, room // 2, (2e3, 4e4), 0.0, 0.0)
    crowded = replace(scene, clusters=room // 8, stars=room // 8)
    keys = jax.random.split(jax.random.key(seed), star_frames + frames)
    stars = np.stack([simulate_frame(key, scene, camera)[0] for key in keys[:star_frames]])
    simulated = [simulate_frame(key, crowded, camera) for key in keys[star_frames:]]
    truth = [true for _, true in simulated]
    figures: dict[str, Any] = {}
    for name, lines in {"one PSF": None, "3×3": (3, 3), "5×5": (5, 5), "true PSF": ()}.items():
        start = time.perf_counter()
        sensor: distax.Sensor = camera
        if lines != ():
            with warnings.catch_warnings():
                # A warning that one PSF does not hold is expected.
                warnings.simplefilter("ignore", distax.DistaxWarning)
                sensor = calibrate(stars, elongated=True, psf_grid=lines).sensor
            # The camera's noise, so that only the PSF differs.
            same = {name: getattr(camera, name) for name in ("read_noise", "gain", "background")}
            sensor = replace(sensor, **same)
        middle = time.perf_counter()
        unmixer = FrameUnmixer(sensor=sensor, prior=FramePrior(max_targets=3), method=method)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", distax.DistaxWarning)
            found = [unmixer(pixels) for pixels, _ in simulated]
        seconds = {"calibration": middle - start, "unmixing": time.perf_counter() - middle}
        widths = width_errors(sensor, camera)
        figures[name] = score(found, truth) | widths | {"seconds": seconds}
        print(name, figures[name], flush=True)
    print("| PSF | position RMSE / px | flux RMSE / % | wrong numbers / % | errors / stated |")
    print("|---|--:|--:|--:|--:|")
    for name, row in figures.items():
        print(
            f"| {name} | {row['position_rmse']:.4f} | {100 * row['flux_rmse']:.2f} | "
            f"{100 * row['wrong_counts']:.1f} | {row['position_pull']:.2f} and "
            f"{row['flux_pull']:.2f} |"
        )
    if json_file:
        about = describe_machine() | {"seed": seed, "side": side, "method": method}
        write_text(json_file, json.dumps(about | {"figures": figures}, indent=2) + "\n")


if __name__ == "__main__":
    tyro.cli(main)
