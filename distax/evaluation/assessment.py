"""Estimators and models held against the truth."""

from collections.abc import Sequence
from dataclasses import dataclass

import jax
import numpy as np
from flax import nnx
from jaxtyping import Array, Bool, Float

from distax.evaluation.devices import Judge, sum_over_devices
from distax.evaluation.results import Evaluation
from distax.evaluation.sums import EvaluationSums, GridQuality
from distax.imaging.grid import THRESHOLD, decode, rasterize
from distax.imaging.scenes import ScenePrior
from distax.imaging.sensor import Sensor
from distax.imaging.targets import Targets
from distax.metrics import psnr, ssim
from distax.models import GridModel, Model
from distax.runtime.batching import inference_batch
from distax.runtime.errors import DistaxError


def assess(
    found: Targets,
    truth: Targets,
    sensor: Sensor = Sensor(),
    prior: ScenePrior | None = None,
    devices: Sequence[jax.Device] | None = None,
) -> Evaluation:
    """Hold any estimator's answers against the truth.

    Args:
      found: its answers `[N, K]`.
      truth: the true targets `[N, M]` of the same images.
      sensor: whose images they were, for the Cramér–Rao bound.
      prior: what the estimator knew of such scenes before it saw them, if anything; the bound has
        it too.
      devices: which devices share the work, all without it; the result is the same on any. Of
        several processes all make the same call.

    Raises:
      DistaxError: there are no images, or not as many answers.
    """
    images = len(truth.mask)
    if not images:
        raise DistaxError("there are no images to evaluate on")
    if len(found.mask) != images:
        raise DistaxError(f"{len(found.mask)} answers cannot be held against {images} images")
    judge = _AnswersJudge(sensor, prior)
    return sum_over_devices(judge, None, (found, truth), 1, devices).value()


def evaluate(
    model: Model,
    images: Float[Array | np.ndarray, "N height width"],
    truth: Targets,
    sensor: Sensor = Sensor(),
    threshold: float = THRESHOLD,
    batch_size: int | None = None,
    prior: ScenePrior | None = None,
    devices: Sequence[jax.Device] | None = None,
) -> Evaluation:
    """Run a model over images and hold what it finds against the truth.

    Compiles once for models of one architecture and one number of images: the model, decoding,
    matching and the sums are one program on each device.

    Args:
      model: the model.
      images: raw images in counts.
      truth: their true targets `[N, M]`.
      sensor: whose images they are.
      threshold: counts a grid node needs to become a detection; other models need none.
      batch_size: images a step of inference on each device; what suits it without it.
      prior: as for `assess`.
      devices: as for `assess`.

    Raises:
      DistaxError: there are no images.
    """
    if not len(images):
        raise DistaxError("there are no images to evaluate on")
    graphdef, state = nnx.split(model)
    batch = batch_size or inference_batch()
    judge = _ModelJudge(sensor, prior, graphdef, threshold, batch)
    return sum_over_devices(judge, state, (images, truth), batch, devices).value()


@dataclass(frozen=True)
class _AnswersJudge(Judge[EvaluationSums]):
    """Holds answers against the truth."""

    sensor: Sensor
    prior: ScenePrior | None

    def __call__(
        self, arrays: None, rows: tuple[Targets, Targets], valid: Bool[Array, " rows"]
    ) -> EvaluationSums:
        return EvaluationSums.of(*rows, valid, self.sensor, self.prior)


@dataclass(frozen=True)
class _ModelJudge(Judge[EvaluationSums]):
    """Runs a model over images, a batch after the other, and holds its answers against the truth.

    A batch fits a CPU's cache or fills an accelerator, while sums are better made of many.
    """

    sensor: Sensor
    prior: ScenePrior | None
    graphdef: nnx.GraphDef[Model]
    threshold: float
    batch: int

    def __call__(
        self, arrays: nnx.State, rows: tuple[Array, Targets], valid: Bool[Array, " rows"]
    ) -> EvaluationSums:
        batches = jax.tree.map(lambda leaf: leaf.reshape(-1, self.batch, *leaf.shape[1:]), rows)
        answers = jax.lax.map(lambda batch: self._answer(arrays, *batch), batches)
        found, quality = jax.tree.map(lambda leaf: leaf.reshape(-1, *leaf.shape[2:]), answers)
        return EvaluationSums.of(found, rows[1], valid, self.sensor, self.prior, quality)

    def _answer(
        self, state: nnx.State, images: Float[Array, "B height width"], truth: Targets
    ) -> tuple[Targets, GridQuality | None]:
        """What the model finds, and the quality of the grids it was found on, if on grids."""
        model = nnx.merge(self.graphdef, state)
        if not isinstance(model, GridModel):
            return model.detect(images), None
        grids = model(images)
        true_grids = rasterize(truth, self.sensor, grids.shape[-1] // self.sensor.width)
        quality = GridQuality(psnr=psnr(grids, true_grids), ssim=ssim(grids, true_grids))
        return decode(grids, self.threshold, self.sensor), quality
