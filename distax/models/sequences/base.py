"""Base class of models that take sequences of frames."""

from abc import abstractmethod

import jax.numpy as jnp
from jaxtyping import Array, Float

from distax.imaging.grid import THRESHOLD, decode, rasterize
from distax.imaging.sensor import Sensor, check_odd
from distax.imaging.targets import Targets
from distax.models.base import Model
from distax.runtime.errors import DistaxError


class SequenceModel(Model):
    """A model from sequences of frames to intensities on the sub-pixel grid of some of the frames.

    A frame is answered from itself and from `reach` frames on each side. So the first and the last
    `reach` frames of a sequence get no answer. Subclasses define `__call__`. They override
    `objective` if they train by more than the mean square error.

    Args:
      factor: grid nodes per pixel along each axis, odd.
      sensor: the sensor whose frames the model takes.

    Attributes:
      reach: number of frames on each side of a frame that its answer uses.
      label_blur: standard deviation in pixels of a target on the grids of the training objective
        (see `grid.rasterize`).

    Raises:
      DistaxError: the factor is even.
    """

    reach: int = 2
    label_blur: float = 0.0

    def __init__(self, factor: int, sensor: Sensor):
        check_odd(factor)
        self.factor, self.sensor = factor, sensor

    def answered(self, frames: int) -> range:
        """Returns the frames, counted from 0, that the model answers in a sequence.

        Args:
          frames: number of frames of the sequence.

        Raises:
          DistaxError: the sequence is shorter than the frames that one answer needs.
        """
        window = 2 * self.reach + 1
        if frames < window:
            raise DistaxError(
                f"a sequence of {frames} frames is too short: {type(self).__name__} answers a "
                f"frame from {window} frames around it; give at least {window} frames"
            )
        return range(self.reach, frames - self.reach)

    @abstractmethod
    def __call__(
        self, images: Float[Array, "B frames height width"]
    ) -> Float[Array, "B answered fine_height fine_width"]:
        """Returns intensities in counts on the sub-pixel grids of the answered frames.

        Args:
          images: raw frames in counts.
        """

    def objective(
        self,
        images: Float[Array, "B frames height width"],
        grids: Float[Array, "B frames fine_height fine_width"],
    ) -> Float[Array, ""]:
        """Returns the training objective for frames and the true grids of all of them.

        It is the mean square error over the answered frames.
        """
        return jnp.mean((self(images) - self.answers(grids)) ** 2)

    def answers(self, frames: Float[Array, "B frames *rest"]) -> Float[Array, "B answered *rest"]:
        """Selects the answered frames from arrays of all frames."""
        return self.neighbours(frames, 0)

    def neighbours(
        self, frames: Float[Array, "B frames *rest"], shift: int
    ) -> Float[Array, "B answered *rest"]:
        """Selects, for each answered frame, the one that lies `shift` frames after it.

        Args:
          frames: arrays of all frames.
          shift: number of frames from −`reach` to `reach`.
        """
        answered = self.answered(frames.shape[1])
        return frames[:, answered.start + shift : answered.stop + shift]

    def loss(
        self, images: Float[Array, "B frames height width"], targets: Targets
    ) -> Float[Array, ""]:
        """Returns the objective with the targets `[B, frames, K]` rasterised on the grid."""
        grids = rasterize(targets, self.sensor, self.factor, self.label_blur)
        return self.objective(images, grids)

    def detect(
        self,
        images: Float[Array, "B frames height width"],
        threshold: float | Float[Array, ""] = THRESHOLD,
    ) -> Targets:
        """Reports every grid node of the answered frames whose intensity reaches `threshold`.

        Returns:
          Targets `[B, answered, K]`, brightest first.
        """
        return decode(self(images), threshold, self.sensor)
