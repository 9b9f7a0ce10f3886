"""Evaluation on sequences under SeqCSIST's protocol (arXiv 2507.09556)."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx
from jaxtyping import Array, Bool, Float

from distax.evaluation.devices import Rows, Scorer, sum_over_devices
from distax.evaluation.results import Evaluation
from distax.evaluation.sums import EvaluationSums, GridQuality
from distax.imaging.grid import decode, rasterize
from distax.imaging.scenes import ScenePrior
from distax.imaging.sensor import Sensor
from distax.imaging.targets import Targets
from distax.metrics import RADII, CsoSums, RateSums, psnr, ssim
from distax.models import SequenceModel
from distax.runtime.batching import inference_batch
from distax.runtime.errors import DistaxError, check_not_negative, check_positive
from distax.runtime.pytree import pytree
from distax.runtime.sharding import ordered_devices


@dataclass(frozen=True)
class SequenceProtocol:
    """Protocol of SeqCSIST: detections above a threshold, in all frames but the outer ones.

    Attributes:
      threshold: counts that a detection needs.
      margin: frames at each end of a sequence that are not scored. 2 leaves frames 3 to 18 of 20.
      shifted_rates: True to compare the answer of frame f with the truth of frame f − margin in the
        detection rate and the false rate, as the published code does by mistake.

    Raises:
      DistaxError: the threshold is not positive, or the margin is negative.
    """

    threshold: float = 70.0
    margin: int = 2
    shifted_rates: bool = False

    def __post_init__(self) -> None:
        check_positive(threshold=self.threshold)
        check_not_negative(margin=self.margin)

    def frames(self, length: int) -> range:
        """Returns the scored frames of a sequence, counted from 0.

        Raises:
          DistaxError: no frame would be scored.
        """
        if length <= 2 * self.margin:
            raise DistaxError(
                f"a sequence of {length} frames is too short: the first and the last {self.margin} "
                f"frames are not scored; give at least {2 * self.margin + 1} frames"
            )
        return range(self.margin, length - self.margin)


@dataclass(frozen=True)
class SequenceEvaluation:
    """Results over sequences. Keys of dictionaries are text, as in `Evaluation`.

    Attributes:
      sequences: number of sequences.
      protocol: the protocol.
      frames: results over the scored frames of all sequences.
      detection_rate: by matching radius in pixels, the share of true targets that are matched; see
        `metrics.RateSums`.
      false_rate: by matching radius, the share of detections that are not matched.
      by_frame: CSO-mAP of each scored frame, with detections ranked by the estimator's own score.
        Frames are counted from 1, as the paper does.
    """

    sequences: int
    protocol: SequenceProtocol
    frames: Evaluation
    detection_rate: dict[str, float]
    false_rate: dict[str, float]
    by_frame: dict[str, float]

    def to_dict(self) -> dict[str, Any]:
        """Converts to plain numbers and dictionaries, for JSON."""
        return asdict(self)


@pytree
class SequenceSums:
    """The sums of an evaluation on sequences, which are merged by adding.

    Attributes:
      frames: sums over all frames.
      rates: sums for the detection rate and the false rate.
      by_frame: sums for CSO-mAP along a leading axis of frames.
    """

    frames: EvaluationSums
    rates: RateSums
    by_frame: CsoSums

    def value(self, protocol: SequenceProtocol, sequences: int) -> SequenceEvaluation:
        """Computes the results from the sums."""
        scores = np.asarray(jax.vmap(lambda sums: sums.value().mean)(self.by_frame))
        return SequenceEvaluation(
            sequences=sequences,
            protocol=protocol,
            frames=self.frames.value(),
            detection_rate=_by_radius(self.rates.detection_rate),
            false_rate=_by_radius(self.rates.false_rate),
            by_frame={
                str(protocol.margin + 1 + index): float(score) for index, score in enumerate(scores)
            },
        )


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
        different frames.
    """
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
    scorer = _FoundScorer(sensor, prior, protocol)
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
      DistaxError: there are no sequences; they are too short for the model or the protocol; the
        protocol has frames that the model does not answer.
    """
    return evaluate_sequence_rows(model, (frames, truth), sensor, protocol, prior, devices)


def evaluate_sequence_rows(
    model: SequenceModel,
    rows: Rows | tuple[Float[Array | np.ndarray, "N T height width"], Targets],
    sensor: Sensor,
    protocol: SequenceProtocol,
    prior: ScenePrior | None = None,
    devices: Sequence[jax.Device] | None = None,
) -> SequenceEvaluation:
    """Scores a model as `evaluate_sequences` does, where the sequences are read in parts.

    Args:
      model: the model.
      rows: the sequences in counts and their true targets.
      sensor, protocol, prior, devices: as for `assess_sequences`.
    """
    if isinstance(rows, Rows):
        number, length = len(rows), rows.read(0, 1)[0].shape[1] if len(rows) else 0
    else:
        number, length = np.shape(rows[0])[:2]
    _check_sequences(number, length)
    check_answered(model, length, protocol)
    graphdef, state = nnx.split(model)
    devices = ordered_devices(devices)
    batch = max(inference_batch(devices[0].platform) // length, 1)
    scorer = _ModelScorer(sensor, prior, protocol, graphdef, batch)
    arrays = state, np.float32(protocol.threshold)
    sums = sum_over_devices(scorer, arrays, rows, batch, devices)
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


@dataclass(frozen=True)
class _SequenceScorer(Scorer[SequenceSums]):
    """Scores targets in sequences.

    Attributes:
      sensor: the sensor that took the frames.
      prior: the prior that the Cramér–Rao bound includes; None for no prior.
      protocol: threshold and frames of the protocol.
    """

    sensor: Sensor
    prior: ScenePrior | None
    protocol: SequenceProtocol

    def score(
        self,
        found: Targets,
        truth: Targets,
        valid: Bool[Array, " rows"],
        quality: GridQuality | None = None,
    ) -> SequenceSums:
        """Computes the sums over the scored frames.

        Args:
          found: the targets found in the scored frames, `[rows, F, K]`.
          truth: the true targets in all frames.
          valid: False for padding.
          quality: quality of the grids `[rows, F]`.
        """
        scored = self.protocol.frames(truth.mask.shape[1])
        found = replace(found, mask=found.mask & (found.intensity >= self.protocol.threshold))
        true = _cut(truth, scored)
        # The published code compares answers with the frames that lie the margin before.
        earlier = range(len(scored)) if self.protocol.shifted_rates else scored
        every = jnp.repeat(valid, len(scored))
        flat, flat_true = _flat(found), _flat(true)
        return SequenceSums(
            frames=EvaluationSums.of(
                flat,
                flat_true,
                every,
                self.sensor,
                self.prior,
                None if quality is None else _flat(quality),
            ),
            rates=RateSums.of(flat, _flat(_cut(truth, earlier)), valid=every),
            by_frame=jax.vmap(lambda found, true: CsoSums.of(found, true, valid=valid), in_axes=1)(
                found, true
            ),
        )


@dataclass(frozen=True)
class _FoundScorer(_SequenceScorer):
    """Scores targets that were found before, in all frames."""

    def __call__(
        self, arrays: None, rows: tuple[Targets, Targets], valid: Bool[Array, " rows"]
    ) -> SequenceSums:
        found, truth = rows
        return self.score(_cut(found, self.protocol.frames(truth.mask.shape[1])), truth, valid)


@dataclass(frozen=True)
class _ModelScorer(_SequenceScorer):
    """Scores the targets that a model finds.

    Attributes:
      graphdef: the model's architecture.
      batch: sequences in a batch of inference.
    """

    graphdef: nnx.GraphDef[SequenceModel]
    batch: int

    def __call__(
        self,
        arrays: tuple[nnx.State, Float[Array, ""]],
        rows: tuple[Array, Targets],
        valid: Bool[Array, " rows"],
    ) -> SequenceSums:
        batches = jax.tree.map(lambda leaf: leaf.reshape(-1, self.batch, *leaf.shape[1:]), rows)
        results = jax.lax.map(lambda batch: self._detect(*arrays, *batch), batches)
        found, quality = jax.tree.map(lambda leaf: leaf.reshape(-1, *leaf.shape[2:]), results)
        return self.score(found, rows[1], valid, quality)

    def _detect(
        self,
        state: nnx.State,
        threshold: Float[Array, ""],
        frames: Float[Array, "B T height width"],
        truth: Targets,
    ) -> tuple[Targets, GridQuality]:
        """Finds targets in the scored frames, and the quality of the grids they come from."""
        model = nnx.merge(self.graphdef, state)
        answered, scored = (
            part(frames.shape[1]) for part in (model.answered, self.protocol.frames)
        )
        first = scored.start - answered.start
        grids = model(frames)[:, first : first + len(scored)]
        true = rasterize(_cut(truth, scored), self.sensor, model.factor)
        flat, flat_true = (maps.reshape(-1, *maps.shape[2:]) for maps in (grids, true))
        quality = GridQuality(psnr=psnr(flat, flat_true), ssim=ssim(flat, flat_true))
        by_frame = jax.tree.map(lambda leaf: leaf.reshape(grids.shape[:2]), quality)
        return decode(grids, threshold, self.sensor), by_frame


def _cut(targets: Targets, frames: range) -> Targets:
    return jax.tree.map(lambda leaf: leaf[:, frames.start : frames.stop], targets)


def _flat(tree: Any) -> Any:
    """Joins the axes of sequences and of frames."""
    return jax.tree.map(lambda leaf: jnp.reshape(leaf, (-1, *leaf.shape[2:])), tree)


def _by_radius(values: Float[Array, " R"]) -> dict[str, float]:
    return {f"{radius:.2f}": float(value) for radius, value in zip(RADII, values, strict=True)}
