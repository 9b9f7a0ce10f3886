"""Number of targets in an image, and the scenes that a model with a limited number can answer."""

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int

from distax.imaging.scenes import ScenePrior
from distax.imaging.sensor import Sensor
from distax.runtime.errors import DistaxError

COUNT_WEIGHT = 0.1
"""Weight of the number of targets in the loss. The number is learned long before the positions, so
a small weight is enough, and leaves most of the loss to the positions."""


def count_loss(number: Float[Array, "B numbers"], count: Int[Array, " B"]) -> Float[Array, ""]:
    """Computes the cross-entropy of the number of targets, times its weight in the loss.

    Args:
      number: logits of 1, 2, 3, … targets.
      count: true numbers. An image without targets counts as one of a single target.
    """
    chosen = jnp.maximum(count, 1)[:, None] - 1
    return -COUNT_WEIGHT * jnp.mean(
        jnp.take_along_axis(jax.nn.log_softmax(number), chosen, axis=-1)
    )


def count_targets(
    images: Float[Array, "B height width"],
    number: Float[Array, "B numbers"],
    sensor: Sensor,
    mean_intensity: float,
) -> tuple[Int[Array, " B"], Float[Array, " B"]]:
    """Chooses the most probable number of targets, which is zero with too little flux for any.

    Args:
      images: raw images in counts.
      number: logits of 1, 2, 3, … targets.
      sensor: the sensor.
      mean_intensity: mean intensity of a target in counts. An image with less flux than half of it
        has no targets.

    Returns:
      The numbers, and their probabilities.
    """
    probability = jax.nn.softmax(number)
    bright = jnp.sum(images - sensor.background, axis=(1, 2)) > mean_intensity / 2
    count = jnp.where(bright, jnp.argmax(probability, axis=-1) + 1, 0)
    return count, jnp.where(bright, jnp.max(probability, axis=-1), 1.0)


def check_countable(
    prior: ScenePrior, max_targets: int, max_targets_option: str, reach: float
) -> None:
    """Checks that a model can report all targets of a prior.

    Args:
      prior: the prior.
      max_targets: largest number of targets that the model counts.
      max_targets_option: the model's option for it, for error messages.
      reach: largest offset in pixels of a target from its host pixel that the model reports.

    Raises:
      DistaxError: the prior has more targets, or targets farther away.
    """
    if prior.max_targets > max_targets:
        raise DistaxError(
            f"the prior places up to {prior.max_targets} targets, the model counts up to "
            f"{max_targets}; give --model.options {max_targets_option} {prior.max_targets}"
        )
    if prior.cluster / 2 > reach:
        raise DistaxError(
            f"the prior places targets up to {prior.cluster / 2:g} px from their host pixel, "
            f"the model's nodes reach {reach:g} px; give it a larger reach"
        )
