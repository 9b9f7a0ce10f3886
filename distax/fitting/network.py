"""Mode network: turns the fits of an image into the posterior density of its targets.

A mode is one fit of a number of targets to an image. Before training, the density is about the
mixture of the fits' Gaussians, three of different size for each target of a mode, weighted by the
fits' evidence. Training adds what the fits miss: solutions that no fit found, elongated bent
minima, and the prior's edges.

In shapes, N is the number of images, S of modes of an image, and K of targets of a mode.
"""

import hashlib
import math
from functools import cache, partial
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx
from jaxtyping import Array, Float

from distax.fitting.mixture import COMPONENTS, Mixture
from distax.fitting.tokens import FEATURES, Tokens, features
from distax.models.layers.linear import linear
from distax.runtime.errors import DistaxError, check_positive
from distax.runtime.files import atomic_write, local_copy
from distax.runtime.pytree import named_leaves, with_leaves

_HEADS = 4
"""Number of attention heads; the width must be a multiple of it."""
_LOWEST_WEIGHT = -12.0
"""Logarithm of the smallest weight of a mode before training, relative to that of the best one."""
_SMALLEST, _LARGEST = -4.0, 3.0
"""Bounds of the logarithm of the ratio of a Gaussian's size to that of its fit."""
_OUTPUTS = 8
"""Numbers that describe a Gaussian; see `_mixture`."""


class Block(nnx.Module):
    """Three updates that are added to each token.

    They come from the mean over the mode's tokens, from attention to all tokens of the image, and
    from a two-layer network of the token alone.
    """

    def __init__(self, width: int, rngs: nnx.Rngs):
        self.norms = nnx.List(nnx.RMSNorm(width, rngs=rngs) for _ in range(3))
        self.mode = linear(width, width, 1.0, rngs)
        self.from_mode = linear(width, width, 0.1, rngs)
        self.attend = linear(width, 3 * width, 1.0, rngs)
        self.attended = linear(width, width, 0.1, rngs)
        self.expand = linear(width, 2 * width, 2.0, rngs)
        self.contract = linear(2 * width, width, 0.1, rngs)

    def __call__(self, x: Float[Array, "N S K width"]) -> Float[Array, "N S K width"]:
        mean = jnp.mean(self.norms[0](x), axis=2, keepdims=True)
        x = x + self.from_mode(jax.nn.gelu(self.mode(mean)))
        x = x + self.attended(_attention(self.attend(self.norms[1](x))))
        return x + self.contract(jax.nn.gelu(self.expand(self.norms[2](x))))


def _attention(projected: Float[Array, "N S K three_widths"]) -> Float[Array, "N S K width"]:
    """Attends from every token to all tokens of the image."""
    batch, modes, count, width = projected.shape
    query, key, value = jnp.split(projected.reshape(batch, modes * count, _HEADS, -1), 3, axis=-1)
    scores = jnp.einsum("nqhd,nkhd->nhqk", query, key) / math.sqrt(query.shape[-1])
    mixed = jnp.einsum("nhqk,nkhd->nqhd", jax.nn.softmax(scores, axis=-1), value)
    return mixed.reshape(batch, modes, count, width // 3)


class ModeNetwork(nnx.Module):
    """A transformer without positional encoding, from an image's tokens to a mixture density.

    There is one token for each target of each mode; see `tokens`.

    Args:
      width: number of features of a token within the network, a multiple of 4.
      blocks: number of blocks.
      rngs: keys for the initial parameters.

    Raises:
      DistaxError: a size is not positive, or the width is no multiple of 4.
    """

    def __init__(self, *, width: int = 64, blocks: int = 3, rngs: nnx.Rngs):
        check_positive(width=width, blocks=blocks)
        if width % _HEADS:
            raise DistaxError(f"width must be a multiple of {_HEADS}, got {width}")
        self.width, self.depth = width, blocks
        self.embed = linear(FEATURES, width, 1.0, rngs)
        self.blocks = nnx.List(Block(width, rngs) for _ in range(blocks))
        self.norm = nnx.RMSNorm(width, rngs=rngs)
        self.out = linear(width, COMPONENTS * _OUTPUTS, 1e-3, rngs)

    def __call__(self, tokens: Tokens) -> Mixture:
        """Computes the density of the targets of each image."""
        x = self.embed(features(tokens))
        for block in self.blocks:
            x = block(x)
        out = self.out(self.norm(x))
        return _mixture(tokens, out.reshape(*out.shape[:-1], COMPONENTS, _OUTPUTS))


def _mixture(tokens: Tokens, out: Float[Array, "N S K C outputs"]) -> Mixture:
    """Places Gaussians relative to each token's own covariance.

    The eight outputs are a log weight, which is added to the log evidence; two shifts of the
    position; three entries of the Cholesky factor of its covariance, the diagonal as logarithms; a
    shift of the intensity; and the logarithm of a factor of its standard deviation.
    """
    covariance = jnp.asarray(tokens.covariance)
    first = jnp.sqrt(jnp.maximum(covariance[..., 0, 0], 1e-12))
    lower = covariance[..., 1, 0] / first
    second = jnp.sqrt(jnp.maximum(covariance[..., 1, 1] - lower**2, 1e-12))
    frame = _lower(first, lower, second)[..., None, :, :]
    # The components start with different sizes, so that they learn different things.
    start = jnp.linspace(-0.4, 0.4, COMPONENTS)

    def size(number: int) -> Array:
        return jnp.exp(jnp.clip(out[..., number] + start, _SMALLEST, _LARGEST))

    shift = jnp.einsum("nskcij,nskcj->nskci", frame, out[..., 1:3])
    factor = frame @ _lower(size(3), out[..., 4], size(5))
    std = jnp.sqrt(jnp.maximum(covariance[..., 2, 2], 1e-12))[..., None]
    evidence = jnp.maximum(tokens.log_evidence, _LOWEST_WEIGHT)[:, :, None, None]
    flat = (len(out), -1)
    return Mixture(
        log_weight=jax.nn.log_softmax((out[..., 0] + evidence).reshape(flat), axis=-1),
        mean=(jnp.asarray(tokens.position)[..., None, :] + shift).reshape(*flat, 2),
        factor=factor.reshape(*flat, 2, 2),
        intensity=(jnp.asarray(tokens.intensity)[..., None] + std * out[..., 6]).reshape(flat),
        intensity_std=(std * size(7)).reshape(flat),
    )


def _lower(first: Array, lower: Array, second: Array) -> Float[Array, "*batch 2 2"]:
    """Returns lower triangular matrices."""
    rows = jnp.stack([first, jnp.zeros_like(first)], -1), jnp.stack([lower, second], -1)
    return jnp.stack(rows, axis=-2)


def save_network(path: Path, network: ModeNetwork) -> None:
    """Writes a network to a safetensors file by an atomic write.

    Raises:
      DistaxError: the file cannot be written.
    """
    from safetensors.numpy import save

    arrays = {name: np.asarray(leaf) for name, leaf in named_leaves(nnx.state(network)).items()}
    metadata = {name: str(getattr(network, name)) for name in ("width", "depth")}
    with atomic_write(path) as unfinished:
        unfinished.write_bytes(save(arrays, metadata))


def load_network(path: Path) -> ModeNetwork:
    """Reads a network that `save_network` wrote.

    Raises:
      DistaxError: the file cannot be read, or is not a complete network.
    """
    from safetensors import SafetensorError, safe_open

    try:
        with local_copy(path) as local, safe_open(local, "numpy") as file:
            sizes = {name: int(value) for name, value in (file.metadata() or {}).items()}
            names = file.keys()
            arrays = {name: jnp.asarray(file.get_tensor(name), jnp.float32) for name in names}
        make = partial(_make, sizes["width"], sizes["depth"])
        graphdef, state = nnx.split(nnx.eval_shape(make))
        loaded = with_leaves(state, arrays)
        shapes = [jax.tree.map(jnp.shape, one) for one in (state, loaded)]
        if shapes[0] != shapes[1]:
            raise ValueError("its arrays do not match the stated sizes")
    except OSError as error:
        raise DistaxError(f"{path}: cannot be read ({error.strerror or error})") from error
    except (SafetensorError, KeyError, ValueError) as error:
        raise DistaxError(f"{path}: not a complete mode network ({error})") from error
    return nnx.merge(graphdef, loaded)


_SHIPPED = Path(__file__).parents[1] / "weights" / "any_camera.safetensors"
_SHA256 = "62b6aa21e98ac2024aebd5a433f9e6dc6931433d21bd57c27c038f6a4724ec27"
"""Checksum of the network that comes with distax. Its model card lies beside it."""


@cache
def shipped_network() -> ModeNetwork:
    """Loads the network that comes with distax.

    Raises:
      DistaxError: the file is missing, or its checksum is not that of the release.
    """
    if not _SHIPPED.is_file() or hashlib.sha256(_SHIPPED.read_bytes()).hexdigest() != _SHA256:
        raise DistaxError(f"{_SHIPPED}: missing, incomplete or changed; install distax again")
    return load_network(_SHIPPED)


def _make(width: int, blocks: int) -> ModeNetwork:
    return ModeNetwork(width=width, blocks=blocks, rngs=nnx.Rngs(0))
