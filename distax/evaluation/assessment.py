"""Comparison of the targets that an estimator or a model finds with the true ones."""

from collections.abc import Sequence
from dataclasses import dataclass

import jax
import numpy as np
from flax import nnx
from jaxtyping import Array, Float, Int

from distax.evaluation.devices import Rows, Scorer, sum_over_devices
from distax.evaluation.image_sums import GridQuality
from distax.evaluation.results import Evaluation
from distax.evaluation.sums import EvaluationSums
from distax.imaging.grid import THRESHOLD, decode, rasterize
from distax.imaging.scenes import ScenePrior
from distax.imaging.sensor import Sensor
from distax.imaging.targets import Targets, check_known_places, check_shapes
from distax.metrics import psnr, ssim
from distax.models import GridModel, Model, SequenceModel
from distax.runtime.batching import inference_batch, join_batches, split_batches
from distax.runtime.errors import DistaxError, check_positive
from distax.runtime.sharding import ordered_devices


def assess(
    found: Targets,
    truth: Targets,
    sensor: Sensor = Sensor(),
    prior: ScenePrior | None = None,
    devices: Sequence[jax.Device] | None = None,
) -> Evaluation:
    """Compares the targets that any estimator found with the true ones.

    Args:
      found: the targets found, `[N, K]`.
      truth: the true targets `[N, M]` of the same images.
      sensor: the sensor that took the images, for the Cramér–Rao bound.
      prior: the scene prior that the estimator used, which the bound then includes. Default: no
        prior.
      devices: the devices that share the work; the result is the same on any. Default: all devices
        of all processes. With several processes all make the same call.

    Raises:
      DistaxError: there are no images, or `found` and `truth` are of different numbers of images;
        their arrays do not fit one another; a true position is not finite.
    """
    check_shapes(found=found, truth=truth)
    check_known_places(truth)
    images = len(truth.mask)
    if not images:
        raise DistaxError("there are no images to evaluate on")
    if len(found.mask) != images:
        raise DistaxError(f"{len(found.mask)} answers cannot be compared with {images} images")
    return assess_rows((found, truth), sensor, prior, devices)


def assess_rows(
    rows: Rows | tuple[Targets, Targets],
    sensor: Sensor,
    prior: ScenePrior | None,
    devices: Sequence[jax.Device] | None = None,
) -> Evaluation:
    """Compares targets as `assess` does, where the found and the true ones are read in parts.

    Args:
      rows: the targets found and the true ones, of one image at least.
      sensor, prior, devices: as for `assess`.
    """
    return sum_over_devices(_TargetsScorer(sensor, prior), None, rows, 1, devices).value()


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
    """Runs a model over images and compares the targets it finds with the true ones.

    The model, decoding, matching and the sums are one compiled program on each device. It compiles
    once for models of one architecture and one number of images.

    Args:
      model: the model.
      images: raw images in counts.
      truth: their true targets `[N, M]`.
      sensor: the sensor that took the images.
      threshold: counts a grid node needs to become a detection; used by grid models only.
      batch_size: images in a batch of inference on each device. Default: a size that suits it.
      prior: as for `assess`.
      devices: as for `assess`.

    Raises:
      DistaxError: there are no images, or `truth` is of another number of images; the model takes
        sequences; the threshold is not a finite number greater than 0.
    """
    check_positive(threshold=threshold)
    if isinstance(model, SequenceModel):
        raise DistaxError(
            f"{type(model).__name__} takes sequences of frames; use evaluate_sequences"
        )
    if not len(images):
        raise DistaxError("there are no images to evaluate on")
    if len(truth.mask) != len(images):
        raise DistaxError(
            f"{len(images)} images cannot be compared with the truth of {len(truth.mask)}; give "
            "both for the same images"
        )
    return evaluate_rows(model, (images, truth), sensor, threshold, batch_size, prior, devices)


def evaluate_rows(
    model: Model,
    rows: Rows | tuple[Float[Array | np.ndarray, "N height width"], Targets],
    sensor: Sensor,
    threshold: float = THRESHOLD,
    batch_size: int | None = None,
    prior: ScenePrior | None = None,
    devices: Sequence[jax.Device] | None = None,
) -> Evaluation:
    """Scores a model as `evaluate` does, where the images and the true targets are read in parts.

    Args:
      model: the model.
      rows: the images in counts and their true targets, one image at least.
      sensor, threshold, batch_size, prior, devices: as for `evaluate`.
    """
    graphdef, state = nnx.split(model)
    devices = ordered_devices(devices)
    batch = batch_size or inference_batch(devices[0].platform)
    scorer = ModelScorer(sensor, prior, graphdef, batch)
    arrays = state, np.float32(threshold)
    return sum_over_devices(scorer, arrays, rows, batch, devices).value()


@dataclass(frozen=True)
class _TargetsScorer(Scorer[EvaluationSums]):
    """Scores targets that were found before."""

    sensor: Sensor
    prior: ScenePrior | None

    def __call__(
        self, arrays: None, rows: tuple[Targets, Targets], index: Int[Array, " rows"]
    ) -> EvaluationSums:
        return EvaluationSums.of(*rows, index, self.sensor, self.prior)


@dataclass(frozen=True)
class ModelScorer(Scorer[EvaluationSums]):
    """Scores the targets that a model finds.

    The model runs over one batch after the other, because a batch fits a CPU's cache or fills an
    accelerator. The sums are made of all batches at once, because adding them up is slow.

    Attributes:
      sensor: the sensor that took the images.
      prior: the prior that the Cramér–Rao bound includes; None for no prior.
      graphdef: the model's architecture.
      batch: images in a batch of inference.
    """

    sensor: Sensor
    prior: ScenePrior | None
    graphdef: nnx.GraphDef[Model]
    batch: int

    def __call__(
        self,
        arrays: tuple[nnx.State, Float[Array, ""]],
        rows: tuple[Array, Targets],
        index: Int[Array, " rows"],
    ) -> EvaluationSums:
        batches = split_batches(rows, self.batch)
        results = jax.lax.map(lambda batch: self._detect(*arrays, *batch), batches)
        found, quality = join_batches(results)
        return EvaluationSums.of(found, rows[1], index, self.sensor, self.prior, quality)

    def _detect(
        self,
        state: nnx.State,
        threshold: Float[Array, ""],
        images: Float[Array, "B height width"],
        truth: Targets,
    ) -> tuple[Targets, GridQuality | None]:
        """Finds targets, and the quality of the grids they come from; None without a grid."""
        model = nnx.merge(self.graphdef, state)
        if not isinstance(model, GridModel):
            return model.detect(images), None
        grids = model(images)
        true_grids = rasterize(truth, self.sensor, grids.shape[-1] // self.sensor.width)
        quality = GridQuality(psnr=psnr(grids, true_grids), ssim=ssim(grids, true_grids))
        return decode(grids, threshold, self.sensor), quality
