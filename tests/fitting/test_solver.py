from dataclasses import replace

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from distax import Sensor, make_targets, render
from distax.fitting.candidates import Search, promising_starts
from distax.fitting.likelihood import scene_equations
from distax.fitting.patch import cut_patches, window_width
from distax.fitting.prior import starting_scenes
from distax.fitting.solver import Bounds, fit
from distax.imaging.scenes import ScenePrior, sample
from distax.metrics import assign

PRIOR = ScenePrior(max_targets=3)
IDEAL = Sensor(saturation=None, bit_depth=None)
WIDTH = window_width(IDEAL, PRIOR.cluster)
HOST = (4, 6)
SCENES = np.array(
    [
        [[-0.2, 0.3, 231.0], [0.35, -0.25, 244.0]],
        [[0.4, 0.4, 225.0], [-0.1, -0.35, 249.0]],
        [[0.05, -0.45, 240.0], [0.1, 0.2, 222.0]],
    ]
).transpose(1, 2, 0)
"""Two targets, three parameters, three lanes."""


def box(side, least, most):
    """Returns bounds: a square around the host, and a range of intensities."""
    lower, upper = (
        jnp.broadcast_to(jnp.array([[sign * side / 2], [sign * side / 2], [flux]]), SCENES.shape)
        for sign, flux in ((-1, least), (1, most))
    )
    return Bounds(lower=lower, upper=upper)


BOUNDS = box(1.0, 220.0, 250.0)
WIDE = box(40.0, 0.0, 10_000.0)
"""Bounds so wide that the prior hardly matters."""
fitted = jax.jit(fit, static_argnums=4)
equations = jax.jit(scene_equations)
cut_out = jax.jit(cut_patches, static_argnums=2)


def patch_of(scenes, sensor=IDEAL):
    scenes = np.moveaxis(scenes, -1, 0)
    targets = make_targets(jnp.float32(scenes[..., :2] + HOST), jnp.float32(scenes[..., 2]))
    images = jnp.minimum(render(targets, sensor), sensor.clip_level)
    patch = cut_out(images, sensor, WIDTH)
    np.testing.assert_array_equal(patch.origin.T, np.broadcast_to(HOST, (len(scenes), 2)))
    return patch


@pytest.fixture(scope="module")
def patch():
    return patch_of(SCENES)


def near(scenes, seed):
    rng = np.random.default_rng(seed)
    moved = scenes + rng.normal(size=scenes.shape) * np.array([[0.08], [0.08], [5.0]])
    return jnp.clip(jnp.float32(moved), BOUNDS.lower, BOUNDS.upper)


@pytest.mark.parametrize("seed", [0, 1])
def test_the_truth_is_found_from_near_it(patch, seed):
    result = fitted(near(SCENES, seed), patch, WIDE, IDEAL.sigma, 20)
    np.testing.assert_allclose(result.scene[:, :2], SCENES[:, :2], atol=1e-3)
    np.testing.assert_allclose(result.scene[:, 2], SCENES[:, 2], atol=0.2)
    assert (equations(result.scene, patch, 0.0, IDEAL.sigma)[3] < 1e-3).all()


@pytest.mark.parametrize("count", [1, 2, 3])
def test_ideal_images_of_one_to_three_targets_are_fitted_to_a_thousandth_of_a_pixel(count):
    """The fits start from draws of the prior."""
    prior, lanes = replace(PRIOR, min_targets=count, max_targets=count), 16
    search = Search(starts=8)
    truth = sample(jax.random.key(count), lanes, prior)
    patch = cut_out(render(truth, IDEAL), IDEAL, WIDTH)
    pool = starting_scenes(prior, count, search.pool)

    @jax.jit
    def best(patch):
        starts = promising_starts(patch, pool, search.starts, IDEAL.sigma)
        repeated = jax.tree.map(lambda leaf: jnp.repeat(leaf, search.starts, axis=-1), patch)
        wide = jax.tree.map(lambda leaf: jnp.broadcast_to(leaf[:1, :, :1], starts.shape), WIDE)
        fits = fit(starts, repeated, wide, IDEAL.sigma, 30)
        winner = jnp.argmin(fits.squares.reshape(lanes, -1), axis=-1)
        return jnp.moveaxis(fits.scene[..., jnp.arange(lanes) * search.starts + winner], -1, 0)

    scene = best(patch)
    found = make_targets(scene[..., :2] + patch.origin.T[:, None], scene[..., 2])
    assert float(jnp.max(assign(found, truth).distance)) < 1e-3


def test_matrix_and_squares_are_those_of_the_returned_scene(patch):
    """This includes fits whose last steps were taken back."""
    result = fitted(near(SCENES, 2), patch, BOUNDS, IDEAL.sigma, 4)
    _, matrix, _, squares = equations(result.scene, patch, 0.0, IDEAL.sigma)
    precision = 12 / np.resize([1.0, 1.0, 30.0], 6) ** 2
    expected = np.asarray(matrix) + np.diag(precision)[:, :, None]
    np.testing.assert_allclose(result.matrix, expected, rtol=1e-3, atol=1.0)
    away = np.asarray(result.scene - np.array([[0.0], [0.0], [235.0]])).reshape(6, -1)
    np.testing.assert_allclose(result.squares, squares + precision @ away**2, rtol=1e-3)


def test_more_steps_never_fit_worse(patch):
    squares = [
        np.asarray(fitted(near(SCENES, 3), patch, BOUNDS, IDEAL.sigma, steps).squares)
        for steps in (1, 4, 20)
    ]
    assert (squares[1] <= squares[0]).all()
    assert (squares[2] <= squares[1]).all()
    assert (squares[1] < squares[0]).any()


def test_a_fit_stays_within_its_bounds_and_ends_where_the_rest_cannot_improve():
    """The targets are brighter and farther out than the bounds allow."""
    beyond = SCENES.copy()
    beyond[0, 0, 0], beyond[1, 2, 0], beyond[:, 2, 1] = -0.6, 280.0, 200.0
    patch = patch_of(beyond)
    result = fitted(near(SCENES, 4), patch, BOUNDS, IDEAL.sigma, 20)
    assert (result.scene >= BOUNDS.lower).all()
    assert (result.scene <= BOUNDS.upper).all()
    assert float(result.scene[0, 0, 0]) == -0.5
    np.testing.assert_array_equal(result.scene[:, 2, 1], 220.0)
    # The slope of χ² points out of the box wherever it is not nearly zero.
    _, matrix, vector, _ = equations(result.scene, patch, 0.0, IDEAL.sigma)
    centred = np.asarray(result.scene) - np.array([[0.0], [0.0], [235.0]])
    pull = np.asarray(vector).reshape(SCENES.shape) - centred * 12 / [[1.0], [1.0], [900.0]]
    scale = np.sqrt(np.diagonal(matrix).T).reshape(SCENES.shape)
    at_lower, at_upper = result.scene <= BOUNDS.lower, result.scene >= BOUNDS.upper
    inside = ~(at_lower | at_upper)
    # A step that lowers χ² by less than its rounding in float32 is not taken. It is half the square
    # of the slope, which is here in standard deviations.
    rounding = np.finfo(np.float32).eps * np.asarray(result.squares)
    least = np.maximum(0.01, np.sqrt(2 * rounding))
    assert (np.abs(pull / scale) < least)[inside].all()
    assert (pull[at_lower] < 0).all()
    assert (pull[at_upper] > 0).all()


def test_a_clipped_pixel_is_a_bound_not_a_value():
    """The fit agrees with the truth. Clipped readings as values would lower the intensities."""
    sensor = Sensor(saturation=150.0, bit_depth=None)
    patch = patch_of(SCENES, sensor)
    assert np.isinf(patch.upper[12]).all()
    result = fitted(near(SCENES, 5), patch, WIDE, IDEAL.sigma, 20)
    assert (equations(result.scene, patch, 0.0, IDEAL.sigma)[3] < 1e-2).all()
    np.testing.assert_allclose(result.scene[:, :2], SCENES[:, :2], atol=0.02)
    np.testing.assert_allclose(result.scene[:, 2].sum(axis=0), SCENES[:, 2].sum(axis=0), rtol=0.01)
