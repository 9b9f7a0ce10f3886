"""DISTA-Net's stages for TPUs: several samples side by side, in a loop over the stages.

The loop keeps the program small: one stage is compiled, not six. For its gradient each stage is
computed again, because the maps of one stage fit into the memory on the chip and those of all do
not. Both views of the dynamic threshold come from one convolution.
"""

from collections.abc import Callable, Sequence
from typing import TypeVar

import jax
import jax.numpy as jnp
from flax import nnx
from jaxtyping import Array, Float

from distax.models.layers.basic import Affine
from distax.models.layers.lanes import (
    convolve_lanes,
    group_size,
    max_channels,
    mean_channels,
    one_by_one,
    repeat_kernel,
    side_by_side,
    spread,
)
from distax.models.layers.transforms import TwoConvolutions, soft_threshold
from distax.models.unfolding.base import gradient_step
from distax.models.unfolding.dista_stage import (
    DynamicThreshold,
    DynamicTransform,
    Stage,
)

Terms = TypeVar("Terms")


def final_estimate(
    stages: Sequence[Stage],
    x: Float[Array, "B nodes"],
    y: Float[Array, "B pixels"],
    phi: Float[Array, "pixels nodes"],
) -> Float[Array, "B nodes"]:
    """Computes the estimate after the last stage."""

    def step(stage: Stage, x: Array) -> tuple[Array, None]:
        return _InLanes(stage, len(x))(x, y, phi)[0], None

    return _loop(step, stages, x)[0]


def estimate_and_symmetry(
    stages: Sequence[Stage],
    x: Float[Array, "B nodes"],
    y: Float[Array, "B pixels"],
    phi: Float[Array, "pixels nodes"],
) -> tuple[Float[Array, "B nodes"], Float[Array, ""]]:
    """Computes the estimate after the last stage, and the sum of the stages' symmetry terms."""

    def step(stage: Stage, x: Array) -> tuple[Array, Array]:
        lanes = _InLanes(stage, len(x))
        x, r, u = lanes(x, y, phi)
        return x, jnp.mean(lanes.symmetry(r, u) ** 2)

    x, terms = _loop(step, stages, x)
    return x, jnp.sum(terms)


def _loop(
    step: Callable[[Stage, Array], tuple[Array, Terms]], stages: Sequence[Stage], x: Array
) -> tuple[Array, Terms]:
    """Applies the stages one after the other in a loop, and recomputes each for its gradient."""
    graphdef = nnx.graphdef(stages[0])
    states = [nnx.state(stage) for stage in stages]

    @jax.checkpoint
    def body(x: Array, state: nnx.State) -> tuple[Array, Terms]:
        return step(nnx.merge(graphdef, state), x)

    return jax.lax.scan(body, x, jax.tree.map(lambda *leaves: jnp.stack(leaves), *states))


class _InLanes:
    """A stage for groups of samples side by side; its methods follow those of `Stage`.

    Args:
      stage: the stage.
      samples: number of samples in the batch.
    """

    def __init__(self, stage: Stage, samples: int):
        self.stage, self.dtype = stage, jnp.dtype(stage.precision)
        self.channels = stage.inverse.first.shape[-1]
        self.group = group_size(samples, self.channels)

    def __call__(self, x: Array, y: Array, phi: Array) -> tuple[Array, Array, Array]:
        """Returns the next estimate x, and r and u of the samples side by side."""
        stage = self.stage
        r = gradient_step(x, y, phi, stage.step_size[...]).reshape(-1, *stage.shape)
        r = side_by_side(r, self.group)
        maps = r.astype(self.dtype)
        u = self._two_convolutions(stage.static_transform, maps)
        if stage.dynamic_transform is not None:
            dynamic = self._transform(stage.dynamic_transform, maps, x)
            u = stage.alpha * u + (1 - stage.alpha) * spread(dynamic, self.channels)
        threshold = stage.threshold
        if isinstance(threshold, DynamicThreshold):
            z = soft_threshold(u, self._threshold(threshold, u))
        else:
            z = soft_threshold(u, threshold(u))
        estimate = one_by_one(self._two_convolutions(stage.inverse, z))
        return estimate.astype(x.dtype).reshape(x.shape), r, u

    def symmetry(self, r: Array, u: Array) -> Array:
        """Returns the symmetry residual G(u) − r of the inverse transform G."""
        return self._two_convolutions(self.stage.inverse, u).astype(r.dtype) - r

    def _two_convolutions(self, transform: TwoConvolutions, maps: Array) -> Array:
        hidden = jax.nn.relu(convolve_lanes(maps, self._kernel(transform.first[...])))
        return convolve_lanes(hidden, self._kernel(transform.second[...]))

    def _transform(self, transform: DynamicTransform, maps: Array, x: Array) -> Array:
        kernels = transform.expand(transform.compress(x)).reshape(-1, self.group, 9)
        taps = jnp.moveaxis(kernels.astype(self.dtype), 1, -1)[:, :, None, None]
        height, width = self.stage.shape
        padded = jnp.pad(maps, ((0, 0), (1, 1), (1, 1), (0, 0)))
        shifted = [
            padded[:, i : i + height, j : j + width] * taps[:, 3 * i + j]
            for i in range(3)
            for j in range(3)
        ]
        return jax.nn.sigmoid(sum(shifted[1:], start=shifted[0]))

    def _threshold(self, threshold: DynamicThreshold, u: Array) -> Array:
        """Computes θ(u) with both views in one convolution.

        The view of single points is a 3×3 kernel that is zero around its middle. The wide view's
        depthwise and 1×1 convolutions are one dense kernel.
        """
        wide, point = threshold.wide_view, threshold.point_view
        pointwise = wide.pointwise.kernel[...]
        kernels = [
            jnp.pad(point.kernel[...][None, None], ((1, 1), (1, 1), (0, 0), (0, 0))),
            wide.depthwise[...][..., None] * pointwise,
        ]
        biases = [_bias(point), wide.depthwise_bias[...] @ pointwise + _bias(wide.pointwise)]
        kernel, bias = (jnp.concatenate(parts, axis=-1) for parts in (kernels, biases))
        views = convolve_lanes(u, self._kernel(kernel)) + self._bias(bias)
        summary = jnp.stack(
            [mean_channels(views, self.group), max_channels(views, self.group)], axis=-1
        ).reshape(*views.shape[:-1], -1)
        squeezed = convolve_lanes(summary, self._kernel(threshold.squeeze[...]))
        attention = jax.nn.sigmoid(squeezed + self._bias(threshold.squeeze_bias[...]))
        weighted = views * spread(attention, self.channels // 2)
        merge = jnp.concatenate([threshold.merge.kernel[...]] * 2)
        return u * (weighted @ self._kernel(merge) + self._bias(_bias(threshold.merge)))

    def _kernel(self, kernel: Array) -> Array:
        return repeat_kernel(kernel.astype(self.dtype), self.group)

    def _bias(self, bias: Array) -> Array:
        return jnp.tile(bias.astype(self.dtype), self.group)


def _bias(layer: Affine) -> Array:
    assert layer.bias is not None
    return layer.bias[...]
