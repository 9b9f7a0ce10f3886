"""ISTA-Net++ (You, Xie and Zhang, ICME 2021)."""

import jax
import jax.numpy as jnp
from flax import nnx
from jaxtyping import Array, Float

from distax.imaging.sensor import Sensor
from distax.models.base import Constant, GridModel
from distax.models.layers.basic import Affine, Conv, Maps, OneMap
from distax.models.layers.residual import ConvPair
from distax.models.registry import register
from distax.models.unfolding.base import check_matrix, gradient_step
from distax.runtime.errors import check_positive
from distax.runtime.numerics import exact_products

_NOISE = 0.005
"""Input of the condition network: the noise level of the images over 100, as in the original."""


class Condition(nnx.Module):
    """Network that computes the step size and the noise level of every stage (the paper's CM)."""

    def __init__(self, stages: int, channels: int, rngs: nnx.Rngs):
        self.first = Affine(1, channels, rngs=rngs)
        self.second = Affine(channels, channels, rngs=rngs)
        self.last = Affine(channels, 2 * stages, rngs=rngs)

    def __call__(self) -> Float[Array, "2 stages"]:
        values = jnp.array([_NOISE])
        for layer in (self.first, self.second, self.last):
            values = jax.nn.leaky_relu(layer(values), 0.01)
        return values.reshape(2, -1)


class LeakyBlock(ConvPair):
    """Residual block with a leaky ReLU: x + conv(leaky(conv(x)))."""

    def __call__(self, x: Maps) -> Maps:
        return x + self.second(jax.nn.leaky_relu(self.first(x), 0.1))


class Correction(nnx.Module):
    """Residual network of a stage: corrects an estimate that has a given noise level."""

    def __init__(self, channels: int, blocks: int, rngs: nnx.Rngs):
        self.head = Conv(2, channels, rngs=rngs)
        self.blocks = nnx.List(LeakyBlock(channels, rngs=rngs) for _ in range(blocks))
        self.tail = Conv(channels, 1, rngs=rngs)

    def __call__(self, r: OneMap, noise: Float[Array, ""]) -> OneMap:
        level = jnp.broadcast_to(noise.astype(r.dtype), r.shape)
        maps = self.head(jnp.concatenate([r, level], axis=-1))
        for block in self.blocks:
            maps = block(maps)
        return self.tail(maps).astype(r.dtype)


@register("ista_net_pp")
class IstaNetPlusPlus(GridModel):
    """ISTA-Net++ (You, Xie and Zhang, ICME 2021).

    Each stage takes a gradient step on ‖Φx − y‖² from x₀ = Φᵀy and adds the correction of a
    residual network. A network conditioned on the noise of the images computes the step size of
    every stage, and the noise level that its correction assumes. The paper conditions it on the
    compression ratio too. Here, as in the original toolkit, the noise is a fixed number, so that
    the step sizes and levels are the same for all images.

    Args:
      factor: grid nodes per pixel along each axis, odd.
      stages: unrolled iterations, each with its own weights.
      channels: number of maps of the correction, and width of the conditioned network.
      blocks: residual blocks of a stage.
      sensor: the imaging model; gives the default of Φ.
      phi: sampling matrix Φ `[pixels, nodes]`. Default: the sensor's.
      rngs: keys for the initial parameters.

    Raises:
      DistaxError: the factor is even, a size is not positive, or a matrix has the wrong shape.
    """

    def __init__(
        self,
        *,
        factor: int = 3,
        stages: int = 20,
        channels: int = 32,
        blocks: int = 2,
        sensor: Sensor = Sensor(),
        phi: Float[Array, "pixels nodes"] | None = None,
        rngs: nnx.Rngs,
    ):
        super().__init__(factor, sensor)
        check_positive(stages=stages, channels=channels, blocks=blocks)
        self.shape = factor * sensor.height, factor * sensor.width
        pixels = sensor.height * sensor.width
        phi = sensor.sampling_matrix(factor) if phi is None else phi
        check_matrix("phi", phi, factor, (pixels, factor**2 * pixels))
        self.phi = Constant(phi)
        self.condition = Condition(stages, channels, rngs)
        self.stages = nnx.List(Correction(channels, blocks, rngs) for _ in range(stages))

    def iterates(self, images: Float[Array, "B height width"]) -> list[Float[Array, "B nodes"]]:
        """Returns the estimate after every stage, x₀ = Φᵀy first."""
        y, phi = images.reshape(len(images), -1), self.phi[...]
        estimates = [exact_products(jnp.matmul)(y, phi)]
        for stage, step_size, noise in zip(self.stages, *self.condition(), strict=True):
            r = gradient_step(estimates[-1], y, phi, step_size.astype(y.dtype))
            correction = stage(r.reshape(-1, *self.shape, 1), noise)
            estimates.append(r + correction.reshape(r.shape))
        return estimates

    def __call__(
        self, images: Float[Array, "B height width"]
    ) -> Float[Array, "B fine_height fine_width"]:
        return self.iterates(images)[-1].reshape(-1, *self.shape)
