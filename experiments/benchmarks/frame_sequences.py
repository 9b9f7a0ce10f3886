"""Benchmarks tracking in whole frames: simulated sequences with a shaking camera and their truth.

    python experiments/benchmarks/frame_sequences.py

Every frame is unmixed, and the targets are tracked with each source of the camera's shift.
"""

import time
from dataclasses import replace

import jax
import numpy as np
import tyro

from distax.evaluation.results import format_percent, format_pixels
from distax.frames import FramePrior, FrameTargets, FrameUnmixer
from distax.frames.simulation import FRAME_SENSOR
from distax.imaging.forward import render
from distax.imaging.sensor import Sensor
from distax.imaging.targets import Targets, make_targets
from distax.tracking import (
    FrameSequence,
    FrameTracker,
    FrameTracks,
    SequenceTruth,
    Tracks,
    assess_tracks,
    make_scene,
    register_scenes,
    simulate_frames,
    track_frames,
)

HEADINGS = (
    *("camera motion", "tracked / %", "whole / %", "false tracks / %", "identity switches"),
    *("RMSE / px", "errors / stated", "velocity errors / stated", "shift RMSE / px"),
)


def intensity_at(snr: float, sensor: Sensor) -> float:
    """Returns the intensity in counts whose matched filter has a signal-to-noise ratio.

    The target lies on a pixel's corner, where the ratio is least.
    """
    window = replace(sensor, height=16, width=16)
    image = np.asarray(render(make_targets(np.full((1, 2), 7.5), np.ones(1)), window))
    return snr * sensor.read_noise / float(np.sqrt(np.sum(image**2)))


def padded(tree: Targets | Tracks, slots: int) -> Targets | Tracks:
    """Pads the second axis to a number of slots, so that all sequences are scored together."""

    def pad(leaf: np.ndarray) -> np.ndarray:
        leaf = np.asarray(leaf)
        rest = [(0, 0)] * (leaf.ndim - 2)
        return np.pad(leaf, [(0, 0), (0, slots - leaf.shape[1]), *rest])

    return jax.tree.map(pad, tree)


def stacked(trees: list[Targets] | list[Tracks]) -> Targets | Tracks:
    """Stacks sequences with different numbers of slots."""
    slots = max(1, *(jax.tree.leaves(tree)[0].shape[1] for tree in trees))
    return jax.tree.map(lambda *leaves: np.stack(leaves), *(padded(tree, slots) for tree in trees))


def detections(found: list[FrameTargets]) -> Targets:
    """Returns the detections of a sequence, `[T, K]`."""
    slots = max(1, *(len(frame.blob) for frame in found))
    rows = []
    for frame in found:
        targets = frame.targets
        known = make_targets(targets.position, targets.intensity, targets.mask, targets.score)
        rows.append(jax.tree.map(lambda leaf: np.asarray(leaf)[None], known))
    return jax.tree.map(
        lambda *leaves: np.concatenate(leaves), *(padded(row, slots) for row in rows)
    )


def standardised(result: FrameTracks, truth: SequenceTruth) -> tuple[np.ndarray, np.ndarray]:
    """Returns squared errors of positions and velocities in units of their covariances.

    Each is the mean of two coordinates, so that it is 1 on average where the errors are honest.
    Tracks are those within a pixel of a target in the mean.
    """
    tracks, squares, drifts = result.tracks, [], []
    for slot in range(tracks.targets.mask.shape[1]):
        alive = tracks.targets.mask[:, slot]
        here = tracks.targets.position[:, slot, None] - truth.targets.position
        both = alive[:, None] & truth.targets.mask
        distance = np.where(both, np.linalg.norm(here, axis=-1), 0.0).sum(0) / np.maximum(
            both.sum(0), 1
        )
        target = int(np.argmin(np.where(both.sum(0) >= 0.5 * alive.sum(), distance, np.inf)))
        if distance[target] > 1 or not both[:, target].any():
            continue
        at = both[:, target]
        spread = np.linalg.inv(tracks.targets.covariance[at, slot])
        error = here[at, target]
        squares.append(np.einsum("ni,nij,nj->n", error, spread, error) / 2)
        middle = int(np.median(np.flatnonzero(alive)))
        error = tracks.velocity[middle, slot] - truth.velocity[target]
        spread = np.linalg.inv(tracks.velocity_covariance[middle, slot])
        drifts.append(error @ spread @ error / 2)
    return np.concatenate([np.zeros(0), *squares]), np.array(drifts)


def shift_error(result: FrameTracks, truth: SequenceTruth) -> np.ndarray:
    """Returns errors of the camera's shifts, without a mean and a linear trend."""
    error = result.camera.shift - truth.shift
    trend = np.stack([np.ones(len(error)), np.arange(len(error))], axis=1)
    return error - trend @ np.linalg.lstsq(trend, error, rcond=None)[0]


def main(
    sequences: int = 20,
    snr: float = 10.0,
    sigma: float = 1.0,
    targets: int = 10,
    frames: int = 20,
    size: int = 128,
    jitter: float = 0.5,
    expected_jitter: float = 0.5,
    texture: float = 0.0,
    missing: float = 0.0,
    method: str = "refine",
    max_targets: int = 2,
    motions: tuple[str, ...] = ("targets", "none"),
    seed: int = 10_000,
) -> None:
    """Benchmark tracking in whole frames.

    Args:
      sequences: number of simulated sequences.
      snr: signal-to-noise ratio of a target in the matched filter, up to twice as much.
      sigma: standard deviation of the PSF in pixels.
      targets: number of targets in a sequence.
      frames: number of frames in a sequence.
      size: height and width of a frame in pixels.
      jitter: standard deviation of the camera's shift along each axis in pixels.
      expected_jitter: jitter that the tracker allows for, in pixels.
      texture: standard deviation of the scene's structure in counts.
      missing: share of a target's frames in which it is dark.
      method: method that unmixes the frames.
      max_targets: largest number of targets in a blob.
      motions: sources of the camera's shift.
      seed: random seed of the first sequence.
    """
    sensor = replace(FRAME_SENSOR, sigma=sigma)
    least = intensity_at(snr, sensor)
    content = FrameSequence(
        *(size, size, frames, targets, (least, 2 * least)),
        jitter=jitter,
        texture=texture,
        missing=missing,
    )
    camera = replace(sensor, background=0.0, read_noise=0.0)
    unmixer = FrameUnmixer(sensor=camera, prior=FramePrior(max_targets=max_targets), method=method)
    cases, seconds = [], 0.0
    for number in range(sequences):
        pixels, truth = simulate_frames(jax.random.key(seed + number), content, sensor)
        start = time.perf_counter()
        found = [unmixer(frame) for frame in pixels]
        seconds += time.perf_counter() - start
        cases.append((pixels, found, truth))
    print(f"{seconds / (sequences * frames):.3f} s to unmix a frame, compilation included\n")
    print(f"| {' | '.join(HEADINGS)} |\n|---{'|--:' * (len(HEADINGS) - 1)}|")
    for motion in motions:
        print(row(FrameTracker(camera_motion=motion, jitter=expected_jitter), cases, sigma))


def row(
    tracker: FrameTracker,
    cases: list[tuple[np.ndarray, list[FrameTargets], SequenceTruth]],
    sigma: float,
) -> str:
    """Tracks all sequences with one source of the camera's shift, and returns their scores."""
    motion = tracker.camera_motion
    results, squares, drifts, shifts = [], [], [], []
    for pixels, found, truth in cases:
        scene = None
        if motion in ("auto", "scene"):
            scene = register_scenes(
                make_scene(*pair, sigma) for pair in zip(pixels, found, strict=True)
            )
        result = track_frames(found, tracker, scene)
        results.append(result)
        of_positions, of_velocities = standardised(result, truth)
        squares.append(of_positions)
        drifts.append(of_velocities)
        shifts.append(shift_error(result, truth))
    score = assess_tracks(
        stacked([detections(found) for _, found, _ in cases]),
        stacked([result.tracks for result in results]),
        stacked([truth.targets for _, _, truth in cases]),
    )
    values = (
        format_percent(score.share_tracked),
        format_percent(score.share_whole),
        format_percent(score.false_tracks),
        f"{score.identity_switches:.3f}",
        format_pixels(score.rmse),
        f"{np.sqrt(np.mean(np.concatenate(squares))):.2f}",
        f"{np.sqrt(np.mean(np.concatenate(drifts))):.2f}",
        format_pixels(float(np.sqrt(np.mean(np.concatenate(shifts) ** 2)))),
    )
    return f"| {motion} | {' | '.join(values)} |"


if __name__ == "__main__":
    tyro.cli(main)
