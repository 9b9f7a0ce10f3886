"""Targets in the windows of a sequence, found frame by frame or by a model of sequences."""

from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float

from distax.cli.options import Method, make_unmixer
from distax.fitting.cameras import outside_of_range
from distax.imaging.motion import MotionPrior
from distax.imaging.sensor import Sensor
from distax.imaging.targets import Targets
from distax.io.sensor_file import read_sensor
from distax.runtime.terminal import tell
from distax.tracking import SequenceUnmixer, unmix_sequences
from distax.unmixer import Unmixer


def make_window_unmixer(
    method: Method | None,
    checkpoint: str | None,
    threshold: float | None,
    sensor_file: Path | None,
    prior: MotionPrior,
) -> Unmixer:
    """Makes the unmixer of single windows, as `cli.options.make_unmixer` does.

    Without a method and a checkpoint it is fast where its network is trained, and refine elsewhere.
    The default of other commands, posterior, is too slow for every frame.
    """
    if method is None and checkpoint is None:
        sensor = read_sensor(sensor_file) if sensor_file else Sensor()
        method = "refine" if outside_of_range(sensor, prior.frame_prior) else "fast"
    return make_unmixer(method, checkpoint, threshold, sensor_file, prior.frame_prior)


def find_targets(
    unmixer: Unmixer | SequenceUnmixer,
    frames: Float[np.ndarray, "T height width"],
    files: Sequence[Path],
) -> tuple[Targets, range]:
    """Finds the targets in windows, and names the frames without an answer on standard error.

    Args:
      unmixer: the unmixer of single windows or of sequences.
      frames: raw counts.
      files: the files of the frames, for error messages.

    Returns:
      Targets `[1, answered, K]`, and the answered frames.

    Raises:
      DistaxError: the frames have another size than the sensor's, or the unmixer rejects them.
    """
    if isinstance(unmixer, Unmixer):
        unmixer.check(frames, str(files[0]))
        return unmix_sequences(unmixer, frames[None]), range(len(frames))
    name = str(files[0]) if len(files) == 1 else f"{files[0]} to {files[-1]}"
    found = unmixer(frames[None], name)
    answered = unmixer.answered(len(frames))
    tell(
        f"{type(unmixer.model).__name__} answers frames {answered[0]} to {answered[-1]} of "
        f"{len(frames)}, counted from 0: the others have no targets"
    )
    return found, answered


def describe_unmixer(unmixer: Unmixer | SequenceUnmixer, answered: range) -> dict[str, Any]:
    """Describes what gave the targets, for a JSON file."""
    sensor = {"sensor": asdict(unmixer.sensor)}
    if isinstance(unmixer, Unmixer):
        prior = unmixer.assumed_prior
        return {"method": unmixer.method} | sensor | {"prior": prior and asdict(prior)}
    return {
        "method": "sequence",
        "model": type(unmixer.model).__name__,
        "threshold": unmixer.threshold,
        "answered": {"first": answered[0], "last": answered[-1]},
        **sensor,
        "prior": None,
    }
