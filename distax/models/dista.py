"""DISTA-Net: dynamic iterative shrinkage-thresholding, unrolled (ICCV 2025, arXiv 2505.19148).

Symbols as in the paper: x an estimate on the sub-pixel grid, y the image, Φ the sampling matrix,
r the estimate after a gradient step, u its transform, θ the thresholds, z what shrinkage leaves.
In two places the equations are kept where the original implementation strays from them: every
sample has a dynamic kernel of its own, and gradients reach the network that makes it.
"""

import math

import jax
import jax.numpy as jnp
from flax import nnx
from jaxtyping import Array, Float

from distax.errors import DistaxError, check_positive
from distax.models.base import Constant, GridModel
from distax.models.convolution import conv3x3, filter3x3, separable3x3
from distax.models.initialization import simulated_estimator
from distax.models.registry import register
from distax.pytree import pytree
from distax.sensor import Sensor

Maps = Float[Array, "B height width channels"]
OneMap = Float[Array, "B height width 1"]

_glorot = nnx.initializers.glorot_normal()


def _fan_in_uniform(rngs: nnx.Rngs, fan_in: int, *shape: int) -> nnx.Param:
    bound = fan_in**-0.5
    return nnx.Param(jax.random.uniform(rngs.params(), shape, minval=-bound, maxval=bound))


class Affine(nnx.Module):
    """x W + b over the last axis: a fully connected layer, or a 1×1 convolution on maps."""

    def __init__(self, inputs: int, outputs: int, rngs: nnx.Rngs):
        self.kernel = _fan_in_uniform(rngs, inputs, inputs, outputs)
        self.bias = _fan_in_uniform(rngs, inputs, outputs)

    def __call__(self, x: Float[Array, "*batch inputs"]) -> Float[Array, "*batch outputs"]:
        return x @ self.kernel[...] + self.bias[...]


class SeparableConvolution(nnx.Module):
    """Depthwise 3×3 convolution, then a 1×1 convolution, both with biases."""

    def __init__(self, inputs: int, outputs: int, rngs: nnx.Rngs):
        self.depthwise = _fan_in_uniform(rngs, 9, 3, 3, inputs)
        self.depthwise_bias = _fan_in_uniform(rngs, 9, inputs)
        self.pointwise = Affine(inputs, outputs, rngs)

    def __call__(
        self, maps: Float[Array, "B height width inputs"]
    ) -> Float[Array, "B height width outputs"]:
        maps = separable3x3(maps, self.depthwise[...], self.pointwise.kernel[...])
        return maps + self.pointwise(self.depthwise_bias[...])


class TwoConvolutions(nnx.Module):
    """conv3×3 → ReLU → conv3×3 without biases: the static transform, and the inverse transform."""

    def __init__(self, inputs: int, hidden: int, outputs: int, rngs: nnx.Rngs):
        self.first = nnx.Param(_glorot(rngs.params(), (3, 3, inputs, hidden)))
        self.second = nnx.Param(_glorot(rngs.params(), (3, 3, hidden, outputs)))

    def __call__(
        self, maps: Float[Array, "B height width inputs"]
    ) -> Float[Array, "B height width outputs"]:
        return conv3x3(jax.nn.relu(conv3x3(maps, self.first[...])), self.second[...])


class DynamicTransform(nnx.Module):
    """The hypernetwork: a 3×3 kernel for each sample from its estimate x, applied to r."""

    def __init__(self, nodes: int, hidden: int, rngs: nnx.Rngs):
        self.compress = Affine(nodes, hidden, rngs)
        self.expand = Affine(hidden, 9, rngs)

    def __call__(self, r: OneMap, x: Float[Array, "B nodes"]) -> OneMap:
        kernels = self.expand(self.compress(x)).reshape(-1, 3, 3)
        return jax.nn.sigmoid(jax.vmap(filter3x3)(r[..., 0], kernels))[..., None]


class DynamicThreshold(nnx.Module):
    """θ(u): two views of u, each weighted by a spatial attention map, scale u into thresholds."""

    def __init__(self, channels: int, rngs: nnx.Rngs):
        half = channels // 2
        self.point_view = Affine(channels, half, rngs)
        self.wide_view = SeparableConvolution(channels, half, rngs)
        self.squeeze = _fan_in_uniform(rngs, 18, 3, 3, 2, 2)
        self.squeeze_bias = _fan_in_uniform(rngs, 18, 2)
        self.merge = Affine(half, channels, rngs)

    def __call__(self, u: Maps) -> Maps:
        p = self.point_view(u)
        q = self.wide_view(u)
        mean = jnp.mean(p + q, axis=-1) / 2
        maximum = jnp.max(jnp.maximum(p, q), axis=-1)
        attention = jax.nn.sigmoid(
            conv3x3(jnp.stack([mean, maximum], axis=-1), self.squeeze[...]) + self.squeeze_bias[...]
        )
        return u * self.merge(p * attention[..., :1] + q * attention[..., 1:])


def shrink(u: Maps, threshold: Maps) -> Maps:
    """Soft thresholding: sign(u)·max(|u| − θ, 0)."""
    return jnp.sign(u) * jax.nn.relu(jnp.abs(u) - threshold)


@pytree
class StageOutput:
    """A stage's estimate x, and the r and u it came from (for the symmetry residual)."""

    x: Float[Array, "B nodes"]
    r: OneMap
    u: Maps


class Stage(nnx.Module):
    """One iteration: a gradient step on ‖Φx − y‖², dynamic transform, shrinkage, inverse."""

    def __init__(
        self, shape: tuple[int, int], channels: int, hidden: int, alpha: float, rngs: nnx.Rngs
    ):
        self.shape, self.alpha = shape, alpha
        self.step_size = nnx.Param(jnp.array(0.5, jnp.float32))
        self.static_transform = TwoConvolutions(1, channels, channels, rngs)
        self.dynamic_transform = DynamicTransform(shape[0] * shape[1], hidden, rngs)
        self.threshold = DynamicThreshold(channels, rngs)
        self.inverse = TwoConvolutions(channels, channels, 1, rngs)

    def __call__(
        self,
        x: Float[Array, "B nodes"],
        y: Float[Array, "B pixels"],
        phi: Float[Array, "pixels nodes"],
    ) -> StageOutput:
        r = (x - self.step_size[...] * ((x @ phi.T - y) @ phi)).reshape(-1, *self.shape, 1)
        static, dynamic = self.static_transform(r), self.dynamic_transform(r, x)
        u = self.alpha * static + (1 - self.alpha) * dynamic
        z = shrink(u, self.threshold(u))
        return StageOutput(x=self.inverse(z).reshape(x.shape), r=r, u=u)

    def symmetry(self, output: StageOutput) -> OneMap:
        """G(u) − r: how far the inverse transform is from inverting the transform."""
        return self.inverse(output.u) - output.r


@register("dista")
class Dista(GridModel):
    """DISTA-Net.

    Args:
      factor: grid nodes per pixel along each axis, odd.
      stages: unrolled iterations, each with weights of its own (the paper: 6, and 4 at c = 7).
      channels: maps of the transform, even.
      hidden: width of the hypernetwork.
      alpha: weight of the static transform against the dynamic one.
      symmetry_weight: weight of the symmetry residuals in the training objective.
      sensor: the imaging model; gives Φ and the initial estimator.
      phi: sampling matrix `[pixels, nodes]` in place of the sensor's.
      q_init: initial estimator Q `[nodes, pixels]` in place of the one over simulated scenes.
      rngs: keys for the initial parameters.

    Raises:
      DistaxError: an even factor, a size that is not positive, an odd number of channels, or a
        matrix of another size.
    """

    def __init__(
        self,
        *,
        factor: int = 3,
        stages: int = 6,
        channels: int = 64,
        hidden: int = 256,
        alpha: float = 0.7,
        symmetry_weight: float = 0.01,
        sensor: Sensor = Sensor(),
        phi: Float[Array, "pixels nodes"] | None = None,
        q_init: Float[Array, "nodes pixels"] | None = None,
        rngs: nnx.Rngs,
    ):
        super().__init__(factor, sensor)
        check_positive(stages=stages, channels=channels, hidden=hidden)
        if channels % 2:
            raise DistaxError(f"channels must be even, got {channels}")
        self.symmetry_weight = symmetry_weight
        self.shape = factor * sensor.height, factor * sensor.width
        phi = sensor.sampling_matrix(factor) if phi is None else phi
        q_init = simulated_estimator(sensor, factor) if q_init is None else q_init
        pixels, nodes = sensor.height * sensor.width, math.prod(self.shape)
        for name, matrix, shape in (
            ("phi", phi, (pixels, nodes)),
            ("q_init", q_init, (nodes, pixels)),
        ):
            if matrix.shape != shape:
                raise DistaxError(f"{name} has shape {matrix.shape}, factor {factor} needs {shape}")
        self.phi, self.q_init = Constant(phi), Constant(q_init)
        self.stages = nnx.List(
            Stage(self.shape, channels, hidden, alpha, rngs) for _ in range(stages)
        )

    def unroll(self, images: Float[Array, "B height width"]) -> list[StageOutput]:
        """Every stage's output, first to last."""
        y = images.reshape(len(images), -1)
        x, outputs = y @ self.q_init[...].T, []
        for stage in self.stages:
            outputs.append(stage(x, y, self.phi[...]))
            x = outputs[-1].x
        return outputs

    def __call__(
        self, images: Float[Array, "B height width"]
    ) -> Float[Array, "B fine_height fine_width"]:
        return self.unroll(images)[-1].x.reshape(-1, *self.shape)

    def objective(
        self,
        images: Float[Array, "B height width"],
        grids: Float[Array, "B fine_height fine_width"],
    ) -> Float[Array, ""]:
        """mean (x_N − x*)² + 0.01 Σ_k mean (G(u_k) − r_k)²."""
        outputs = self.unroll(images)
        error = outputs[-1].x - grids.reshape(len(grids), -1)
        symmetry = sum(
            jnp.mean(stage.symmetry(output) ** 2)
            for stage, output in zip(self.stages, outputs, strict=True)
        )
        return jnp.mean(error**2) + self.symmetry_weight * symmetry
