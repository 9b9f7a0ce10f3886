"""The one type for a set of point targets: truth, detections and fits alike."""

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float, Int

from distax.pytree import pytree


@pytree
class Targets:
    """Up to K targets an image, padded to a fixed K so that everything jits and vmaps.

    Attributes:
      position: `[..., K, 2]`, row and column in pixels; (0, 0) is the centre of the first pixel.
      intensity: `[..., K]`, total flux in sensor counts.
      mask: `[..., K]`, False where a slot is padding.
      score: `[..., K]`, what detections are ranked by; the intensity unless a method knows better.
    """

    position: Float[Array | np.ndarray, "*batch K 2"]
    intensity: Float[Array | np.ndarray, "*batch K"]
    mask: Bool[Array | np.ndarray, "*batch K"]
    score: Float[Array | np.ndarray, "*batch K"]

    @property
    def count(self) -> Int[Array, "*batch"]:
        """Number of targets in each image."""
        return jnp.sum(self.mask, axis=-1)

    @property
    def flux(self) -> Float[Array, "*batch K"]:
        """Intensity with padding set to zero."""
        return jnp.where(self.mask, self.intensity, 0.0)

    @property
    def place(self) -> Float[Array, "*batch K 2"]:
        """Position with padding set to zero, so that whatever padding holds does no harm."""
        return jnp.where(self.mask[..., None], self.position, 0.0)


def make_targets(
    position: Float[Array, "*batch K 2"],
    intensity: Float[Array, "*batch K"],
    mask: Bool[Array, "*batch K"] | None = None,
    score: Float[Array, "*batch K"] | None = None,
) -> Targets:
    """Targets from arrays; without `mask` every slot is one, without `score` intensity ranks."""
    if mask is None:
        mask = jnp.ones(jnp.shape(intensity), dtype=bool)
    return Targets(
        position=position,
        intensity=intensity,
        mask=mask,
        score=intensity if score is None else score,
    )
