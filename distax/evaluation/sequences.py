"""Evaluation on sequences under SeqCSIST's protocol (arXiv 2507.09556)."""

from collections.abc import Callable, Sequence

import jax
import numpy as np
from flax import nnx
from jaxtyping import Array, Float

from distax.evaluation.devices import Rows, sum_over_devices
from distax.evaluation.sequence_results import SequenceEvaluation, SequenceProtocol
from distax.evaluation.sequence_sums import FoundScorer, SequenceModelScorer
from distax.imaging.scenes import ScenePrior
from distax.imaging.sensor import Sensor
from distax.imaging.targets import Targets, check_known_places, check_shapes
from distax.models import SequenceModel
from distax.runtime.batching import sequence_batch
from distax.runtime.errors import DistaxError
from distax.runtime.sharding import ordered_devices

FRAMES_A_CALL = 512
"""Frames that a device scores in one call. More would show less progress of models that take a
second for a sequence. Adding the sums of two calls takes far less time."""


def assess_sequences(
    found: Targets,
    truth: Targets,
    sensor: Sensor = Sensor(),
    protocol: SequenceProtocol = SequenceProtocol(),
    prior: ScenePrior | None = None,
    devices: Sequence[jax.Device] | None = None,
) -> SequenceEvaluation:
    """Compares the targets that any estimator found in sequences with the true ones.

    Args:
      found: the targets found in all frames, `[N, T, K]`.
      truth: the true targets `[N, T, M]` of the same frames.
      sensor: the sensor that took the frames, for the Cramér–Rao bound.
      protocol: threshold and frames of the protocol.
      prior: the prior that the bound includes. Default: no prior.
      devices: as for `assess`.

    Raises:
      DistaxError: there are no sequences, they are too short, or `found` and `truth` are of
        different frames; their arrays do not fit one another; a true position is not finite.
    """
    check_shapes(found=found, truth=truth)
    check_known_places(truth)
    if np.ndim(truth.mask) != 3:
        raise DistaxError(
            f"the truth's mask has shape {np.shape(truth.mask)}; it must be [N, T, M]: sequences, "
            "frames, slots"
        )
    answered, frames = np.shape(found.mask)[:2], np.shape(truth.mask)[:2]
    if answered != frames:
        raise DistaxError(
            f"answers of {answered[0]} sequences of {answered[1]} frames cannot be compared with "
            f"the truth of {frames[0]} sequences of {frames[1]} frames; give both for the same"
        )
    _check_sequences(*frames)
    return assess_sequence_rows((found, truth), sensor, protocol, prior, devices)


def assess_sequence_rows(
    rows: Rows | tuple[Targets, Targets],
    sensor: Sensor,
    protocol: SequenceProtocol,
    prior: ScenePrior | None = None,
    devices: Sequence[jax.Device] | None = None,
) -> SequenceEvaluation:
    """Compares targets as `assess_sequences` does, where they are read in parts.

    Args:
      rows: the targets found and the true ones, of one sequence at least.
      sensor, protocol, prior, devices: as for `assess_sequences`.
    """
    number = len(rows) if isinstance(rows, Rows) else len(rows[0].mask)
    scorer = FoundScorer(sensor, prior, protocol)
    return sum_over_devices(scorer, None, rows, 1, devices).value(protocol, number)


def evaluate_sequences(
    model: SequenceModel,
    frames: Float[Array | np.ndarray, "N T height width"],
    truth: Targets,
    sensor: Sensor = Sensor(),
    protocol: SequenceProtocol = SequenceProtocol(),
    prior: ScenePrior | None = None,
    devices: Sequence[jax.Device] | None = None,
) -> SequenceEvaluation:
    """Runs a model over sequences and compares the targets it finds with the true ones.

    Args:
      model: the model.
      frames: raw sequences in counts.
      truth: their true targets `[N, T, M]`.
      sensor, protocol, prior, devices: as for `assess_sequences`.

    Raises:
      DistaxError: there are no sequences, or they are not those of `truth`; they are too short for
        the model or the protocol; the protocol has frames that the model does not answer; the model
        takes single images.
    """
    if not isinstance(model, SequenceModel):
        raise DistaxError(
            f"{type(model).__name__} takes single images; find targets by "
            "tracking.unmix_sequences, and compare them by assess_sequences"
        )
    if np.ndim(frames) != 4 or np.shape(frames)[:2] != np.shape(truth.mask)[:2]:
        raise DistaxError(
            f"frames of shape {np.shape(frames)} cannot be compared with the truth of shape "
            f"{np.shape(truth.mask)}; give frames [N, T, height, width] and the truth [N, T, M] of "
            "the same sequences"
        )
    return evaluate_sequence_rows(model, (frames, truth), sensor, protocol, prior, devices)


def evaluate_sequence_rows(
    model: SequenceModel,
    rows: Rows | tuple[Float[Array | np.ndarray, "N T height width"], Targets],
    sensor: Sensor,
    protocol: SequenceProtocol,
    prior: ScenePrior | None = None,
    devices: Sequence[jax.Device] | None = None,
    advance: Callable[[int], object] | None = None,
) -> SequenceEvaluation:
    """Scores a model as `evaluate_sequences` does, where the sequences are read in parts.

    Args:
      model: the model.
      rows: the sequences in counts and their true targets.
      sensor, protocol, prior, devices: as for `assess_sequences`.
      advance: called with the number of sequences that are done, to show progress.
    """
    if isinstance(rows, Rows):
        number, length = len(rows), rows.read(0, 1)[0].shape[1] if len(rows) else 0
    else:
        number, length = np.shape(rows[0])[:2]
    _check_sequences(number, length)
    check_answered(model, length, protocol)
    graphdef, state = nnx.split(model)
    devices = ordered_devices(devices)
    batch = sequence_batch(length, devices[0].platform)
    scorer = SequenceModelScorer(sensor, prior, protocol, graphdef, batch)
    arrays = state, np.float32(protocol.threshold)
    at_once = max(FRAMES_A_CALL // length, 1)
    sums = sum_over_devices(scorer, arrays, rows, batch, devices, at_once, advance)
    return sums.value(protocol, number)


def check_answered(model: SequenceModel, length: int, protocol: SequenceProtocol) -> None:
    """Raises DistaxError if a model does not answer all scored frames of sequences of a length."""
    answered, scored = model.answered(length), protocol.frames(length)
    if scored.start < answered.start or scored.stop > answered.stop:
        raise DistaxError(
            f"frames {scored.start + 1} to {scored.stop} are scored, {type(model).__name__} "
            f"answers frames {answered.start + 1} to {answered.stop}; raise the margin"
        )


def _check_sequences(number: int, length: int) -> None:
    if not number or not length:
        raise DistaxError("there are no sequences to evaluate on")
