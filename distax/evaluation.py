"""How well a model does on a set of images: the published metrics and a few more, in one pass."""

from dataclasses import asdict, dataclass, replace
from functools import partial, reduce
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx
from jaxtyping import Array, Bool, Float, Int

from distax.batching import inference_batch, padded_batches
from distax.errors import DistaxError
from distax.grid import decode, rasterize
from distax.metrics import RADII, CsoSums, LocalizationSums, psnr, ssim
from distax.models import GridModel
from distax.pytree import pytree
from distax.sensor import Sensor
from distax.targets import Targets


@dataclass(frozen=True)
class Evaluation:
    """Results over a set of images.

    Attributes:
      images: number of images.
      cso_map: mean of the average precisions, a fraction.
      ap: average precision by matching radius in pixels, fractions.
      psnr: mean peak signal-to-noise ratio of the grids in dB.
      ssim: mean structural similarity of the grids.
      count_accuracy: share of images with the right number of targets.
      rmse: root-mean-square distance in pixels of optimally assigned pairs; None without any.
    """

    images: int
    cso_map: float
    ap: dict[str, float]
    psnr: float
    ssim: float
    count_accuracy: float
    rmse: float | None

    def to_dict(self) -> dict[str, Any]:
        """Plain numbers, for JSON."""
        return asdict(self)


@pytree
class EvaluationSums:
    """Everything an evaluation adds up, merged over batches and devices by adding."""

    cso: CsoSums
    localization: LocalizationSums
    images: Int[Array, ""]
    psnr: Float[Array, ""]
    ssim: Float[Array, ""]

    @classmethod
    def of(
        cls,
        grids: Float[Array, "B n m"],
        truth: Targets,
        valid: Bool[Array, " B"],
        sensor: Sensor,
        threshold: float,
    ) -> "EvaluationSums":
        """Sums over the valid images of a batch of predicted grids."""
        keep = valid[:, None]
        truth = replace(truth, mask=truth.mask & keep)
        found = decode(grids, threshold, sensor)
        found = replace(found, mask=found.mask & keep)
        true_grids = rasterize(truth, sensor, grids.shape[-1] // sensor.width)
        return cls(
            cso=CsoSums.of(found, truth),
            localization=LocalizationSums.of(found, truth, valid),
            images=jnp.sum(valid),
            psnr=jnp.sum(jnp.where(valid, psnr(grids, true_grids), 0.0)),
            ssim=jnp.sum(jnp.where(valid, ssim(grids, true_grids), 0.0)),
        )

    def value(self) -> Evaluation:
        """The results of all that was summed."""
        cso = self.cso.value()
        return Evaluation(
            images=int(self.images),
            cso_map=float(cso.mean),
            ap={f"{radius:.2f}": float(ap) for radius, ap in zip(RADII, cso.ap, strict=True)},
            psnr=float(self.psnr / self.images),
            ssim=float(self.ssim / self.images),
            count_accuracy=float(self.localization.count_accuracy),
            rmse=float(self.localization.rmse) if self.localization.pairs else None,
        )


def evaluate(
    model: GridModel,
    images: Float[Array | np.ndarray, "N height width"],
    truth: Targets,
    sensor: Sensor = Sensor(),
    threshold: float = 50.0,
    batch_size: int | None = None,
) -> Evaluation:
    """Run a model over images and score what it finds.

    Compiles once for models of one architecture. The last batch is padded; every image counts
    once.

    Args:
      model: a grid model.
      images: raw images in counts.
      truth: their true targets `[N, M]`.
      sensor: whose images they are.
      threshold: counts a grid node needs to become a detection.
      batch_size: images a step; what suits the device without it.

    Raises:
      DistaxError: there are no images.
    """
    if not len(images):
        raise DistaxError("there are no images to evaluate on")
    graphdef, state = nnx.split(model)
    parts = (
        _batch_sums(graphdef, state, batch, valid, sensor, threshold)
        for batch, valid in padded_batches((images, truth), batch_size or inference_batch())
    )
    return reduce(lambda a, b: jax.tree.map(jnp.add, a, b), parts).value()


@partial(jax.jit, static_argnames=("graphdef", "sensor", "threshold"))
def _batch_sums(
    graphdef: nnx.GraphDef[GridModel],
    state: nnx.State,
    batch: tuple[Float[Array, "B height width"], Targets],
    valid: Bool[Array, " B"],
    sensor: Sensor,
    threshold: float,
) -> EvaluationSums:
    images, truth = batch
    grids = nnx.merge(graphdef, state)(images)
    return EvaluationSums.of(grids, truth, valid, sensor, threshold)
