"""Sums of an evaluation on sequences, and the scorers that compute them on each device."""

from dataclasses import dataclass, replace

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx
from jaxtyping import Array, Float, Int

from distax.evaluation.devices import Scorer
from distax.evaluation.sequence_results import SequenceEvaluation, SequenceProtocol
from distax.evaluation.sums import EvaluationSums, GridQuality
from distax.imaging.grid import decode, rasterize
from distax.imaging.scenes import ScenePrior
from distax.imaging.sensor import Sensor
from distax.imaging.targets import Targets
from distax.metrics import CsoSums, RateSums, by_radius, psnr, ssim
from distax.models import SequenceModel
from distax.runtime.batching import join_batches, split_batches
from distax.runtime.pytree import pytree


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
        by_frame = self.by_frame.without_empty_bins()
        scores = np.asarray(jax.vmap(lambda sums: sums.value().mean)(by_frame))
        return SequenceEvaluation(
            sequences=sequences,
            protocol=protocol,
            frames=self.frames.value(sequences),
            detection_rate=jax.tree.map(float, by_radius(self.rates.detection_rate)),
            false_rate=jax.tree.map(float, by_radius(self.rates.false_rate)),
            by_frame={
                str(protocol.margin + 1 + index): float(score) for index, score in enumerate(scores)
            },
        )


@dataclass(frozen=True)
class SequenceScorer(Scorer[SequenceSums]):
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
        index: Int[Array, " rows"],
        quality: GridQuality | None = None,
    ) -> SequenceSums:
        """Computes the sums over the scored frames.

        Args:
          found: the targets found in the scored frames, `[rows, F, K]`.
          truth: the true targets in all frames.
          index: number of each sequence among all sequences; −1 for padding.
          quality: quality of the grids `[rows, F]`.
        """
        scored = self.protocol.frames(truth.mask.shape[1])
        found = replace(found, mask=found.mask & (found.intensity >= self.protocol.threshold))
        true = _cut(truth, scored)
        # The published code compares answers with the frames that are `margin` frames earlier.
        earlier = range(len(scored)) if self.protocol.shifted_rates else scored
        valid = index >= 0
        # Frames of a sequence show the same targets. With one number they stay together in the
        # bootstrap, so that intervals are those over sequences.
        number = jnp.repeat(index, len(scored))
        flat, flat_true = join_batches(found), join_batches(true)
        return SequenceSums(
            frames=EvaluationSums.of(
                flat,
                flat_true,
                number,
                self.sensor,
                self.prior,
                None if quality is None else join_batches(quality),
            ),
            rates=RateSums.of(flat, join_batches(_cut(truth, earlier)), valid=number >= 0),
            by_frame=jax.vmap(lambda found, true: CsoSums.of(found, true, valid=valid), in_axes=1)(
                found, true
            ),
        )


@dataclass(frozen=True)
class FoundScorer(SequenceScorer):
    """Scores targets that were found before, in all frames."""

    def __call__(
        self, arrays: None, rows: tuple[Targets, Targets], index: Int[Array, " rows"]
    ) -> SequenceSums:
        found, truth = rows
        return self.score(_cut(found, self.protocol.frames(truth.mask.shape[1])), truth, index)


@dataclass(frozen=True)
class SequenceModelScorer(SequenceScorer):
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
        index: Int[Array, " rows"],
    ) -> SequenceSums:
        batches = split_batches(rows, self.batch)
        results = jax.lax.map(lambda batch: self._detect(*arrays, *batch), batches)
        found, quality = join_batches(results)
        return self.score(found, rows[1], index, quality)

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
        flat, flat_true = join_batches((grids, true))
        quality = GridQuality(psnr=psnr(flat, flat_true), ssim=ssim(flat, flat_true))
        by_frame = jax.tree.map(lambda leaf: leaf.reshape(grids.shape[:2]), quality)
        return decode(grids, threshold, self.sensor), by_frame


def _cut(targets: Targets, frames: range) -> Targets:
    return jax.tree.map(lambda leaf: leaf[:, frames.start : frames.stop], targets)
