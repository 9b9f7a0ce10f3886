"""Examples for the mode network: what it sees of simulated scenes, and their true targets."""

from dataclasses import replace
from functools import partial
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, PRNGKeyArray
from random_cameras import Camera

from distax.fitting.candidates import Search
from distax.fitting.fast import SEARCH, fit_tokens
from distax.fitting.patch import blob_reach, cut_patches, window_width
from distax.fitting.prior import starting_scenes
from distax.fitting.tokens import AnyArray, Tokens
from distax.imaging.forward import render
from distax.imaging.scenes import ScenePrior, sample_each, scene_keys
from distax.imaging.sensor import Sensor
from distax.imaging.targets import Targets, make_targets
from distax.runtime.files import atomic_write
from distax.runtime.pytree import named_leaves, pytree

PER_CAMERA = 64
"""Scenes of each camera. Fewer show more cameras and take longer for each scene."""
WIDTHS = 5, 9, 15
"""Widths of windows in pixels. A camera takes the narrowest that holds its own."""


@pytree
class Examples:
    """What the network sees of scenes with the same number of targets, and their true targets.

    Attributes:
      tokens: of the fits.
      position: from the window's centre in pixels.
      intensity: in counts.
    """

    tokens: Tokens
    position: Float[AnyArray, "N K 2"]
    intensity: Float[AnyArray, "N K"]


@partial(jax.jit, static_argnames=("width", "search"))
def make_examples(
    key: PRNGKeyArray,
    sensor: Sensor,
    prior: ScenePrior,
    in_turn: Float[Array, ""],
    masked: Float[Array, ""],
    width: int,
    search: Search,
) -> Examples:
    """Simulates images of a camera, and fits them."""
    scene_key, noise_key, mask_key = jax.random.split(key, 3)
    keys = scene_keys(scene_key, PER_CAMERA)
    together = sample_each(keys, prior, sensor.shape)
    truth = jax.tree.map(
        lambda one, other: jnp.where(in_turn, one, other),
        place_in_turn(keys, together, prior),
        together,
    )
    # Poisson's sampler is slow, and Gaussian noise of the same variance is close enough.
    level = render(truth, sensor) + sensor.background
    noise = jax.random.normal(noise_key, level.shape)
    level += jnp.sqrt(sensor.noise_variance(level)) * noise
    images = jnp.maximum(jnp.round(jnp.minimum(level, sensor.clip_level)), 0.0)
    unknown = jax.random.uniform(mask_key, images.shape) < masked
    patch = cut_patches(jnp.where(unknown, jnp.nan, images), sensor, width, blob_reach(width))
    pool = starting_scenes(prior, prior.max_targets, search.pool)
    return Examples(
        tokens=fit_tokens(patch, pool, sensor, prior, search),
        position=truth.position - patch.origin.T[:, None],
        intensity=truth.intensity,
    )


def place_in_turn(keys: Array, together: Targets, prior: ScenePrior) -> Targets:
    """Places the targets of scenes one after the other, each uniformly where it keeps the distance.

    A scene in which a target finds no place keeps its own arrangement.
    """
    tries = 48
    host = jnp.round(
        jnp.sum(jnp.where(together.mask[..., None], together.position, 0.0), axis=1)
        / together.mask.sum(axis=1)[:, None]
    )

    def place(key: PRNGKeyArray, host: Array, own: Array, mask: Array) -> Array:
        slots = len(mask)
        drawn = jax.random.uniform(key, (slots, tries, 2), minval=-0.5, maxval=0.5)
        drawn = host + prior.cluster * drawn
        position, found = jnp.zeros((slots, 2)), jnp.bool_(True)
        for slot in range(slots):
            distance = jnp.linalg.norm(drawn[slot][:, None] - position[None, :slot], axis=-1)
            free = jnp.all(distance >= prior.min_distance, axis=-1)
            position = position.at[slot].set(drawn[slot, jnp.argmax(free)])
            found &= jnp.any(free) | ~mask[slot]
        return jnp.where(found, position, own)

    position = jax.vmap(place)(keys, host, together.position, together.mask)
    return make_targets(position, together.intensity, together.mask)


def examples_of(camera: Camera, key: PRNGKeyArray) -> Examples:
    """Simulates examples of a camera; see `make_examples`. Few programs serve all cameras."""
    sensor, prior = camera.sensor, camera.prior
    own = window_width(sensor, prior.cluster)
    width = next(width for width in WIDTHS if width >= own)
    if prior.border == 0:
        # Nearly half of the windows lie inside the image.
        sensor = replace(sensor, height=3 * width, width=3 * width)
    return make_examples(
        key,
        sensor,
        prior,
        jnp.float32(camera.in_turn),
        jnp.float32(camera.masked),
        width,
        SEARCH if width == WIDTHS[0] else replace(SEARCH, steps=2 * SEARCH.steps),
    )


def _finite(examples: Examples) -> np.ndarray:
    """Returns True for examples without NaN."""
    good = np.ones(len(examples.position), bool)
    for leaf in jax.tree.leaves(examples):
        good &= ~np.isnan(leaf.reshape(len(leaf), -1)).any(axis=1)
    return good


def write_examples(path: Path, examples: Examples) -> float:
    """Writes examples without NaN; returns their share."""
    good = _finite(examples)
    arrays = {name: leaf[good] for name, leaf in named_leaves(examples).items()}
    with atomic_write(path) as temporary, temporary.open("wb") as file:
        np.savez(file, **arrays)
    return float(good.mean())


def read_examples(path: Path) -> Examples:
    """Reads a file of examples."""
    with np.load(path) as file:
        arrays = dict(file)
    tokens = {n.removeprefix("tokens."): a for n, a in arrays.items() if n.startswith("tokens.")}
    rest = {n: a for n, a in arrays.items() if not n.startswith("tokens.")}
    return Examples(tokens=Tokens(**tokens), **rest)


def turn(key: PRNGKeyArray, examples: Examples) -> Examples:
    """Mirrors and transposes each example at random: a turned scene is as likely as the scene."""
    batch = len(examples.position)
    mirror_key, transpose_key = jax.random.split(key)
    sign = jnp.where(jax.random.bernoulli(mirror_key, 0.5, (batch, 2)), -1.0, 1.0)
    transposed = jax.random.bernoulli(transpose_key, 0.5, (batch,))

    def where(condition: Array, one: Array, other: Array) -> Array:
        return jnp.where(condition.reshape(-1, *[1] * (one.ndim - 1)), one, other)

    def vector(leaf: Array) -> Array:
        """Turns the first two entries of the last axis."""
        signs = sign.reshape(batch, *[1] * (leaf.ndim - 2), 2)
        place = leaf[..., :2] * signs
        place = where(transposed, place[..., ::-1], place)
        return jnp.concatenate([place, leaf[..., 2:]], axis=-1)

    def matrix(leaf: Array) -> Array:
        rows = vector(leaf)
        return jnp.swapaxes(vector(jnp.swapaxes(rows, -1, -2)), -1, -2)

    tokens = examples.tokens
    room = tokens.room.reshape(batch, 2, 2)
    room = jnp.where(sign[..., None] < 0, room[..., ::-1], room)
    room = where(transposed, room[:, ::-1], room).reshape(batch, 4)
    swapped = tokens.camera[:, jnp.array([1, 0, *range(2, tokens.camera.shape[1])])]
    return replace(
        examples,
        position=vector(examples.position),
        tokens=replace(
            tokens,
            position=vector(tokens.position),
            step=vector(tokens.step),
            covariance=matrix(tokens.covariance),
            centre=vector(tokens.centre),
            room=room,
            camera=where(transposed, swapped, tokens.camera),
        ),
    )
