"""Paths of all targets of a sequence, fitted to the pixels of all frames at once."""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float

from distax.fitting.likelihood import scene_equations
from distax.fitting.misfit import TRUSTED_MISFIT
from distax.fitting.patch import Patch, blob_reach, cut_patches, window_width
from distax.imaging.gaussian import disc_probability
from distax.imaging.least_squares import FIRST_DAMPING, damped_step, next_damping
from distax.imaging.motion import MotionPrior
from distax.imaging.psf import Psf
from distax.imaging.sensor import Sensor
from distax.imaging.targets import Targets, make_targets
from distax.metrics import RADII
from distax.runtime.algebra import invert
from distax.runtime.numerics import exact_products
from distax.runtime.pytree import pytree

_STEPS = 15
"""Damped Gauss–Newton steps. Starts are good: within ten steps the sum of squares of nearly all
sequences is constant to four digits."""
_FRAMES = 6
"""Frames whose detections are starts too, besides the tracks. More take longer; with fewer, more
sequences lack a target that the tracks have lost."""
_PRICE = 40.0
"""Sum of squares that one more target must take away: that of the Bayesian information criterion
for five parameters and three thousand pixels."""


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
    single frames with the tracks' mean velocity; the best fit wins. Where it does not explain the
    pixels, the tracks are the answer: the motion is of another kind.

    Args:
      frames: raw sequences in counts; NaN marks pixels to leave out.
      found: targets `[N, T, J]` found in single frames.
      tracks: their tracks `[N, T, M]`; a slot is the same target in every frame.
      sensor: the sensor that took the frames.
      prior: prior of the motion.

    Returns:
      Targets `[N, T, K]` with K = `prior.placement.max_targets`. A slot is the same target in every
      frame. `trusted` is False where the tracks are the answer.
    """
    width = window_width(sensor, prior.frame_prior.cluster)
    degree = 2 if prior.acceleration > 0 else 1
    return _fit_paths(
        jnp.asarray(frames),
        found,
        tracks,
        sensor,
        prior,
        width,
        prior.placement.max_targets,
        degree,
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
    # A lane is a frame of a sequence; the sequence counts fastest.
    lanes = jnp.swapaxes(frames, 0, 1).reshape(-1, *frames.shape[2:])
    patch = cut_patches(lanes, sensor, width, blob_reach(width))
    tracks = _best_tracks(tracks, size)
    time = (jnp.arange(length) - (length - 1) / 2) / length
    basis = time[:, None] ** jnp.arange(degree + 1)
    starts, present = _starts(_most_certain(found, size), tracks, basis)
    fits = jax.lax.map(
        lambda start: _minimise(start[0], start[1], basis, patch, sensor.psf, prior),
        (starts, present),
    )
    price = fits.squares + _PRICE * jnp.sum(present, axis=2)
    best = jnp.argmin(price, axis=0)
    fit = jax.tree.map(lambda leaf: _pick(leaf, best), fits)
    exists = present[best, jnp.arange(number)]
    pixels = jnp.sum(jnp.isfinite(patch.upper), axis=0).reshape(length, number)
    misfit = jnp.sqrt(fit.squares / jnp.maximum(jnp.sum(pixels, axis=0), 1))
    return _answer(fit, exists, basis, tracks, misfit)


@pytree
class _Fit:
    """Paths of the targets of N sequences, and their normal equations.

    Attributes:
      paths: coefficients of each target's row, those of its column, and its intensity.
      matrix, vector, squares: as of `fitting.solver.Fit`, over all frames.
    """

    paths: Float[Array, "K D N"]
    matrix: Float[Array, "P P N"]
    vector: Float[Array, "P N"]
    squares: Float[Array, " N"]


def _best_tracks(tracks: Targets, size: int) -> Targets:
    """Selects the tracks of highest score in each sequence."""
    score = jnp.max(jnp.where(tracks.mask, tracks.score, -1.0), axis=1)
    slots = jax.lax.top_k(score, size)[1]

    def select(leaf: Array) -> Array:
        return jax.vmap(lambda rows, chosen: rows[:, chosen])(leaf, slots)

    return jax.tree.map(select, tracks)


def _most_certain(found: Targets, size: int) -> Targets:
    """Selects the targets of highest score in each frame, padded to `size` slots."""
    short = max(size - found.mask.shape[-1], 0)

    def pad(leaf: Array | np.ndarray) -> Array:
        return jnp.pad(leaf, ((0, 0), (0, 0), (0, short), *[(0, 0)] * (leaf.ndim - 3)))

    only = make_targets(found.place, found.flux, found.mask, found.score)
    padded = jax.tree.map(pad, only)
    slots = jax.lax.top_k(jnp.where(padded.mask, padded.score, -1.0), size)[1]
    return jax.tree.map(
        lambda leaf: jnp.take_along_axis(
            leaf, slots.reshape(*slots.shape, *[1] * (leaf.ndim - 3)), axis=2
        ),
        padded,
    )


def _pick(leaf: Array, best: Array) -> Array:
    """Picks each sequence's best start; starts are on the first axis, sequences on the last."""
    return jnp.moveaxis(jnp.moveaxis(leaf, -1, 0)[jnp.arange(len(best)), best], 0, -1)


def _starts(
    found: Targets, tracks: Targets, basis: Float[Array, "T C"]
) -> tuple[Float[Array, "S K D N"], Bool[Array, "S N K"]]:
    """Returns the paths that fits start from, and which of their slots hold a target."""
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


def _design(basis: Float[Array, "T C"]) -> Float[Array, "T 3 D"]:
    """Returns the matrices from a path's parameters to its row, column and intensity."""
    zero = jnp.zeros_like(basis)
    one = jnp.zeros((len(basis), 2 * basis.shape[1] + 1)).at[:, -1].set(1.0)
    last = jnp.zeros((len(basis), 1))
    row = jnp.concatenate([basis, zero, last], axis=1)
    column = jnp.concatenate([zero, basis, last], axis=1)
    return jnp.stack([row, column, one], axis=1)


def _minimise(
    start: Float[Array, "K D N"],
    exists: Bool[Array, "N K"],
    basis: Float[Array, "T C"],
    patch: Patch,
    psf: Psf,
    prior: MotionPrior,
) -> _Fit:
    """Minimises the weighted squares of all frames, with the uniform prior of intensities.

    The prior is replaced by the Gaussian of the same mean and variance, as in `fitting.solver`.
    """
    size, order, number = start.shape
    design, length = _design(basis), len(basis)
    present = exists.T[:, None]
    free = jnp.broadcast_to(present, start.shape).reshape(size * order, number).astype(float)
    low, high = prior.placement.min_intensity, prior.placement.max_intensity
    mean, precision = (low + high) / 2, 12 / (high - low + 1e-3) ** 2

    def equations(paths: Float[Array, "K D N"]) -> _Fit:
        scene = jnp.einsum("tid,kdn->kitn", design, paths).reshape(size, 3, -1)
        scene -= jnp.pad(patch.origin, ((0, 1), (0, 0)))
        matrix, vector, squares = scene_equations(scene, patch, 0.0, psf)[1:]
        matrix = matrix.reshape(size, 3, size, 3, length, number)
        matrix = jnp.einsum("tid,kiljtn,tje->kdlen", design, matrix, design)
        vector = jnp.einsum("tid,kitn->kdn", design, vector.reshape(size, 3, length, number))
        away = jnp.where(present[:, 0], mean - paths[:, -1], 0.0)
        intensity = jnp.zeros(order).at[-1].set(precision)
        diagonal = jnp.einsum("kl,de,d->kdle", jnp.eye(size), jnp.eye(order), intensity)
        return _Fit(
            paths=paths,
            matrix=(matrix + diagonal[..., None]).reshape(size * order, -1, number),
            vector=vector.at[:, -1].add(precision * away).reshape(-1, number) * free,
            squares=jnp.sum(squares.reshape(length, number), axis=0)
            + jnp.sum(precision * away**2, axis=0),
        )

    def step(state: tuple[_Fit, Array], _: None) -> tuple[tuple[_Fit, Array], None]:
        fit, damping = state
        moved = damped_step(fit.matrix, fit.vector, free, damping)
        trial = equations(fit.paths + moved.reshape(start.shape))
        better = trial.squares < fit.squares
        kept = jax.tree.map(lambda new, old: jnp.where(better, new, old), trial, fit)
        return (kept, next_damping(damping, better)), None

    empty = jnp.where(present, start, 0.0)
    state = equations(empty), jnp.full(number, FIRST_DAMPING)
    return jax.lax.scan(step, state, length=_STEPS)[0][0]


def _answer(
    fit: _Fit,
    exists: Bool[Array, "N K"],
    basis: Float[Array, "T C"],
    tracks: Targets,
    misfit: Float[Array, " N"],
) -> Targets:
    """Returns the paths of sequences that they explain, and the tracks of the others."""
    size, order, number = fit.paths.shape
    design, length = _design(basis), len(basis)
    free = jnp.broadcast_to(exists.T[:, None], fit.paths.shape).reshape(-1, number)
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
