"""Paths of all targets of a sequence, fitted to the pixels of all frames at once."""

from dataclasses import replace
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float

from distax.fitting.misfit import TRUSTED_MISFIT
from distax.fitting.patch import blob_reach, cut_patches, window_width
from distax.imaging.gaussian import disc_probability
from distax.imaging.motion import MotionPrior
from distax.imaging.sensor import Sensor
from distax.imaging.targets import Targets
from distax.metrics import RADII
from distax.runtime.algebra import invert
from distax.runtime.errors import DistaxError
from distax.runtime.numerics import exact_products
from distax.tracking.path_fit import PathFit, minimise, path_design
from distax.tracking.path_starts import best_tracks, find_starts, most_certain

_PRICE = 40.0
"""Amount by which one more target must lower the sum of squares. It is the price of five parameters
in the Bayesian information criterion for three thousand pixels."""


def fit_paths(
    frames: Float[Array | np.ndarray, "N T height width"],
    found: Targets,
    tracks: Targets,
    sensor: Sensor,
    prior: MotionPrior,
) -> Targets:
    """Fits the paths of all targets to the pixels of all frames by damped least squares.

    A path is a straight line at constant speed, or a parabola if the prior has an acceleration. Its
    target has one intensity in all frames. Fits start from the tracks, and from the detections of
    single frames with the tracks' mean motion. The fit with the smallest sum of squares wins, after
    a price for each target. If it does not explain the pixels, the motion is of another kind, and
    the tracks are the answer.

    Args:
      frames: raw sequences in counts; NaN marks pixels to leave out.
      found: targets `[N, T, J]` found in single frames.
      tracks: their tracks `[N, T, M]` with covariances and hit probabilities, as `track` makes
        them; a slot is the same target in every frame.
      sensor: the sensor that took the frames.
      prior: prior of the motion.

    Returns:
      Targets `[N, T, K]` with K = `prior.placement.max_targets`. A slot is the same target in every
      frame. `trusted` is False where the tracks are the answer.

    Raises:
      DistaxError: the tracks have no covariances or no hit probabilities.
    """
    if tracks.covariance is None or tracks.hit_probability is None:
        raise DistaxError("tracks need covariances and hit probabilities, as `track` makes them")
    width = window_width(sensor, prior.frame_prior.cluster)
    degree = 2 if prior.acceleration > 0 else 1
    return _fit_paths(
        jnp.asarray(frames),
        found,
        _without_other_fields(tracks),
        sensor,
        prior,
        width,
        prior.placement.max_targets,
        degree,
    )


def _without_other_fields(tracks: Targets) -> Targets:
    """Leaves out the fields that a path does not have."""
    return replace(
        tracks,
        intensity_std=None,
        credible_radius=None,
        count_probability=None,
        misfit=None,
        trusted=None,
    )


@partial(jax.jit, static_argnums=(5, 6, 7))
@exact_products
def _fit_paths(
    frames: Float[Array, "N T height width"],
    found: Targets,
    tracks: Targets,
    sensor: Sensor,
    prior: MotionPrior,
    width: int,
    size: int,
    degree: int,
) -> Targets:
    number, length = frames.shape[:2]
    # Each lane is one frame. The first lanes are the first frames of all sequences, in order.
    lanes = jnp.swapaxes(frames, 0, 1).reshape(-1, *frames.shape[2:])
    patch = cut_patches(lanes, sensor, width, blob_reach(width))
    tracks = best_tracks(tracks, size)
    time = (jnp.arange(length) - (length - 1) / 2) / length
    basis = time[:, None] ** jnp.arange(degree + 1)
    starts, present = find_starts(most_certain(found, size), tracks, basis)
    fits = jax.lax.map(
        lambda start: minimise(start[0], start[1], basis, patch, sensor.psf, prior),
        (starts, present),
    )
    price = fits.squares + _PRICE * jnp.sum(present, axis=2)
    best = jnp.argmin(price, axis=0)
    fit = jax.tree.map(lambda leaf: _pick(leaf, best), fits)
    exists = present[best, jnp.arange(number)]
    pixels = jnp.sum(jnp.isfinite(patch.upper), axis=0).reshape(length, number)
    misfit = jnp.sqrt(fit.squares / jnp.maximum(jnp.sum(pixels, axis=0), 1))
    return _answer(fit, exists, basis, tracks, misfit)


def _pick(leaf: Array, best: Array) -> Array:
    """Picks each sequence's best start; starts are on the first axis, sequences on the last."""
    return jnp.moveaxis(jnp.moveaxis(leaf, -1, 0)[jnp.arange(len(best)), best], 0, -1)


def _answer(
    fit: PathFit,
    exists: Bool[Array, "N K"],
    basis: Float[Array, "T C"],
    tracks: Targets,
    misfit: Float[Array, " N"],
) -> Targets:
    """Returns the paths where they explain the pixels, and the tracks in the other sequences."""
    size, order, number = fit.paths.shape
    design, length = path_design(basis), len(basis)
    free = jnp.broadcast_to(exists.T[:, None], fit.paths.shape).reshape(-1, number)
    # Ones on the diagonal keep the matrix invertible where a slot holds no target.
    held = jnp.eye(size * order)[..., None] * ~free
    inverse = invert(jnp.where(free[:, None] & free, fit.matrix, 0.0) + held)[0]
    blocks = inverse.reshape(size, order, size, order, number)
    covariance = jnp.einsum("tid,kdken,tje->ntkij", design, blocks, design)
    scene = jnp.einsum("tid,kdn->ntki", design, fit.paths)
    position_covariance = covariance[..., :2, :2]
    hit = jnp.stack([disc_probability(position_covariance, radius) for radius in RADII], axis=-1)
    mask = jnp.broadcast_to(exists[:, None], (number, length, size))
    paths = Targets(
        position=scene[..., :2],
        intensity=scene[..., 2],
        mask=mask,
        score=jnp.mean(hit, axis=-1),
        covariance=position_covariance,
        hit_probability=hit,
    )
    explained = misfit < TRUSTED_MISFIT

    def choose(path: Array, track: Array) -> Array:
        return jnp.where(explained.reshape(-1, *[1] * (path.ndim - 1)), path, track)

    chosen = jax.tree.map(choose, paths, tracks)
    by_frame = (number, length)
    return Targets(
        position=jnp.where(chosen.mask[..., None], chosen.position, 0.0),
        intensity=jnp.where(chosen.mask, chosen.intensity, 0.0),
        mask=chosen.mask,
        score=jnp.where(chosen.mask, chosen.score, 0.0),
        covariance=chosen.covariance,
        hit_probability=chosen.hit_probability,
        misfit=jnp.broadcast_to(misfit[:, None], by_frame),
        trusted=jnp.broadcast_to(explained[:, None], by_frame),
    )
