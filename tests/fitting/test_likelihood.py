from dataclasses import replace
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy.stats import norm

from distax import Sensor, make_targets, render
from distax.fitting.likelihood import (
    censored,
    log_likelihood,
    relative_noise,
    residual_and_weight,
    scene_equations,
)
from distax.fitting.patch import Patch
from distax.imaging.forward import image_and_jacobian, image_of, window_axes
from distax.imaging.sensor import ROUNDING_VARIANCE

WIDTH, SIGMA = 5, 0.6
WINDOW = Sensor(height=WIDTH, width=WIDTH, sigma=SIGMA, saturation=None, bit_depth=None)
AXES = window_axes(WIDTH)
LANES = 4
INFINITY = float("inf")
equations = jax.jit(scene_equations)
likelihood = jax.jit(log_likelihood)


def patch_of(counts, lower, upper, variance):
    shape = np.broadcast_shapes(*(np.shape(leaf) for leaf in (counts, lower, upper, variance)))
    leaves = (jnp.broadcast_to(jnp.float32(leaf), shape) for leaf in (counts, lower, upper))
    return Patch(
        **dict(zip(("counts", "lower", "upper"), leaves, strict=True)),
        variance=jnp.broadcast_to(jnp.float32(variance), shape),
        rounding=jnp.full(shape[1], ROUNDING_VARIANCE),
        origin=jnp.zeros((2, shape[1]), jnp.int32),
        size=jnp.full((2, shape[1]), 11),
    )


@pytest.fixture(scope="module")
def scene():
    rng = np.random.default_rng(0)
    place = rng.uniform(-0.9, 0.9, (2, 2, LANES))
    return jnp.float32(np.concatenate([place, rng.uniform(100, 250, (2, 1, LANES))], axis=1))


@pytest.fixture(scope="module")
def patch(scene):
    """Pixels around the scenes' images: known, clipped, at zero and left out."""
    rng = np.random.default_rng(1)
    counts = np.round(np.asarray(by_render(scene)) + rng.normal(0, 4, (WIDTH**2, LANES)))
    lower, upper = counts - 0.5, counts + 0.5
    upper[counts > 70] = np.inf
    lower[counts <= 0], counts[counts <= 0] = -np.inf, 0
    counts[7], lower[7], upper[7] = 0, -np.inf, np.inf
    assert 0 < np.isinf(upper).mean() < 0.5
    return patch_of(counts, lower, upper, rng.uniform(1, 9, counts.shape))


@partial(jax.jit, static_argnames="sensor")
def by_render(scene, sensor=WINDOW):
    """Renders the same images by `distax.render`, one lane after the other."""

    def lane(scene):
        return render(make_targets(scene[:, :2] + WIDTH // 2, scene[:, 2]), sensor).ravel()

    return jax.vmap(lane, in_axes=-1, out_axes=-1)(scene)


@jax.jit
def slopes_of(scene):
    """Differentiates one lane's image by its parameters, by automatic differentiation."""
    return jax.jacfwd(lambda one: by_render(one[..., None])[:, 0])(scene).reshape(WIDTH**2, -1)


def test_the_image_agrees_with_render(scene):
    np.testing.assert_allclose(image_of(scene, AXES, SIGMA), by_render(scene), atol=1e-4)


def test_an_elongated_psf_agrees_with_render(scene):
    sigma = (0.4, 0.9)
    image, jacobian = image_and_jacobian(scene, AXES, sigma)
    expected = by_render(scene, replace(WINDOW, sigma=sigma))
    np.testing.assert_allclose(image, expected, atol=1e-4)
    np.testing.assert_allclose(image_of(scene, AXES, sigma), expected, atol=1e-4)
    # Intensities are linear, and moving a target by a row moves its light by one.
    np.testing.assert_allclose(
        sum(jacobian[3 * k + 2] * scene[k, 2] for k in range(2)), expected, atol=1e-3
    )
    moments = np.arange(WIDTH).repeat(WIDTH) - WIDTH // 2
    assert abs(float(moments @ jacobian[0][:, 0]) / float(scene[0, 2, 0]) - 1) < 0.1


def test_the_jacobian_agrees_with_automatic_differentiation(scene):
    image, jacobian = image_and_jacobian(scene, AXES, SIGMA)
    np.testing.assert_allclose(image, by_render(scene), atol=1e-4)
    for lane in range(LANES):
        np.testing.assert_allclose(
            jacobian[..., lane], slopes_of(scene[..., lane]).T, rtol=1e-4, atol=2e-4
        )


def test_the_likelihood_agrees_with_differences_of_normal_distributions(scene, patch):
    image, extra_noise = by_render(scene), 0.5
    deviation = np.sqrt(np.asarray(patch.variance, float) + extra_noise**2)
    ideal, lower, upper = (np.asarray(a, float) for a in (image, patch.lower, patch.upper))
    inside = norm.cdf(upper, ideal, deviation) - norm.cdf(lower, ideal, deviation)
    expected = np.log(inside).sum(axis=0)
    assert np.all(inside[7] == 1)
    np.testing.assert_allclose(likelihood(image, patch, extra_noise), expected, rtol=1e-4)


@pytest.mark.parametrize(("lower", "upper"), [(99.5, 100.5), (254.5, INFINITY), (-INFINITY, 0.5)])
def test_one_pixel_agrees_with_its_log_probability_as_far_as_eight_deviations(lower, upper):
    ideal = np.linspace(-7.5, 7.5, 61) + np.clip(100.0, lower, upper)
    one = patch_of(np.zeros((1, len(ideal))), lower, upper, 1.0)
    stated = likelihood(jnp.float32(ideal[None]), one, 0.0)
    # The smaller tail keeps its digits.
    mirror = ideal > np.clip(100.0, lower, upper)
    low = np.where(mirror, norm.cdf(lower - ideal), norm.sf(upper - ideal))
    high = np.where(mirror, norm.cdf(upper - ideal), norm.sf(lower - ideal))
    np.testing.assert_allclose(stated, np.log(high - low), rtol=1e-3, atol=1e-5)


@pytest.mark.parametrize(("lower", "upper"), [(99.5, 100.5), (254.5, INFINITY), (-INFINITY, 0.5)])
@pytest.mark.parametrize("deviation", [0.1, 1.0])
def test_far_from_the_edges_the_likelihood_is_finite_and_falls(lower, upper, deviation):
    near = lower if np.isfinite(lower) else upper
    away = -1.0 if np.isfinite(lower) else 1.0
    ideal = near + away * np.linspace(0, 300, 400)
    one = patch_of(np.zeros((1, len(ideal))), lower, upper, deviation**2)
    stated = np.asarray(likelihood(jnp.float32(ideal[None]), one, 0.0), float)
    assert np.isfinite(stated).all()
    assert (np.diff(stated) < 0).all()
    # Its leading term: half the squared distance in standard deviations.
    np.testing.assert_allclose(stated[-1], -0.5 * (300 / deviation) ** 2, rtol=1e-3)


def test_extra_noise_adds_to_the_noise_of_the_sensor(scene, patch):
    image = by_render(scene)
    noisier = patch_of(patch.counts, patch.lower, patch.upper, patch.variance + 9.0)
    np.testing.assert_allclose(
        likelihood(image, patch, 3.0), likelihood(image, noisier, 0.0), rtol=1e-6
    )


def test_one_patch_serves_many_scenes(scene, patch):
    first = jax.tree.map(lambda leaf: leaf[..., :1], patch)
    image = by_render(scene)
    repeated = jax.tree.map(lambda leaf: jnp.repeat(leaf, LANES, axis=-1), first)
    np.testing.assert_allclose(
        likelihood(image, first, 1.0), likelihood(image, repeated, 1.0), rtol=1e-6
    )


def test_residual_and_weight_of_each_kind_of_pixel():
    # Known; clipped, the image short of it and above; zero, the image below and above; left out.
    counts = np.array([[100], [255], [255], [0], [0], [0]])
    lower = np.array([[99.5], [254.5], [254.5], [-np.inf], [-np.inf], [-np.inf]])
    upper = np.array([[100.5], [np.inf], [np.inf], [0.5], [0.5], [np.inf]])
    image = jnp.float32([[97.0], [250.0], [300.0], [0.25], [3.0], [40.0]])
    residual, weight = residual_and_weight(image, patch_of(counts, lower, upper, 2.0), 1.0)
    known = 1 / (2 + 1 + 1 / 12)
    assert pytest.approx(1 / 12) == ROUNDING_VARIANCE
    np.testing.assert_allclose(residual[:, 0], [3, 4.5, 0, 0, -2.5, 0])
    np.testing.assert_allclose(weight[:, 0], [known, known, 0, 0, known, 0], rtol=1e-6)


def test_the_normal_equations_agree_with_gauss_newton(scene, patch):
    image, matrix, vector, squares = equations(scene, patch, 0.5, SIGMA)
    np.testing.assert_allclose(image, by_render(scene), atol=1e-4)
    for lane in range(LANES):
        alone = jax.tree.map(lambda leaf, lane=lane: leaf[..., lane : lane + 1], patch)
        ideal = by_render(scene)[:, lane : lane + 1]
        residual, weight = (
            np.asarray(a, float)[:, 0] for a in residual_and_weight(ideal, alone, 0.5)
        )
        slopes = np.asarray(slopes_of(scene[..., lane]), float)
        expected = slopes.T * weight @ slopes
        unit = np.sqrt(np.outer(np.diag(expected), np.diag(expected)))
        np.testing.assert_allclose(matrix[..., lane] / unit, expected / unit, atol=1e-4)
        scale = np.sqrt(np.diag(expected))
        pull = slopes.T @ (weight * residual)
        np.testing.assert_allclose(vector[:, lane] / scale, pull / scale, atol=1e-3)
        np.testing.assert_allclose(squares[lane], np.sum(weight * residual**2), rtol=1e-4)


def test_the_vector_points_down_the_sum_of_squares(scene, patch):
    """It is half the negative gradient of χ², here by finite differences."""
    vector = equations(scene, patch, 0.5, SIGMA)[2]
    for parameter, step in enumerate([2e-3, 2e-3, 0.5] * 2):
        shift = np.zeros(6)
        shift[parameter] = step
        shift = jnp.float32(shift.reshape(2, 3, 1))
        above, below = (
            np.asarray(equations(scene + s * shift, patch, 0.5, SIGMA)[3], float) for s in (1, -1)
        )
        np.testing.assert_allclose(
            vector[parameter], (below - above) / (4 * step), rtol=0.02, atol=2e-3 / step
        )


def test_each_lane_is_its_own_problem(scene, patch):
    whole = equations(scene, patch, 0.5, SIGMA)
    for order in ([3, 2, 1, 0], [1, 1, 1, 1]):
        pick = partial(jax.tree.map, lambda leaf, order=order: leaf[..., jnp.array(order)])
        some = equations(pick(scene), pick(patch), 0.5, SIGMA)
        jax.tree.map(partial(np.testing.assert_allclose, rtol=1e-5), some, pick(whole))


@pytest.mark.parametrize(("read_noise", "expected"), [(0.0, 1.0), (2.0, 7.0)])
def test_relative_noise_is_in_units_of_the_rounding_noise(read_noise, expected):
    patch = patch_of(np.zeros((WIDTH**2, 1)), -0.5, 0.5, read_noise**2)
    assert float(relative_noise(patch)) == pytest.approx(expected)


def test_gradients_of_censored_pixels_are_those_of_their_log_probability():
    """The gradient is residual times weight; pixels with two edges agree with least squares."""
    lower = np.array([99.5, 254.5, -INFINITY, -INFINITY])[:, None]
    upper = np.array([100.5, INFINITY, 0.5, INFINITY])[:, None]
    image = np.array([100.0, 254.5, 0.5, 50.0])[:, None] + np.linspace(-12, 12, 41)
    one = patch_of(np.array([100.0, 255.0, 0.0, 0.0])[:, None] + 0 * image, lower, upper, 4.0)
    residual, weight, deviance = (np.asarray(a, float) for a in censored(jnp.float32(image), one))
    spread = np.sqrt(4.0 + 1 / 12)
    np.testing.assert_allclose(residual[0] * weight[0], (100 - image[0]) / spread**2, atol=1e-5)
    soft = np.sqrt(4.01)
    for row, sign, edge in ((1, 1, 254.5), (2, -1, 0.5)):
        beyond = sign * (image[row] - edge) / soft
        slope = sign * np.exp(norm.logpdf(beyond) - norm.logcdf(beyond)) / soft
        np.testing.assert_allclose(residual[row] * weight[row], slope, rtol=1e-3, atol=1e-6)
        np.testing.assert_allclose(deviance[row], -2 * norm.logcdf(beyond), rtol=1e-3, atol=1e-6)
        curvature = np.gradient(-slope, image[row])
        np.testing.assert_allclose(weight[row][1:-1], curvature[1:-1], atol=3e-3)
    assert not residual[3].any()
    assert not weight[3].any()
    assert not deviance[3].any()


def test_censored_pixels_far_from_their_edge_are_finite():
    image = jnp.float32([[-1e5, -1e3, 1e3, 1e5]])
    clipped = patch_of(np.full((1, 4), 255.0), 254.5, INFINITY, 1.0)
    residual, weight, deviance = (np.asarray(a, float)[0] for a in censored(image, clipped))
    np.testing.assert_allclose(residual[:2] / (254.5 - image[0, :2]), 1.0, rtol=1e-2)
    np.testing.assert_allclose(weight[:2], 1.0, rtol=2e-2)
    assert np.isfinite(deviance).all()
    assert (weight[2:] < 1e-6).all()


@pytest.mark.parametrize("half", [0.05, 0.5, 50.0])
@pytest.mark.parametrize("side", [-1, 1])
def test_the_likelihood_agrees_with_logarithms_of_tails_on_both_sides_of_the_asymptote(half, side):
    away = np.array([6.0, 7.9, 8.1, 9.0, 12.0])
    deviation = 4.0
    image = side * (half + deviation * away)
    lanes = patch_of(np.zeros((1, 5)), -half, half, deviation**2)
    far = norm.logsf(away + 2 * half / deviation)
    near = norm.logsf(away)
    expected = near + np.log(-np.expm1(far - near))
    stated = likelihood(jnp.float32(image)[None], lanes, 0.0)
    np.testing.assert_allclose(stated, expected, atol=0.03)
