"""ACT: enriched CNN-transformer feature aggregation for super-resolution (Yoo et al., WACV 2023).

Maps are cut into tokens of 3×3 pixels, which keep their rows and columns: tokens have shape
[batch, rows, columns, features], with the features in the order (channel, row, column).
"""

import jax
import jax.numpy as jnp
from flax import nnx
from jaxtyping import Array, Float

from distax.imaging.sensor import Sensor
from distax.models.base import GridModel
from distax.models.layers.basic import (
    Affine,
    Conv,
    FeedForward,
    LayerNorm,
    Maps,
    check_multiple,
    check_side,
)
from distax.models.layers.resampling import Tail, pixel_shuffle, pixel_unshuffle
from distax.models.layers.residual import ResidualBlock, ResidualGroup
from distax.models.registry import register
from distax.runtime.errors import check_positive

Tokens = Float[Array, "B rows columns features"]

_SIDE = 3  # of a token in pixels
_STAGES = 4


def cut(maps: Maps) -> Tokens:
    """Cuts maps into tokens; drops rows and columns that do not fill a token."""
    height, width = (size - size % _SIDE for size in maps.shape[1:3])
    return pixel_unshuffle(maps[:, :height, :width], _SIDE)


def fold(tokens: Tokens, height: int, width: int) -> Float[Array, "B {height} {width} channels"]:
    """Folds tokens back into maps of the given size, zero where there are no tokens."""
    maps = pixel_shuffle(tokens, _SIDE)
    missing = height - maps.shape[1], width - maps.shape[2]
    return jnp.pad(maps, ((0, 0), (0, missing[0]), (0, missing[1]), (0, 0)))


def enlarge(tokens: Tokens) -> Float[Array, "B less_rows less_columns more_features"]:
    """Joins each 2×2 neighbouring tokens into one token of 6×6 pixels; these overlap."""
    batch, rows, columns, features = tokens.shape
    parts = tokens.reshape(batch, rows, columns, -1, _SIDE, _SIDE)
    pairs = jnp.concatenate([parts[:, :-1], parts[:, 1:]], axis=4)
    blocks = jnp.concatenate([pairs[:, :, :-1], pairs[:, :, 1:]], axis=5)
    return blocks.reshape(batch, rows - 1, columns - 1, 4 * features)


def separate(tokens: Tokens) -> Float[Array, "B more_rows more_columns less_features"]:
    """Separates tokens of 6×6 pixels into tokens of 3×3, summed where the former overlap."""
    batch, rows, columns, features = tokens.shape
    parts = tokens.reshape(batch, rows, columns, -1, 2, _SIDE, 2, _SIDE)
    quarters = [
        jnp.pad(parts[..., i, :, j, :], ((0, 0), (i, 1 - i), (j, 1 - j), *3 * ((0, 0),)))
        for i in range(2)
        for j in range(2)
    ]
    summed = sum(quarters[1:], start=quarters[0])
    return summed.reshape(batch, rows + 1, columns + 1, features // 4)


def attend(queries: Tokens, keys: Array, values: Array, heads: int) -> Tokens:
    """Applies multi-head dot-product attention to tokens."""

    def in_heads(tokens: Array) -> Float[Array, "B tokens heads size"]:
        return tokens.reshape(len(tokens), -1, heads, tokens.shape[-1] // heads)

    mixed = jax.nn.dot_product_attention(in_heads(queries), in_heads(keys), in_heads(values))
    return mixed.reshape(queries.shape)


class SelfAttention(nnx.Module):
    """Multi-head self-attention of tokens."""

    def __init__(self, features: int, heads: int, rngs: nnx.Rngs):
        self.heads = heads
        self.norm = LayerNorm(features, rngs=rngs)
        self.qkv = Affine(features, 3 * features, bias=False, rngs=rngs)
        self.out = Affine(features, features, rngs=rngs)

    def __call__(self, tokens: Tokens) -> Tokens:
        queries, keys, values = jnp.split(self.qkv(self.norm(tokens)), 3, axis=-1)
        return self.out(attend(queries, keys, values, self.heads))


class CrossAttention(nnx.Module):
    """Multi-head attention of tokens to tokens of another size."""

    def __init__(self, features: int, heads: int, rngs: nnx.Rngs):
        self.heads = heads
        self.norm, self.other_norm = (LayerNorm(features, rngs=rngs) for _ in range(2))
        self.queries = Affine(features, features, bias=False, rngs=rngs)
        self.keys_values = Affine(features, 2 * features, bias=False, rngs=rngs)
        self.out = Affine(features, features, rngs=rngs)

    def __call__(
        self, tokens: Tokens, others: Float[Array, "B other_rows other_columns features"]
    ) -> Tokens:
        keys, values = jnp.split(self.keys_values(self.other_norm(others)), 2, axis=-1)
        return self.out(attend(self.queries(self.norm(tokens)), keys, values, self.heads))


class NormalizedFeedForward(nnx.Module):
    """Layer normalisation followed by a feed-forward network."""

    def __init__(self, inputs: int, hidden: int, outputs: int, rngs: nnx.Rngs):
        self.norm = LayerNorm(inputs, rngs=rngs)
        self.layers = FeedForward(inputs, hidden, outputs, rngs=rngs)

    def __call__(self, tokens: Tokens) -> Float[Array, "B rows columns outputs"]:
        return self.layers(self.norm(tokens))


class Transformer(nnx.Module):
    """Transformer block: self-attention, a feed-forward network, attention across two token sizes.

    For the attention across sizes, one half of the features is turned into larger, fewer tokens.
    """

    def __init__(self, features: int, heads: int, rngs: nnx.Rngs):
        half = features // 2
        self.attention = SelfAttention(features, heads, rngs)
        self.feed_forward = NormalizedFeedForward(features, 4 * features, features, rngs)
        self.compress = NormalizedFeedForward(4 * half, half, half, rngs)
        self.to_large = CrossAttention(half, heads // 2, rngs)
        self.to_small = CrossAttention(half, heads // 2, rngs)
        self.expand = NormalizedFeedForward(half, half, 4 * half, rngs)
        self.last = NormalizedFeedForward(features, 4 * features, features, rngs)

    def __call__(self, tokens: Tokens) -> Tokens:
        tokens = tokens + self.attention(tokens)
        tokens = tokens + self.feed_forward(tokens)
        small, large = jnp.split(tokens, 2, axis=-1)
        large = self.compress(enlarge(large))
        small, large = small + self.to_large(small, large), large + self.to_small(large, small)
        tokens = jnp.concatenate([small, separate(self.expand(large))], axis=-1)
        return tokens + self.last(tokens)


class Fusion(nnx.Module):
    """Concatenated maps and tokens, mixed at each position by residual blocks."""

    def __init__(self, channels: int, rngs: nnx.Rngs):
        self.blocks = nnx.List(
            ResidualBlock(2 * channels, size=1, bias=False, rngs=rngs) for _ in range(4)
        )

    def __call__(
        self, maps: Maps, tokens: Tokens
    ) -> Float[Array, "B height width twice_the_channels"]:
        both = jnp.concatenate([maps, fold(tokens, *maps.shape[1:3])], axis=-1)
        mixed = both
        for block in self.blocks:
            mixed = block(mixed)
        return both + mixed


class Return(nnx.Module):
    """Split of the fused mixture into tokens and maps, each added to its input of the fusion.

    The first half of the mixture, where the maps were, becomes the tokens; the second half becomes
    the maps.
    """

    def __init__(self, channels: int, features: int, rngs: nnx.Rngs):
        self.to_tokens = NormalizedFeedForward(features, 4 * features, features, rngs)
        self.first = Conv(channels, channels, rngs=rngs)
        self.second = Conv(channels, channels, rngs=rngs)

    def __call__(
        self, mixture: Maps, maps: Float[Array, "B height width half"], tokens: Tokens
    ) -> tuple[Float[Array, "B height width half"], Tokens]:
        for_tokens, for_maps = jnp.split(mixture, 2, axis=-1)
        tokens = tokens + self.to_tokens(cut(for_tokens))
        return maps + self.second(jax.nn.relu(self.first(for_maps))), tokens


@register("actnet")
class ActNet(GridModel):
    """ACT: aggregated convolutional network and transformer (Yoo et al., WACV 2023).

    Each of four stages has two branches: a residual group with channel attention on maps, and a
    transformer on tokens of 3×3 pixels. They exchange features after every stage. In images whose
    sides are not multiples of 3 pixels, such as CSIST-100K's, the last rows and columns belong to
    no token and only the convolutions see them.

    Args:
      factor: grid nodes per pixel along each axis, odd.
      channels: number of feature maps, even.
      blocks: number of attention blocks in each residual group.
      reduction: ratio of the channels to the hidden width of a channel attention.
      heads: number of attention heads on a token's 9·channels features, even.
      sensor: the sensor whose images the model takes.
      rngs: keys for the initial parameters.

    Raises:
      DistaxError: the factor is even, a size is not positive, the channels are odd or not a
        multiple of the reduction, the heads are odd, the features are not a multiple of the heads,
        or the images are smaller than two tokens.
    """

    def __init__(
        self,
        *,
        factor: int = 3,
        channels: int = 64,
        blocks: int = 12,
        reduction: int = 16,
        heads: int = 8,
        sensor: Sensor = Sensor(),
        rngs: nnx.Rngs,
    ):
        super().__init__(factor, sensor)
        features = _SIDE**2 * channels
        check_positive(channels=channels, blocks=blocks, reduction=reduction, heads=heads)
        check_multiple(2, channels=channels, heads=heads)
        check_multiple(heads, **{"9·channels": features})
        check_side(sensor, 2 * _SIDE)
        self.head = Conv(1, channels, rngs=rngs)
        self.head_blocks = nnx.List(ResidualBlock(channels, size=5, rngs=rngs) for _ in range(2))
        self.encoding = Affine(features, features, rngs=rngs)
        self.groups = nnx.List(
            ResidualGroup(channels, blocks, reduction, rngs=rngs) for _ in range(_STAGES)
        )
        self.transformers = nnx.List(Transformer(features, heads, rngs) for _ in range(_STAGES))
        self.fusions = nnx.List(Fusion(channels, rngs) for _ in range(_STAGES))
        self.returns = nnx.List(Return(channels, features, rngs) for _ in range(_STAGES - 1))
        self.last = Conv(2 * channels, channels, rngs=rngs)
        self.tail = Tail(channels, factor, rngs=rngs)

    def __call__(
        self, images: Float[Array, "B height width"]
    ) -> Float[Array, "B fine_height fine_width"]:
        head = self.head(images[..., None])
        for block in self.head_blocks:
            head = block(head)
        maps, tokens = head, cut(head)
        tokens = tokens + self.encoding(tokens)
        for stage in range(_STAGES):
            maps, tokens = self.groups[stage](maps), self.transformers[stage](tokens)
            mixture = self.fusions[stage](maps, tokens)
            if stage < _STAGES - 1:
                maps, tokens = self.returns[stage](mixture, maps, tokens)
        return self.tail(head + self.last(mixture)).astype(images.dtype)
