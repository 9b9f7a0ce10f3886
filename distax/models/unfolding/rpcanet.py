"""RPCANet: deep unfolding of robust PCA for small targets (Wu et al., WACV 2024).

Robust PCA splits an image into a background and a sparse target. Here the image is the linear
estimate on the sub-pixel grid, and the target is the result.
"""

from collections.abc import Callable

import jax
import jax.numpy as jnp
from flax import nnx
from jaxtyping import Array, Float

from distax.imaging.sensor import Sensor
from distax.models.layers.basic import BatchNorm, Conv
from distax.models.registry import register
from distax.models.unfolding.base import EstimatingModel
from distax.runtime.errors import check_positive

OneMap = Float[Array, "B fine_height fine_width 1"]
Grids = Float[Array, "B fine_height fine_width"]


def convolutions(channels: int, layers: int, rngs: nnx.Rngs, *, normalized: bool) -> nnx.Sequential:
    """Builds a network from one map to one: convolutions with a ReLU after each but the last.

    Args:
      channels: number of maps between the convolutions.
      layers: number of convolutions between the first and the last.
      rngs: keys for the initial parameters.
      normalized: True for a batch normalisation before each ReLU.
    """
    hidden: list[Callable[[Array], Array]] = []
    for inputs in (1, *layers * (channels,)):
        hidden.append(Conv(inputs, channels, rngs=rngs))
        hidden += [BatchNorm(channels, rngs=rngs)] if normalized else []
        hidden.append(jax.nn.relu)
    return nnx.Sequential(*hidden, Conv(channels, 1, rngs=rngs))


class Stage(nnx.Module):
    """One iteration: the background from image − target, then the target from the remainder."""

    def __init__(self, channels: int, background_layers: int, target_layers: int, rngs: nnx.Rngs):
        self.background = convolutions(channels, background_layers, rngs, normalized=True)
        self.target = convolutions(channels, target_layers, rngs, normalized=False)
        self.step_size = nnx.Param(jnp.array(0.01, jnp.float32))

    def __call__(self, image: OneMap, target: OneMap) -> tuple[OneMap, OneMap]:
        rest = image - target
        background = rest + self.background(rest)
        u = target + image - background
        return background, u - self.step_size[...].astype(u.dtype) * self.target(u)


@register("rpcanet")
class RpcaNet(EstimatingModel):
    """RPCANet: deep unfolding of robust PCA for small targets (Wu et al., WACV 2024).

    The stages split the linear estimate x₀ = Q y into background and target; the paper's image is a
    photograph. Every stage starts from x₀ itself. In the paper each stage starts from the previous
    stage's reconstruction; here only the last stage's reconstruction is computed, and it is used
    in the training objective only.

    Args:
      factor: grid nodes per pixel along each axis, odd.
      stages: iterations, each with its own weights.
      channels: number of maps between the convolutions.
      background_layers: convolutions between the first and the last of each background network.
      target_layers: convolutions between the first and the last of each target network.
      merge_layers: convolutions between the first and the last of the reconstruction.
      sensor: the sensor whose images the model takes; gives the default initial estimator.
      q_init: initial estimator Q `[nodes, pixels]`. Default: fitted to simulated scenes.
      rngs: keys for the initial parameters.

    Raises:
      DistaxError: the factor is even, a size is not positive, or the estimator has the wrong shape.
    """

    def __init__(
        self,
        *,
        factor: int = 3,
        stages: int = 6,
        channels: int = 32,
        background_layers: int = 3,
        target_layers: int = 6,
        merge_layers: int = 3,
        sensor: Sensor = Sensor(),
        q_init: Float[Array, "nodes pixels"] | None = None,
        rngs: nnx.Rngs,
    ):
        super().__init__(factor, sensor, q_init)
        check_positive(
            stages=stages,
            channels=channels,
            background_layers=background_layers,
            target_layers=target_layers,
            merge_layers=merge_layers,
        )
        self.stages = nnx.List(
            Stage(channels, background_layers, target_layers, rngs) for _ in range(stages)
        )
        self.merge = convolutions(channels, merge_layers, rngs, normalized=True)

    def iterates(self, images: Float[Array, "B height width"]) -> list[Grids]:
        """Returns x₀, then the background and the target after every stage."""
        image = self.initialise(images)[1].reshape(-1, *self.shape, 1)
        maps, target = [image], jnp.zeros_like(image)
        for stage in self.stages:
            background, target = stage(image, target)
            maps += [background, target]
        return [one[..., 0] for one in maps]

    def reconstruct(self, background: Grids, target: Grids) -> Grids:
        """Reconstructs the image from a background and a target."""
        return self.merge((background + target)[..., None])[..., 0]

    def __call__(
        self, images: Float[Array, "B height width"]
    ) -> Float[Array, "B fine_height fine_width"]:
        return self.iterates(images)[-1]

    def objective(
        self,
        images: Float[Array, "B height width"],
        grids: Float[Array, "B fine_height fine_width"],
    ) -> Float[Array, ""]:
        """Returns 0.9 mean (T − T*)² + 0.09 mean (D̂ − x₀)², D̂ being the last reconstruction."""
        start, *_, background, target = self.iterates(images)
        error = jnp.mean((target - grids) ** 2)
        residual = jnp.mean((self.reconstruct(background, target) - start) ** 2)
        return 0.9 * (error + 0.1 * residual)
