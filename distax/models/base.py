"""Base classes of all models: a training objective, and detection of targets."""

from abc import abstractmethod
from typing import ClassVar

import jax.numpy as jnp
from flax import nnx
from jaxtyping import Array, Float

from distax.imaging.grid import THRESHOLD, decode, rasterize
from distax.imaging.scenes import ScenePrior
from distax.imaging.sensor import Sensor, check_odd
from distax.imaging.targets import Targets


class Constant(nnx.Variable):
    """Array that a model is built around: saved with the parameters, never trained."""


class Model(nnx.Module):
    """A model from raw images in counts to targets.

    Every array of a subclass is an `nnx.Param` (trained), a `Constant` (not trained), or a running
    statistic of `nnx.BatchNorm`. `loss` and `detect` can be compiled. They treat each image of a
    batch independently, except in a model with batch normalisation that is in training mode
    (`model.train()`).

    Attributes:
      trained: True for a network; False for a classical model, which has no parameters.
    """

    trained: ClassVar[bool] = True

    @abstractmethod
    def loss(self, images: Float[Array, "B height width"], targets: Targets) -> Float[Array, ""]:
        """Returns the training objective for images in counts and their true targets `[B, K]`.

        It is a mean over images: devices compute it for equal shares of a batch, and average.
        """

    @abstractmethod
    def detect(self, images: Float[Array, "B height width"]) -> Targets:
        """Detects the targets in images in counts."""

    def check_prior(self, prior: ScenePrior) -> None:
        """Checks that the model can report all targets of a prior. The default accepts any prior.

        Raises:
          DistaxError: the prior has targets that the model could never report.
        """


class GridModel(Model):
    """A model from images to intensities on the sub-pixel grid.

    Subclasses define `__call__`. They override `objective` if they train by more than the mean
    square error.

    Args:
      factor: grid nodes per pixel along each axis, odd.
      sensor: the sensor whose images the model takes.

    Attributes:
      label_blur: standard deviation in pixels of a target on the grids of the training objective
        (see `grid.rasterize`).

    Raises:
      DistaxError: the factor is even.
    """

    label_blur: float = 0.0

    def __init__(self, factor: int, sensor: Sensor):
        check_odd(factor)
        self.factor, self.sensor = factor, sensor

    @abstractmethod
    def __call__(
        self, images: Float[Array, "B height width"]
    ) -> Float[Array, "B fine_height fine_width"]:
        """Returns intensities in counts on the sub-pixel grid, from raw images in counts."""

    def objective(
        self,
        images: Float[Array, "B height width"],
        grids: Float[Array, "B fine_height fine_width"],
    ) -> Float[Array, ""]:
        """Returns the training objective for images and their true grids: the mean square error."""
        return jnp.mean((self(images) - grids) ** 2)

    def loss(self, images: Float[Array, "B height width"], targets: Targets) -> Float[Array, ""]:
        """Returns the objective with the targets rasterised on the sub-pixel grid."""
        grids = rasterize(targets, self.sensor, self.factor, self.label_blur)
        return self.objective(images, grids)

    def detect(
        self,
        images: Float[Array, "B height width"],
        threshold: float | Float[Array, ""] = THRESHOLD,
    ) -> Targets:
        """Reports every grid node whose intensity reaches `threshold` counts, brightest first."""
        return decode(self(images), threshold, self.sensor)
