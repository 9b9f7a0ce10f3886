"""What every model offers: an objective to train it by, and the targets it finds."""

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
    """An array a model is built around and never trains, saved with its parameters."""


class Model(nnx.Module):
    """A network from raw images in counts to targets.

    Every array a subclass holds is an `nnx.Param` (trained), a `Constant` (not), or a running
    statistic of `nnx.BatchNorm`. Both methods can be compiled, and treat every image of a batch on
    its own, unless a model that normalises over batches is in training mode (`model.train()`).

    Attributes:
      trained: False for a solver, which has no parameters.
    """

    trained: ClassVar[bool] = True

    @abstractmethod
    def loss(self, images: Float[Array, "B height width"], targets: Targets) -> Float[Array, ""]:
        """Training objective for images in counts and their true targets `[B, K]`."""

    @abstractmethod
    def detect(self, images: Float[Array, "B height width"]) -> Targets:
        """The targets in images in counts."""

    def check_prior(self, prior: ScenePrior) -> None:
        """Raise DistaxError where a prior places targets that the model could never report.

        A model that takes any scenes, as those on a grid do, leaves this as it is.
        """


class GridModel(Model):
    """A network from images to intensity on the sub-pixel grid.

    Subclasses define `__call__`, and `objective` where theirs is more than the mean square.

    Args:
      factor: grid nodes per pixel along each axis, odd.
      sensor: whose images it takes.

    Attributes:
      label_blur: how far in pixels a target is spread on the grids it is trained by (see
        `grid.rasterize`).

    Raises:
      DistaxError: an even factor.
    """

    label_blur: float = 0.0

    def __init__(self, factor: int, sensor: Sensor):
        check_odd(factor)
        self.factor, self.sensor = factor, sensor

    @abstractmethod
    def __call__(
        self, images: Float[Array, "B height width"]
    ) -> Float[Array, "B fine_height fine_width"]:
        """Intensity in counts on the sub-pixel grid, from raw images in counts."""

    def objective(
        self,
        images: Float[Array, "B height width"],
        grids: Float[Array, "B fine_height fine_width"],
    ) -> Float[Array, ""]:
        """Training objective for images and their true grids: the mean square error."""
        return jnp.mean((self(images) - grids) ** 2)

    def loss(self, images: Float[Array, "B height width"], targets: Targets) -> Float[Array, ""]:
        """The objective for the grids that the targets make."""
        grids = rasterize(targets, self.sensor, self.factor, self.label_blur)
        return self.objective(images, grids)

    def detect(
        self, images: Float[Array, "B height width"], threshold: float = THRESHOLD
    ) -> Targets:
        """Every grid node whose intensity reaches `threshold` counts, brightest first."""
        return decode(self(images), threshold, self.sensor)
