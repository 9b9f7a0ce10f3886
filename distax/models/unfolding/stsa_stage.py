"""A stage of STSA-Net and its parts: large kernels, a sensitive filter, adaptive thresholds."""

import jax
import jax.numpy as jnp
from flax import nnx
from jaxtyping import Array, Float

from distax.models.layers.basic import Affine, Conv, FeedForward, Maps, OneMap, cast_like
from distax.models.layers.precision import MapLayer
from distax.models.layers.residual import Gate
from distax.models.layers.transforms import TwoConvolutions, soft_threshold
from distax.models.unfolding.base import gradient_step
from distax.models.unfolding.dista_stage import StageOutput

_REDUCTION = 4  # ratio of the channels to the hidden width of gates and thresholds


def _mean_of_maps(maps: Maps) -> Float[Array, "B 1 1 channels"]:
    return jnp.mean(maps, axis=(1, 2), keepdims=True)


class WideBranch(nnx.Module):
    """Branch with large kernels: depthwise 3×3, 7×7 and 3×3, a mixing of channels, a gate."""

    def __init__(self, channels: int, rngs: nnx.Rngs):
        def depthwise(size: int) -> Conv:
            return Conv(channels, channels, size, groups=channels, rngs=rngs)

        self.project = Conv(1, channels, rngs=rngs)
        self.first, self.wide, self.second = depthwise(3), depthwise(7), depthwise(3)
        self.mix = FeedForward(channels, 2 * channels, channels, rngs=rngs)
        self.gate = Gate(channels, _REDUCTION, rngs=rngs)
        # The original starts at zero, which leaves the branch without a gradient in the first step.
        self.gain = nnx.Param(jnp.array(0.1, jnp.float32))

    def __call__(self, r: OneMap) -> Maps:
        start = self.project(r)
        maps = jax.nn.gelu(self.first(start), approximate=False)
        maps = self.second(self.mix(maps + self.wide(maps)))
        return start + cast_like(self.gain, maps) * maps * self.gate(_mean_of_maps(maps))


class SensitiveFilter(nnx.Module):
    """Filter for small targets: a mixture of each node and its neighbours, weighted at each node.

    Two layers at each node make of it a correction, which is added to the maps.
    """

    def __init__(self, channels: int, rngs: nnx.Rngs):
        self.mixture = nnx.Param(jnp.array(0.5, jnp.float32))
        self.point = Affine(channels, channels, rngs=rngs)
        self.around = Conv(channels, channels, groups=channels, rngs=rngs)
        self.gate = Gate(channels, _REDUCTION, rngs=rngs)
        self.enhance = FeedForward(channels, channels, channels, rngs=rngs)

    def __call__(self, maps: Maps) -> Maps:
        share = jax.nn.sigmoid(cast_like(self.mixture, maps))
        mixed = share * self.point(maps) + (1 - share) * self.around(maps)
        return maps + self.enhance(mixed * self.gate(mixed))


class AdaptiveThreshold(nnx.Module):
    """Threshold at each node: a learned number scaled by the means of the maps and by the node.

    It is kept within 0.0001..0.05.
    """

    def __init__(self, channels: int, rngs: nnx.Rngs):
        hidden = channels // _REDUCTION
        self.base = nnx.Param(jnp.array(0.01, jnp.float32))
        self.mean_squeeze = Affine(channels, hidden, rngs=rngs)
        self.mean_scale = Affine(hidden, 1, rngs=rngs)
        self.node_squeeze = Affine(channels, hidden, rngs=rngs)
        self.node_scale = Affine(hidden, 1, rngs=rngs)

    def __call__(self, maps: Maps) -> OneMap:
        hidden = jax.nn.relu(self.mean_squeeze(_mean_of_maps(maps)))
        of_image = 1 + 0.1 * jax.nn.softplus(self.mean_scale(hidden))
        of_node = 0.5 + jax.nn.sigmoid(self.node_scale(jax.nn.relu(self.node_squeeze(maps))))
        return jnp.clip(cast_like(self.base, maps) * of_image * of_node, 1e-4, 0.05)


class Stage(MapLayer):
    """One iteration: a gradient step on ‖Φx − y‖², two branches, the filter, shrinkage."""

    def __init__(self, channels: int, alpha: float, rngs: nnx.Rngs):
        self.alpha = alpha
        self.step_size = nnx.Param(jnp.array(0.5, jnp.float32))
        self.static_transform = TwoConvolutions(1, channels, channels, rngs)
        self.wide_transform = WideBranch(channels, rngs)
        self.filter = SensitiveFilter(channels, rngs)
        self.threshold = AdaptiveThreshold(channels, rngs)
        self.inverse = TwoConvolutions(channels, channels, 1, rngs)

    def __call__(
        self,
        x: Float[Array, "B nodes"],
        y: Float[Array, "B pixels"],
        phi: Float[Array, "pixels nodes"],
        shape: tuple[int, int],
    ) -> StageOutput:
        r = gradient_step(x, y, phi, cast_like(self.step_size, x)).reshape(-1, *shape, 1)
        maps = self.enter(r)
        branches = self.static_transform(maps), self.wide_transform(maps)
        u = self.filter(self.alpha * branches[0] + (1 - self.alpha) * branches[1])
        z = soft_threshold(u, self.threshold(u))
        return StageOutput(x=self.inverse(z).astype(x.dtype).reshape(x.shape), r=r, u=u)

    def symmetry(self, output: StageOutput) -> OneMap:
        """Returns the symmetry residual G(u) − r of the inverse transform G."""
        return self.inverse(output.u).astype(output.r.dtype) - output.r
