"""Spatial and channel correlation within windows (HiT-SR: Zhang, Zhang and Yu, ECCV 2024)."""

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx
from jaxtyping import Array, Float

from distax.models.layers.basic import Affine, Conv, LayerNorm, Maps
from distax.models.layers.windows import join_windows, pad_by_reflection, split_windows
from distax.models.superresolution.ngram import NgramContext

Tokens = Float[Array, "windows positions channels"]
Halves = Float[Array, "windows positions half"]

_KEYS = 2  # along each axis of a window, to which its values are reduced


class GatedFeatures(nnx.Module):
    """Features of each position, times a function of its neighbourhood."""

    def __init__(self, channels: int, rngs: nnx.Rngs):
        hidden = channels // 5
        self.features = Affine(channels, channels, rngs=rngs)
        self.first = Affine(channels, hidden, rngs=rngs)
        self.middle = Conv(hidden, hidden, rngs=rngs)
        self.last = Affine(hidden, channels, rngs=rngs)

    def __call__(self, maps: Maps) -> Maps:
        hidden = jax.nn.leaky_relu(self.first(maps), 0.2)
        hidden = jax.nn.leaky_relu(self.middle(hidden), 0.2)
        return self.last(hidden) * self.features(maps)


class PositionBias(nnx.Module):
    """Number for each step from a key to a query, in positions, by a small network."""

    def __init__(self, width: int, heads: int, rngs: nnx.Rngs):
        self.first = Affine(2, width, rngs=rngs)
        self.norms = nnx.List(LayerNorm(width, rngs=rngs) for _ in range(3))
        self.layers = nnx.List(
            Affine(width, outputs, rngs=rngs) for outputs in (width, width, heads)
        )

    def __call__(self, side: int, keys: int) -> Float[Array, "heads positions reduced"]:
        """Returns the numbers of all queries of a window, averaged over each reduced key."""
        steps = np.arange(1 - side, side, dtype=np.float32)
        values = self.first(jnp.stack(jnp.meshgrid(steps, steps, indexing="ij"), axis=-1))
        for norm, layer in zip(self.norms, self.layers, strict=True):
            values = layer(jax.nn.relu(norm(values)))
        # The share of each step between query q and the positions of reduced key k, on one axis.
        position = np.arange(side)
        step = position[:, None] - position + side - 1
        share = np.eye(2 * side - 1)[step].reshape(side, keys, side // keys, -1).mean(2)
        share = jnp.asarray(share, values.dtype)
        bias = jnp.einsum("ybi,xcj,ijh->hyxbc", share, share, values)
        return bias.reshape(-1, side**2, keys**2)


class Correlation(nnx.Module):
    """Correlation of positions and of channels in windows of one side, on padded maps.

    Args:
      channels: channels of the maps, even.
      side: side of a window in positions, 1 or even.
      heads: number of heads, which divides half the channels.
      rngs: keys for the initial parameters.
    """

    def __init__(self, channels: int, side: int, heads: int, rngs: nnx.Rngs):
        self.side, self.heads, self.keys = side, heads, min(side, _KEYS)
        self.features = GatedFeatures(channels, rngs)
        self.context = NgramContext(channels, side, heads, rngs)
        self.reduce = Affine((side // self.keys) ** 2, 1, rngs=rngs)
        self.position = PositionBias(channels // 16, heads, rngs)
        self.out = Affine(channels, channels, rngs=rngs)

    def __call__(self, maps: Maps) -> Maps:
        height, width = maps.shape[1:3]
        features = self.features(pad_by_reflection(maps, 2 * self.side))
        context = self.context(features)
        features += jnp.repeat(jnp.repeat(context, self.side, axis=1), self.side, axis=2)
        queries, values = jnp.split(split_windows(features, self.side), 2, axis=-1)
        tokens = jnp.concatenate(
            [self._correlate_positions(queries, values), _correlate_channels(queries, values)],
            axis=-1,
        )
        return self.out(join_windows(tokens, self.side, features.shape))[:, :height, :width]

    def _correlate_positions(self, queries: Halves, values: Halves) -> Halves:
        """Mixes the reduced values at each position, weighted by its likeness to them."""
        few = self._reduce(values)
        queries, few = (x.reshape(*x.shape[:2], self.heads, -1) for x in (queries, few))
        likeness = jnp.einsum("nlhd,nkhd->nhlk", queries, few) / queries.shape[-1]
        likeness += self.position(self.side, self.keys).astype(likeness.dtype)
        return jnp.einsum("nhlk,nkhd->nlhd", likeness, few).reshape(values.shape)

    def _reduce(self, values: Halves) -> Float[Array, "windows reduced half"]:
        """Takes learned weighted sums of the values over equal parts of each window."""
        part = self.side // self.keys
        split = values.reshape(len(values), self.keys, part, self.keys, part, -1)
        parts = split.transpose(0, 1, 3, 5, 2, 4).reshape(
            len(values), self.keys**2, values.shape[-1], part**2
        )
        return self.reduce(parts)[..., 0]


def _correlate_channels(queries: Halves, values: Halves) -> Halves:
    """Mixes the channels at each position, weighted by the likeness of their maps."""
    likeness = jnp.einsum("nlc,nld->ncd", queries, values) / queries.shape[1]
    return jnp.einsum("ncd,nld->nlc", likeness, values)
