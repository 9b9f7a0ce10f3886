"""DISTA-Net: dynamic iterative shrinkage-thresholding, unrolled (ICCV 2025, arXiv 2505.19148).

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

from distax.imaging.sensor import Sensor
from distax.models.layers.basic import Affine, Maps, OneMap, cast_like, fan_in_uniform
from distax.models.layers.convolution import conv3x3, filter3x3, separable3x3
from distax.models.layers.transforms import TwoConvolutions, soft_threshold
from distax.models.registry import register
from distax.models.unfolding.base import UnfoldingModel, gradient_step
from distax.runtime.errors import DistaxError, check_positive, unknown
from distax.runtime.pytree import pytree

_PRECISIONS = ("float32", "bfloat16")


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


class Stage(nnx.Module):
    """One iteration: a gradient step on ‖Φx − y‖², the transform, shrinkage, the inverse transform.

    The maps between r and the next x have the precision `dtype`; everything else is float32.
    """

    def __init__(
        self,
        shape: tuple[int, int],
        channels: int,
        hidden: int,
        alpha: float,
        dtype: str,
        dynamic: Dynamic,
        rngs: nnx.Rngs,
    ):
        self.shape, self.alpha, self.dtype = shape, alpha, dtype
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
        maps = r.astype(self.dtype)
        u = self.static_transform(maps)
        if self.dynamic_transform is not None:
            u = self.alpha * u + (1 - self.alpha) * self.dynamic_transform(maps, x)
        z = soft_threshold(u, self.threshold(u))
        return StageOutput(x=self.inverse(z).astype(x.dtype).reshape(x.shape), r=r, u=u)

    def symmetry(self, output: StageOutput) -> OneMap:
        """Returns the symmetry residual G(u) − r of the inverse transform G."""
        return self.inverse(output.u).astype(output.r.dtype) - output.r


@register("dista")
class Dista(UnfoldingModel):
    """DISTA-Net: dynamic iterative shrinkage-thresholding (ICCV 2025, arXiv 2505.19148).

    Args:
      factor: grid nodes per pixel along each axis, odd.
      stages: unrolled iterations, each with its own weights (the paper: 6, and 4 at factor 7).
      channels: number of maps of the transform, even.
      hidden: width of the hypernetwork.
      alpha: weight of the static transform against the dynamic one.
      symmetry_weight: weight of the symmetry residuals in the training objective.
      dtype: precision of the maps: "float32", or "bfloat16" for less memory and more speed on
        accelerators. Parameters, estimates and the objective are always float32.
      rematerialize: True to recompute each stage's maps for its gradients instead of storing them:
        less memory for a third more work.
      sensor: the imaging model; gives the defaults of Φ and of the initial estimator.
      phi: sampling matrix Φ `[pixels, nodes]`. Default: the sensor's.
      q_init: initial estimator Q `[nodes, pixels]`. Default: fitted to simulated scenes.
      rngs: keys for the initial parameters.

    Raises:
      DistaxError: the factor is even, a size is not positive, the channels are odd, the precision
        is unknown, or a matrix has the wrong shape.
    """

    dynamic = Dynamic()

    def __init__(
        self,
        *,
        factor: int = 3,
        stages: int = 6,
        channels: int = 64,
        hidden: int = 256,
        alpha: float = 0.7,
        symmetry_weight: float = 0.01,
        dtype: str = "float32",
        rematerialize: bool = False,
        sensor: Sensor = Sensor(),
        phi: Float[Array, "pixels nodes"] | None = None,
        q_init: Float[Array, "nodes pixels"] | None = None,
        rngs: nnx.Rngs,
    ):
        super().__init__(factor, sensor, phi, q_init)
        check_positive(stages=stages, channels=channels, hidden=hidden)
        if channels % 2:
            raise DistaxError(f"channels must be even, got {channels}")
        if dtype not in _PRECISIONS:
            raise unknown("dtype", dtype, _PRECISIONS)
        self.symmetry_weight, self.rematerialize = symmetry_weight, rematerialize
        self.stages = nnx.List(
            Stage(self.shape, channels, hidden, alpha, dtype, self.dynamic, rngs)
            for _ in range(stages)
        )

    def unroll(self, images: Float[Array, "B height width"]) -> list[StageOutput]:
        """Returns every stage's output, first to last."""
        y, x = self.initialise(images)
        outputs = []
        for stage in self.stages:
            outputs.append(stage(x, y, self.phi[...]))
            x = outputs[-1].x
        return outputs

    def iterates(self, images: Float[Array, "B height width"]) -> list[Float[Array, "B nodes"]]:
        """Returns the estimate after every stage, x₀ first."""
        return [self.initialise(images)[1], *(output.x for output in self.unroll(images))]

    def objective(
        self,
        images: Float[Array, "B height width"],
        grids: Float[Array, "B fine_height fine_width"],
    ) -> Float[Array, ""]:
        """Returns mean (x_N − x*)² + w Σ_k mean (G(u_k) − r_k)², where w is `symmetry_weight`."""
        y, x = self.initialise(images)

        def step(stage: Stage, x: Array) -> tuple[Array, Array]:
            output = stage(x, y, self.phi[...])
            return output.x, jnp.mean(stage.symmetry(output) ** 2)

        run = nnx.remat(step) if self.rematerialize else step
        symmetry = jnp.zeros(())
        for stage in self.stages:
            x, residual = run(stage, x)
            symmetry += residual
        return jnp.mean((x - grids.reshape(x.shape)) ** 2) + self.symmetry_weight * symmetry


@register("dista_transform")
class DistaTransform(Dista):
    """DISTA-Net's ablation with the dynamic transform only: one learned threshold per stage."""

    dynamic = Dynamic(threshold=False)


@register("dista_threshold")
class DistaThreshold(Dista):
    """DISTA-Net's ablation with the dynamic threshold only: no hypernetwork, `alpha` not used."""

    dynamic = Dynamic(transform=False)
