"""A stage of DISTA-Net (ICCV 2025, arXiv 2505.19148), and its dynamic parts.

Symbols follow the paper: x is an estimate on the sub-pixel grid, y the image, Φ the sampling
matrix, r the estimate after a gradient step, u its transform, θ the thresholds, z the shrunk
transform. The original implementation deviates from the paper's equations in two places, where this
module follows the equations: each sample has its own dynamic kernel, and gradients reach the
hypernetwork that computes the kernel.
"""

from dataclasses import dataclass

import jax
import jax.numpy as jnp
from flax import nnx
from jaxtyping import Array, Float

from distax.models.layers.basic import Affine, Maps, OneMap, cast_like, fan_in_uniform
from distax.models.layers.convolution import conv3x3, filter3x3, separable3x3
from distax.models.layers.precision import MapLayer
from distax.models.layers.transforms import TwoConvolutions, soft_threshold
from distax.models.unfolding.base import gradient_step
from distax.runtime.pytree import pytree


class SeparableConvolution(nnx.Module):
    """Separable convolution: a depthwise 3×3 and a 1×1 convolution, both with biases."""

    def __init__(self, inputs: int, outputs: int, rngs: nnx.Rngs):
        self.depthwise = fan_in_uniform(rngs, 9, 3, 3, inputs)
        self.depthwise_bias = fan_in_uniform(rngs, 9, inputs)
        self.pointwise = Affine(inputs, outputs, rngs=rngs)

    def __call__(
        self, maps: Float[Array, "B height width inputs"]
    ) -> Float[Array, "B height width outputs"]:
        kernels = cast_like(self.depthwise, maps), cast_like(self.pointwise.kernel, maps)
        return separable3x3(maps, *kernels) + self.pointwise(cast_like(self.depthwise_bias, maps))


class DynamicTransform(nnx.Module):
    """Hypernetwork: computes a 3×3 kernel per sample from its estimate x and applies it to r."""

    def __init__(self, nodes: int, hidden: int, rngs: nnx.Rngs):
        self.compress = Affine(nodes, hidden, rngs=rngs)
        self.expand = Affine(hidden, 9, rngs=rngs)

    def __call__(self, r: OneMap, x: Float[Array, "B nodes"]) -> OneMap:
        kernels = self.expand(self.compress(x)).reshape(-1, 3, 3).astype(r.dtype)
        return jax.nn.sigmoid(jax.vmap(filter3x3)(r[..., 0], kernels))[..., None]


class DynamicThreshold(nnx.Module):
    """Dynamic thresholds θ(u): u scaled by two views of u, each weighted by spatial attention."""

    def __init__(self, channels: int, rngs: nnx.Rngs):
        half = channels // 2
        self.point_view = Affine(channels, half, rngs=rngs)
        self.wide_view = SeparableConvolution(channels, half, rngs)
        self.squeeze = fan_in_uniform(rngs, 18, 3, 3, 2, 2)
        self.squeeze_bias = fan_in_uniform(rngs, 18, 2)
        self.merge = Affine(half, channels, rngs=rngs)

    def __call__(self, u: Maps) -> Maps:
        p = self.point_view(u)
        q = self.wide_view(u)
        mean = jnp.mean(p + q, axis=-1) / 2
        maximum = jnp.max(jnp.maximum(p, q), axis=-1)
        views = jnp.stack([mean, maximum], axis=-1)
        attention = jax.nn.sigmoid(
            conv3x3(views, cast_like(self.squeeze, u)) + cast_like(self.squeeze_bias, u)
        )
        return u * self.merge(p * attention[..., :1] + q * attention[..., 1:])


class ScalarThreshold(nnx.Module):
    """One learned threshold θ for all maps, as in ISTA-Net."""

    def __init__(self) -> None:
        self.value = nnx.Param(jnp.array(0.01, jnp.float32))

    def __call__(self, u: Maps) -> Float[Array, ""]:
        return cast_like(self.value, u)


@dataclass(frozen=True)
class Dynamic:
    """Parts of a stage that adapt to the sample: True for dynamic, False for static."""

    transform: bool = True
    threshold: bool = True


@pytree
class StageOutput:
    """Output of a stage: the estimate x, and its r and u for the symmetry residual."""

    x: Float[Array, "B nodes"]
    r: OneMap
    u: Maps


class Stage(MapLayer):
    """One iteration: a gradient step on ‖Φx − y‖², the transform, shrinkage, the inverse transform.

    The maps between r and the next x have the model's precision; everything else is float32.
    """

    def __init__(
        self,
        shape: tuple[int, int],
        channels: int,
        hidden: int,
        alpha: float,
        dynamic: Dynamic,
        rngs: nnx.Rngs,
    ):
        self.shape, self.alpha = shape, alpha
        self.step_size = nnx.Param(jnp.array(0.5, jnp.float32))
        self.static_transform = TwoConvolutions(1, channels, channels, rngs)
        self.dynamic_transform = (
            DynamicTransform(shape[0] * shape[1], hidden, rngs) if dynamic.transform else None
        )
        self.threshold = (
            DynamicThreshold(channels, rngs) if dynamic.threshold else ScalarThreshold()
        )
        self.inverse = TwoConvolutions(channels, channels, 1, rngs)

    def __call__(
        self,
        x: Float[Array, "B nodes"],
        y: Float[Array, "B pixels"],
        phi: Float[Array, "pixels nodes"],
    ) -> StageOutput:
        r = gradient_step(x, y, phi, self.step_size[...]).reshape(-1, *self.shape, 1)
        maps = self.enter(r)
        u = self.static_transform(maps)
        if self.dynamic_transform is not None:
            u = self.alpha * u + (1 - self.alpha) * self.dynamic_transform(maps, x)
        z = soft_threshold(u, self.threshold(u))
        return StageOutput(x=self.inverse(z).astype(x.dtype).reshape(x.shape), r=r, u=u)

    def symmetry(self, output: StageOutput) -> OneMap:
        """Returns the symmetry residual G(u) − r of the inverse transform G."""
        return self.inverse(output.u).astype(output.r.dtype) - output.r
