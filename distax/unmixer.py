"""From raw pixels to targets: the front that scripts, notebooks and the command line share."""

from dataclasses import dataclass
from functools import partial
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx
from jaxtyping import Array, Float

from distax.batching import inference_batch, padded_batches
from distax.errors import DistaxError, unknown
from distax.grid import decode
from distax.models import GridModel
from distax.sensor import Sensor
from distax.targets import Targets


@dataclass(frozen=True, kw_only=True, eq=False)
class Unmixer:
    """Finds the targets in images.

    Attributes:
      method: "grid": a grid model's output, read off at a threshold.
      model: the trained model.
      sensor: whose images they are.
      threshold: counts a grid node needs to be reported.

    Raises:
      DistaxError: an unknown method.
    """

    method: str = "grid"
    model: GridModel
    sensor: Sensor = Sensor()
    threshold: float = 50.0

    def __post_init__(self) -> None:
        if self.method != "grid":
            raise unknown("method", self.method, ["grid"])

    @classmethod
    def load(cls, run: str | Path, threshold: float = 50.0) -> "Unmixer":
        """An unmixer with the best model of a training run.

        Args:
          run: the run's folder.
          threshold: counts a grid node needs to be reported.

        Raises:
          DistaxError: there is no finished checkpoint, or it cannot be used.
        """
        from distax.training.checkpoints import load_model

        model, config = load_model(Path(run))
        return cls(model=model, sensor=config.sensor, threshold=threshold)

    def __call__(self, images: Float[Array | np.ndarray, "N height width"]) -> Targets:
        """Targets `[N, K]`, brightest first, from raw images in counts.

        Raises:
          DistaxError: images of another size than the sensor's, with NaN, or with values that the
            sensor cannot deliver.
        """
        check_images(np.asarray(images), self.sensor)
        graphdef, state = nnx.split(self.model)
        parts = [
            _unmix(graphdef, state, batch, self.sensor, self.threshold)
            for batch, _ in padded_batches(images, min(len(images), inference_batch()))
        ]
        return jax.tree.map(lambda *leaves: jnp.concatenate(leaves)[: len(images)], *parts)


@partial(jax.jit, static_argnames=("graphdef", "sensor", "threshold"))
def _unmix(
    graphdef: nnx.GraphDef[GridModel],
    state: nnx.State,
    images: Float[Array, "N height width"],
    sensor: Sensor,
    threshold: float,
) -> Targets:
    return decode(nnx.merge(graphdef, state)(images), threshold, sensor)


def check_images(images: np.ndarray, sensor: Sensor, name: str = "images") -> None:
    """Refuse images that the sensor cannot have delivered; `name` stands in the error.

    Raises:
      DistaxError: another size, a NaN or infinite pixel, or a count outside the sensor's range.
    """
    if images.shape[-2:] != sensor.shape:
        raise DistaxError(
            f"{name}: {images.shape[-2]}×{images.shape[-1]} px, the model is for "
            f"{sensor.height}×{sensor.width}; cut that window around each blob"
        )
    if not np.isfinite(images).all():
        raise DistaxError(
            f"{name}: {_where(~np.isfinite(images))} is NaN or infinite; replace bad pixels first"
        )
    outside = images > sensor.white
    if sensor.bit_depth is not None:
        outside |= images < 0
    if outside.any():
        raise DistaxError(
            f"{name}: {_where(outside)} is {images[outside][0]:g}, outside the 0..{sensor.white:g} "
            "counts of the model's sensor; scale to that range or train a model for your sensor"
        )


def _where(bad: np.ndarray) -> str:
    *image, row, column = (int(index) for index in np.argwhere(bad)[0])
    prefix = f"image {image[0]}, " if image else ""
    return f"{prefix}pixel ({row}, {column})"
