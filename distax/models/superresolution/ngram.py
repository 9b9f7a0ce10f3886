"""N-gram context between windows (Choi, Lee and Yang, CVPR 2023)."""

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx
from jaxtyping import Array, Float

from distax.models.layers.basic import Affine, Maps, cast_like, fan_in_uniform

Unigrams = Float[Array, "B rows columns features"]


class NgramAttention(nnx.Module):
    """Attention between the four windows of every 2×2 neighbourhood, and the mean of its results.

    Args:
      features: channels of the windows' summaries.
      heads: number of attention heads.
      rngs: keys for the initial parameters.
    """

    def __init__(self, features: int, heads: int, rngs: nnx.Rngs):
        self.heads = heads
        self.qkv = Affine(features, 3 * features, rngs=rngs)
        self.offsets = nnx.Param(0.02 * jax.random.normal(rngs.params(), (9, heads)))
        self.out = Affine(features, features, rngs=rngs)

    def _position_bias(self) -> Float[Array, "heads 4 4"]:
        """Returns a number for each query and key of a neighbourhood, by the step between them."""
        row, column = np.divmod(np.arange(4), 2)
        steps = 3 * (row[:, None] - row + 1) + column[:, None] - column + 1
        return self.offsets[...][steps].transpose(2, 0, 1)

    def __call__(
        self, grid: Float[Array, "B more_rows more_columns features"]
    ) -> Float[Array, "B rows columns features"]:
        rows, columns = grid.shape[1] - 1, grid.shape[2] - 1
        tokens = jnp.stack(
            [grid[:, i : i + rows, j : j + columns] for i in range(2) for j in range(2)], axis=3
        )
        split = (*tokens.shape[:4], 3, self.heads, -1)
        queries, keys, values = jnp.moveaxis(self.qkv(tokens).reshape(split), 4, 0)
        likeness = jnp.einsum("brcqhd,brckhd->brchqk", queries, keys) * queries.shape[-1] ** -0.5
        attention = jax.nn.softmax(likeness + self._position_bias().astype(tokens.dtype), axis=-1)
        mixed = jnp.einsum("brchqk,brckhd->brcqhd", attention, values).reshape(tokens.shape)
        return jnp.mean(self.out(mixed), axis=3)


class NgramContext(nnx.Module):
    """Context of every window from its neighbours: ahead (below, right) and behind (above, left).

    Args:
      channels: channels of the maps, even.
      side: side of a window in pixels.
      heads: number of attention heads.
      rngs: keys for the initial parameters.
    """

    def __init__(self, channels: int, side: int, heads: int, rngs: nnx.Rngs):
        self.side = side
        self.unigram = fan_in_uniform(rngs, 2 * side**2, side, side, 2, 1)
        self.unigram_bias = fan_in_uniform(rngs, 2 * side**2, 1)
        self.attention = NgramAttention(channels // 2, heads, rngs)
        self.merge = Affine(channels, channels, rngs=rngs)

    def _summarise(self, maps: Maps) -> Unigrams:
        """Summarises every window by half its channels: one kernel for every pair of channels."""
        batch, height, width, channels = maps.shape
        side = self.side
        parts = maps.reshape(batch, height // side, side, width // side, side, channels // 2, 2)
        kernel = cast_like(self.unigram, maps)[..., 0]
        sums = jnp.einsum("bricjhp,ijp->brch", parts, kernel)
        return sums + cast_like(self.unigram_bias, maps)

    def __call__(self, maps: Maps) -> Float[Array, "B rows columns channels"]:
        grid = self._summarise(maps)
        none = (0, 0)
        ahead, behind = (
            self.attention(jnp.pad(grid, (none, margin, margin, none), mode="reflect"))
            for margin in ((0, 1), (1, 0))
        )
        return self.merge(jnp.concatenate([ahead, behind], axis=-1))
