"""DISTA-Net: dynamic iterative shrinkage-thresholding, unrolled (ICCV 2025, arXiv 2505.19148).

Symbols as in the paper: x an estimate on the sub-pixel grid, y the image, Φ the sampling matrix,
r the estimate after a gradient step, u its transform, θ the thresholds, z what shrinkage leaves.
In two places the equations are kept where the original implementation strays from them: every
sample has a dynamic kernel of its own, and gradients reach the network that makes it.
"""

import math
from dataclasses import replace

import jax
import jax.numpy as jnp
from flax import nnx
from jaxtyping import Array, Float

from distax.errors import DistaxError, check_positive, unknown
from distax.models.base import Constant, GridModel
from distax.models.convolution import conv3x3, filter3x3, separable3x3
from distax.models.initialization import simulated_estimator
from distax.models.registry import register
from distax.models.window import corners, crop, paste
from distax.pytree import pytree
from distax.sensor import Sensor

Maps = Float[Array, "B height width channels"]
OneMap = Float[Array, "B height width 1"]

_PRECISIONS = ("float32", "bfloat16")

_glorot = nnx.initializers.glorot_normal()


def _fan_in_uniform(rngs: nnx.Rngs, fan_in: int, *shape: int) -> nnx.Param:
    bound = fan_in**-0.5
    return nnx.Param(jax.random.uniform(rngs.params(), shape, minval=-bound, maxval=bound))


def _like(maps: Array, param: nnx.Param) -> Array:
    """A parameter in the precision of the maps it is applied to."""
    return param[...].astype(maps.dtype)


class Affine(nnx.Module):
    """x W + b over the last axis: a fully connected layer, or a 1×1 convolution on maps."""

    def __init__(self, inputs: int, outputs: int, rngs: nnx.Rngs):
        self.kernel = _fan_in_uniform(rngs, inputs, inputs, outputs)
        self.bias = _fan_in_uniform(rngs, inputs, outputs)

    def __call__(self, x: Float[Array, "*batch inputs"]) -> Float[Array, "*batch outputs"]:
        return x @ _like(x, self.kernel) + _like(x, self.bias)


class SeparableConvolution(nnx.Module):
    """Depthwise 3×3 convolution, then a 1×1 convolution, both with biases."""

    def __init__(self, inputs: int, outputs: int, rngs: nnx.Rngs):
        self.depthwise = _fan_in_uniform(rngs, 9, 3, 3, inputs)
        self.depthwise_bias = _fan_in_uniform(rngs, 9, inputs)
        self.pointwise = Affine(inputs, outputs, rngs)

    def __call__(
        self, maps: Float[Array, "B height width inputs"]
    ) -> Float[Array, "B height width outputs"]:
        kernels = _like(maps, self.depthwise), _like(maps, self.pointwise.kernel)
        return separable3x3(maps, *kernels) + self.pointwise(_like(maps, self.depthwise_bias))


class TwoConvolutions(nnx.Module):
    """conv3×3 → ReLU → conv3×3 without biases: the static transform, and the inverse transform."""

    def __init__(self, inputs: int, hidden: int, outputs: int, rngs: nnx.Rngs):
        self.first = nnx.Param(_glorot(rngs.params(), (3, 3, inputs, hidden)))
        self.second = nnx.Param(_glorot(rngs.params(), (3, 3, hidden, outputs)))

    def __call__(
        self, maps: Float[Array, "B height width inputs"]
    ) -> Float[Array, "B height width outputs"]:
        hidden = jax.nn.relu(conv3x3(maps, _like(maps, self.first)))
        return conv3x3(hidden, _like(maps, self.second))


class DynamicTransform(nnx.Module):
    """The hypernetwork: a 3×3 kernel for each sample from its estimate x, applied to r."""

    def __init__(self, nodes: int, hidden: int, rngs: nnx.Rngs):
        self.compress = Affine(nodes, hidden, rngs)
        self.expand = Affine(hidden, 9, rngs)

    def __call__(self, r: OneMap, x: Float[Array, "B nodes"]) -> OneMap:
        kernels = self.expand(self.compress(x)).reshape(-1, 3, 3).astype(r.dtype)
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
        views = jnp.stack([mean, maximum], axis=-1)
        attention = jax.nn.sigmoid(
            conv3x3(views, _like(u, self.squeeze)) + _like(u, self.squeeze_bias)
        )
        return u * self.merge(p * attention[..., :1] + q * attention[..., 1:])


def shrink(u: Maps, threshold: Maps) -> Maps:
    """Soft thresholding: sign(u)·max(|u| − θ, 0)."""
    return jnp.sign(u) * jax.nn.relu(jnp.abs(u) - threshold)


def _window(sensor: Sensor, side: int) -> tuple[Sensor, int]:
    """The sensor of the windows, and how far from their edges a host pixel is at least."""
    if side < 1 or side % 2 == 0:
        raise DistaxError(f"window must be an odd number of pixels, got {side}")
    # The blob is in the middle, give or take a pixel.
    return replace(sensor, height=side, width=side), max(side // 2 - 1, 0)


@pytree
class StageOutput:
    """A stage's estimate x, and the r and u it came from (for the symmetry residual)."""

    x: Float[Array, "B nodes"]
    r: OneMap
    u: Maps


class Stage(nnx.Module):
    """One iteration: a gradient step on ‖Φx − y‖², dynamic transform, shrinkage, inverse.

    The maps between r and the next x have the precision `dtype`, all else is float32.
    """

    def __init__(
        self,
        shape: tuple[int, int],
        channels: int,
        hidden: int,
        alpha: float,
        dtype: str,
        rngs: nnx.Rngs,
    ):
        self.shape, self.alpha, self.dtype = shape, alpha, dtype
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
        maps = r.astype(self.dtype)
        static, dynamic = self.static_transform(maps), self.dynamic_transform(maps, x)
        u = self.alpha * static + (1 - self.alpha) * dynamic
        z = shrink(u, self.threshold(u))
        return StageOutput(x=self.inverse(z).astype(x.dtype).reshape(x.shape), r=r, u=u)

    def symmetry(self, output: StageOutput) -> OneMap:
        """G(u) − r: how far the inverse transform is from inverting the transform."""
        return self.inverse(output.u).astype(output.r.dtype) - output.r


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
      window: odd number of pixels; the network sees as many around the blob along each axis, and
        answers zero elsewhere. 7 hold all but 1e-7 of a target's flux at CSIST-100K's σ, and take
        2.5 times less work than the whole image.
      dtype: precision of the maps: "float32", or "bfloat16" for less memory and more speed on
        accelerators. Parameters, estimates and the objective are float32 either way.
      rematerialize: compute each stage's maps again for its gradients instead of keeping them:
        less memory for a third more work.
      sensor: the imaging model; gives Φ and the initial estimator.
      phi: sampling matrix `[pixels, nodes]` in place of the sensor's.
      q_init: initial estimator Q `[nodes, pixels]` in place of the one over simulated scenes.
      rngs: keys for the initial parameters.

    Raises:
      DistaxError: an even factor or window, a size that is not positive, an odd number of
        channels, an unknown precision, or a matrix of another size.
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
        window: int | None = None,
        dtype: str = "float32",
        rematerialize: bool = False,
        sensor: Sensor = Sensor(),
        phi: Float[Array, "pixels nodes"] | None = None,
        q_init: Float[Array, "nodes pixels"] | None = None,
        rngs: nnx.Rngs,
    ):
        super().__init__(factor, sensor)
        check_positive(stages=stages, channels=channels, hidden=hidden)
        if channels % 2:
            raise DistaxError(f"channels must be even, got {channels}")
        if dtype not in _PRECISIONS:
            raise unknown("dtype", dtype, _PRECISIONS)
        self.symmetry_weight = symmetry_weight
        self.window, self.rematerialize = window, rematerialize
        seen, border = (sensor, 1) if window is None else _window(sensor, window)
        self.shape = factor * seen.height, factor * seen.width
        phi = seen.sampling_matrix(factor) if phi is None else phi
        q_init = simulated_estimator(seen, factor, border) if q_init is None else q_init
        pixels, nodes = seen.height * seen.width, math.prod(self.shape)
        for name, matrix, shape in (
            ("phi", phi, (pixels, nodes)),
            ("q_init", q_init, (nodes, pixels)),
        ):
            if matrix.shape != shape:
                raise DistaxError(f"{name} has shape {matrix.shape}, factor {factor} needs {shape}")
        self.phi, self.q_init = Constant(phi), Constant(q_init)
        self.stages = nnx.List(
            Stage(self.shape, channels, hidden, alpha, dtype, rngs) for _ in range(stages)
        )

    def unroll(self, images: Float[Array, "B rows columns"]) -> list[StageOutput]:
        """Every stage's output, first to last, for images or what the window shows of them."""
        y, x = self._start(images)
        outputs = []
        for stage in self.stages:
            outputs.append(stage(x, y, self.phi[...]))
            x = outputs[-1].x
        return outputs

    def __call__(
        self, images: Float[Array, "B height width"]
    ) -> Float[Array, "B fine_height fine_width"]:
        if self.window is None:
            return self._last(images)
        corner = corners(images, self.window)
        windows = self._last(crop(images, corner, self.window))
        height, width = self.sensor.shape
        return paste(windows, self.factor * corner, (self.factor * height, self.factor * width))

    def objective(
        self,
        images: Float[Array, "B height width"],
        grids: Float[Array, "B fine_height fine_width"],
    ) -> Float[Array, ""]:
        """mean (x_N − x*)² + 0.01 Σ_k mean (G(u_k) − r_k)², within the window if there is one."""
        if self.window is not None:
            corner = corners(images, self.window)
            images = crop(images, corner, self.window)
            grids = crop(grids, self.factor * corner, self.factor * self.window)
        y, x = self._start(images)

        def step(stage: Stage, x: Array) -> tuple[Array, Array]:
            output = stage(x, y, self.phi[...])
            return output.x, jnp.mean(stage.symmetry(output) ** 2)

        run = nnx.remat(step) if self.rematerialize else step
        symmetry = jnp.zeros(())
        for stage in self.stages:
            x, residual = run(stage, x)
            symmetry += residual
        return jnp.mean((x - grids.reshape(x.shape)) ** 2) + self.symmetry_weight * symmetry

    def _start(self, images: Array) -> tuple[Float[Array, "B pixels"], Float[Array, "B nodes"]]:
        y = images.reshape(len(images), -1)
        return y, y @ self.q_init[...].T

    def _last(self, images: Array) -> Float[Array, "B rows columns"]:
        return self.unroll(images)[-1].x.reshape(-1, *self.shape)
