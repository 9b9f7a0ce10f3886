"""Paths that a joint fit of a sequence starts from: its tracks, and its single frames."""

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float

from distax.imaging.targets import Targets, make_targets, with_slots

_FRAMES = 6
"""Number of frames whose detections are starts, besides the tracks. More take longer. With fewer,
more answers lack a target that the tracks have lost."""


def best_tracks(tracks: Targets, size: int) -> Targets:
    """Selects the tracks of highest score in each sequence, padded to `size` slots."""
    tracks = with_slots(tracks, size)
    score = jnp.max(jnp.where(tracks.mask, tracks.score, -1.0), axis=1)
    slots = jax.lax.top_k(score, size)[1]

    def select(leaf: Array) -> Array:
        return jax.vmap(lambda rows, chosen: rows[:, chosen])(leaf, slots)

    return jax.tree.map(select, tracks)


def most_certain(found: Targets, size: int) -> Targets:
    """Selects the targets of highest score in each frame, padded to `size` slots."""
    # Without the uncertainties, which no start needs.
    only = make_targets(found.place, found.flux, found.mask, found.score)
    padded = with_slots(only, size)
    slots = jax.lax.top_k(jnp.where(padded.mask, padded.score, -1.0), size)[1]
    return jax.tree.map(
        lambda leaf: jnp.take_along_axis(
            leaf, slots.reshape(*slots.shape, *[1] * (leaf.ndim - 3)), axis=2
        ),
        padded,
    )


def find_starts(
    found: Targets, tracks: Targets, basis: Float[Array, "T C"]
) -> tuple[Float[Array, "S K D N"], Bool[Array, "S N K"]]:
    """Returns the paths that fits start from, and which of their slots hold a target.

    The first start is the tracks. Each other start takes the positions and intensities of one
    frame's detections, and the mean motion of the tracks.

    Args:
      found: targets of single frames `[N, T, K]`, the most certain first.
      tracks: tracks `[N, T, K]`.
      basis: powers of each frame's time.
    """
    exists = jnp.any(tracks.mask, axis=1)
    of_tracks = _start(tracks, basis)
    order, size = basis.shape[1], exists.shape[1]
    weight = exists.T[:, None] / jnp.maximum(jnp.sum(exists, axis=1), 1)
    mean = jnp.sum(weight * of_tracks, axis=0)
    starts, present = [of_tracks], [exists]
    for frame in np.linspace(0, len(basis) - 1, _FRAMES).round().astype(int):
        position = jnp.moveaxis(found.place[:, frame, :size], 0, -1)
        parts = []
        for axis in range(2):
            moving = mean[axis * order + 1 : (axis + 1) * order]
            here = jnp.einsum("c,cn->n", basis[frame, 1:], moving)
            higher = jnp.broadcast_to(moving, (size, *moving.shape))
            parts += [(position[:, axis] - here)[:, None], higher]
        flux = jnp.moveaxis(found.flux[:, frame, :size], 0, -1)[:, None]
        starts.append(jnp.concatenate([*parts, flux], axis=1))
        present.append(jnp.asarray(found.mask)[:, frame, :size])
    return jnp.stack(starts), jnp.stack(present)


def _start(tracks: Targets, basis: Float[Array, "T C"]) -> Float[Array, "K D N"]:
    """Fits a path to each track's positions, and takes its mean intensity."""
    weight = tracks.mask[..., None, None] * basis[:, None, :, None] * basis[:, None, None, :]
    # A little of the identity keeps the system of an empty slot solvable.
    matrix = jnp.sum(weight, axis=1) + 1e-6 * jnp.eye(basis.shape[1])
    vector = jnp.einsum("ntka,tc->nkca", tracks.place, basis)
    solved = jnp.linalg.solve(matrix, vector)
    seen = jnp.maximum(jnp.sum(tracks.mask, axis=1), 1)
    intensity = jnp.sum(tracks.flux, axis=1) / seen
    coefficients = jnp.swapaxes(solved, 2, 3).reshape(*seen.shape, -1)
    return jnp.moveaxis(jnp.concatenate([coefficients, intensity[..., None]], -1), 0, -1)
