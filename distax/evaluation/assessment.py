"""Estimators and models held against the truth."""

from dataclasses import replace
from functools import partial, reduce

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx
from jaxtyping import Array, Bool, Float

from distax.batching import in_batches, inference_batch, padded_batches
from distax.errors import DistaxError
from distax.evaluation.results import Evaluation
from distax.evaluation.sums import EvaluationSums
from distax.grid import decode, rasterize
from distax.metrics import psnr, ssim
from distax.models import GridModel, Model
from distax.scenes import PlacementLaw
from distax.sensor import Sensor
from distax.targets import Targets

# Images whose sums are made at once: the sums are tens of megabytes, which takes as long to add
# as they take to count a thousand images.
_IMAGES = 2048


def assess(
    found: Targets,
    truth: Targets,
    sensor: Sensor = Sensor(),
    law: PlacementLaw | None = None,
) -> Evaluation:
    """Hold any estimator's answers against the truth.

    Args:
      found: its answers `[N, K]`.
      truth: the true targets `[N, M]` of the same images.
      sensor: whose images they were, for the Cramér–Rao bound.
      law: what the estimator knew of such scenes before it saw them, if anything; the bound has
        it too.

    Raises:
      DistaxError: there are no images, or not as many answers.
    """
    images = len(truth.mask)
    if not images:
        raise DistaxError("there are no images to evaluate on")
    if len(found.mask) != images:
        raise DistaxError(f"{len(found.mask)} answers cannot be held against {images} images")
    parts = (
        _sums(*batch, valid, sensor, law)
        for batch, valid in padded_batches((found, truth), min(images, _IMAGES))
    )
    return reduce(partial(jax.tree.map, jnp.add), parts).value()


def evaluate(
    model: Model,
    images: Float[Array | np.ndarray, "N height width"],
    truth: Targets,
    sensor: Sensor = Sensor(),
    threshold: float = 50.0,
    batch_size: int | None = None,
    law: PlacementLaw | None = None,
) -> Evaluation:
    """Run a model over images and hold what it finds against the truth.

    Compiles once for models of one architecture and one number of images.

    Args:
      model: the model.
      images: raw images in counts.
      truth: their true targets `[N, M]`.
      sensor: whose images they are.
      threshold: counts a grid node needs to become a detection; other models need none.
      batch_size: images a step of inference; what suits the device without it.
      law: as for `assess`.

    Raises:
      DistaxError: there are no images.
    """
    if not len(images):
        raise DistaxError("there are no images to evaluate on")
    graphdef, state = nnx.split(model)
    found, quality = in_batches(
        lambda batch: _answer(graphdef, state, *batch, sensor, threshold),
        (images, truth),
        batch_size or inference_batch(),
    )
    result = assess(found, truth, sensor, law)
    if quality is None:
        return result
    return replace(
        result, psnr=float(np.mean(quality["psnr"])), ssim=float(np.mean(quality["ssim"]))
    )


@partial(jax.jit, static_argnames=("sensor", "law"))
def _sums(
    found: Targets,
    truth: Targets,
    valid: Bool[Array, " B"],
    sensor: Sensor,
    law: PlacementLaw | None,
) -> EvaluationSums:
    return EvaluationSums.of(found, truth, valid, sensor, law)


@partial(jax.jit, static_argnames=("graphdef", "sensor", "threshold"))
def _answer(
    graphdef: nnx.GraphDef[Model],
    state: nnx.State,
    images: Float[Array, "B height width"],
    truth: Targets,
    sensor: Sensor,
    threshold: float,
) -> tuple[Targets, dict[str, Float[Array, " B"]] | None]:
    """What a model finds, and the quality of the grids it was found on, if on grids."""
    model = nnx.merge(graphdef, state)
    if not isinstance(model, GridModel):
        return model.detect(images), None
    grids = model(images)
    true_grids = rasterize(truth, sensor, grids.shape[-1] // sensor.width)
    quality = {"psnr": psnr(grids, true_grids), "ssim": ssim(grids, true_grids)}
    return decode(grids, threshold, sensor), quality
