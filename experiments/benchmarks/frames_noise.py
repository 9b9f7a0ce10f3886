"""Measures false blobs in frames of noise, and targets found among clutter.

    python experiments/benchmarks/frames_noise.py noise
    python experiments/benchmarks/frames_noise.py clutter

The first prints blobs a frame for each family of noise, at two stated numbers of false blobs. The
second unmixes ten scenes of each kind of clutter, and prints the share of targets that are found
and trusted, and trusted answers without a target, a scene.
"""

import time
import warnings
from typing import Literal

import numpy as np
import tyro
from clutter_scenes import KINDS, make_scene
from noise_families import FAMILIES, hot_pixels

from distax.frames import Flag, FramePrior, FrameTargets, FrameUnmixer
from distax.frames.bands import bands
from distax.frames.blobs import peaks, signal_to_noise
from distax.frames.detection import measure_detection
from distax.frames.sky import measure_sky
from distax.imaging.sensor import Sensor

CAMERA = Sensor(saturation=None, bit_depth=None)
NEAR = 2.0
"""Distance in pixels within which an answer is that of a target."""


def count_blobs(frame: np.ndarray, expected: float) -> int:
    """Counts the blobs of a frame, without unmixing them."""
    detection = measure_detection(measure_sky(frame, 64, CAMERA), expected, CAMERA.sigma)
    (whole,) = bands(frame.shape, frame.shape[0], 0)
    counts, noise, _ = detection.sky.read(whole)
    significance = signal_to_noise(counts, noise, CAMERA.sigma)
    return len(peaks(significance, detection.threshold, 2))


def measure_noise(frames: int) -> None:
    """Prints blobs a frame by family, at 1 and at 0.1 expected ones."""
    print("| noise | at 1 | at 0.1 |\n|---|---|---|")
    for name, make in (FAMILIES | {"hot pixels": hot_pixels}).items():
        rows = [make(np.random.default_rng([seed, len(name)])) for seed in range(frames)]
        found = [np.mean([count_blobs(row, expected) for row in rows]) for expected in (1.0, 0.1)]
        print(f"| {name} | {found[0]:.2f} | {found[1]:.2f} |", flush=True)


def score(found: FrameTargets, truth: np.ndarray) -> tuple[int, int, int, int]:
    """Counts targets, those in a blob, those in a trusted answer, and other trusted answers."""
    trusted = found.flags & int(Flag.UNSURE) == 0
    away = np.linalg.norm(found.targets.position - truth[:, None], axis=-1)
    near = away < NEAR
    blobs = np.linalg.norm(found.blobs.pixel - truth[:, None], axis=-1) < NEAR + 1
    false = trusted & ~near.any(axis=0)
    return (
        len(truth),
        int(blobs.any(axis=1).sum()),
        int((near & trusted).any(axis=1).sum()),
        int(false.sum()),
    )


def measure_clutter(frames: int, false_blobs: float, first: int) -> None:
    """Prints recall and false trusted answers a scene, by kind of clutter."""
    unmixer = FrameUnmixer(measure_psf=True, false_blobs=false_blobs, prior=FramePrior())
    print("| clutter | in a blob | found and trusted | false trusted answers | blobs | seconds |")
    print("|---|---|---|---|---|---|")
    total = np.zeros(6)
    for kind in KINDS:
        sums = np.zeros(6)
        for seed in range(first, first + frames):
            pixels, targets = make_scene(kind, seed)
            truth = np.array([[one.row, one.column] for one in targets])
            start = time.perf_counter()
            found = unmixer(pixels)
            seconds = time.perf_counter() - start
            sums += [*score(found, truth), len(found.blobs.pixel), seconds]
        total += sums
        print(_row(kind, sums, frames), flush=True)
    print(_row("all", total, frames * len(KINDS)))


def _row(name: str, sums: np.ndarray, frames: int) -> str:
    number, seen, right, false, blobs, seconds = sums
    shares = (f"{100 * seen / number:.0f}%", f"{100 * right / number:.0f}%")
    rest = (f"{false / frames:.2f}", f"{blobs / frames:.1f}", f"{seconds / frames:.2f}")
    return f"| {' | '.join([name, *shares, *rest])} |"


def main(
    what: Literal["noise", "clutter"],
    /,
    frames: int = 0,
    false_blobs: float = 1.0,
    first: int = 200,
) -> None:
    """Measures noise or clutter.

    Args:
      what: noise or clutter.
      frames: frames of each family or kind; 0 for 40 of noise and 10 of clutter.
      false_blobs: expected number of false blobs in a scene of clutter.
      first: seed of the first scene of each kind. Those below 18 were looked at while the method
        was made.
    """
    warnings.simplefilter("ignore")
    if what == "noise":
        measure_noise(frames or 40)
    else:
        measure_clutter(frames or 10, false_blobs, first)


if __name__ == "__main__":
    tyro.cli(main)
