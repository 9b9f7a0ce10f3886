import math
from dataclasses import replace

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from distax import DistaxError, Sensor, make_targets, render
from distax.fitting.candidates import (
    WIDE_CLUSTER,
    Search,
    best_fit,
    bounds_around,
    find_modes,
    sample_pools,
)
from distax.fitting.patch import blob_reach, cut_patches, window_width
from distax.fitting.prior import starting_scenes
from distax.imaging.psf import pixel_response
from distax.imaging.scenes import ScenePrior, simulate

PRIOR = ScenePrior(max_targets=2)
SENSOR = Sensor(saturation=None, bit_depth=None, read_noise=4.0)
WIDTH = window_width(SENSOR, PRIOR.cluster)
TRUTH = np.array([[5.1, 4.9, 236.0], [3.2, 6.15, 233.0], [7.9, 3.0, 240.0]])
SEARCH = Search()


@jax.jit
def fit_of(patch, pool):
    return best_fit(find_modes(patch, pool, PRIOR, SEARCH, SENSOR.psf), SEARCH.starts)


@pytest.fixture(scope="module")
def images():
    """Images of one target each, with noise."""
    targets = make_targets(jnp.float32(TRUTH[:, None, :2]), jnp.float32(TRUTH[:, None, 2]))
    noise = np.random.default_rng(0).normal(0, SENSOR.read_noise, (3, *SENSOR.shape))
    return render(targets, SENSOR) + jnp.float32(noise)


@pytest.fixture(scope="module")
def fits(images):
    """The best fits of one and of two targets."""
    patch = jax.jit(cut_patches, static_argnums=2)(images, SENSOR, WIDTH)
    return [fit_of(patch, starting_scenes(PRIOR, count, SEARCH.pool)) for count in (1, 2)]


def test_fits_stay_around_hosts_within_the_border():
    """Some starts lie around a neighbour of the central pixel, which an image may not have."""
    prior, camera = ScenePrior(border=0, max_targets=1), Sensor(height=1, width=2)
    patch = cut_patches(np.array([[[9.0, 1.0]]]), camera, 3)
    start = np.array([[[row, column, 230.0] for row in (-1, 0, 1) for column in (-1, 0, 1)]])
    bounds = bounds_around(jnp.moveaxis(start, 1, -1), patch, prior)
    lower, upper = bounds.lower[0, :2] + patch.origin, bounds.upper[0, :2] + patch.origin
    np.testing.assert_array_equal(lower, [9 * [-0.5], 3 * [-0.5, -0.5, 0.5]])
    np.testing.assert_array_equal(upper - lower, np.ones((2, 9)))


def squares_on_a_grid(image, host):
    """χ² of one target in the window around the host, the prior's included, and the grid's cell.

    The prior is the Gaussian of the mean and the variance of the prior's uniform one.
    """
    place, flux = np.linspace(-0.5, 0.5, 101), np.linspace(190, 280, 91)
    axis = np.asarray(pixel_response(jnp.float32(place + WIDTH // 2), WIDTH, SENSOR.sigma), float)
    half = WIDTH // 2
    rows, columns = (slice(at - half, at + half + 1) for at in host)
    window = np.asarray(image, float)[rows, columns]
    unit = axis[:, None, :, None] * axis[None, :, None, :]
    # |window − g u|² = |window|² − 2 g window·u + g² u·u
    cross = np.einsum("rcij,ij->rc", unit, window)[..., None]
    power = np.einsum("rcij,rcij->rc", unit, unit)[..., None]
    misfit = np.sum(window**2) - 2 * flux * cross + flux**2 * power
    prior = 12 * (place[:, None, None] ** 2 + place[:, None] ** 2 + ((flux - 235) / 30) ** 2)
    return misfit / (SENSOR.read_noise**2 + SENSOR.rounding_variance) + prior, 0.01 * 0.01 * 1.0


def test_the_evidence_and_the_fit_agree_with_a_fine_grid(images, fits):
    for lane, host in enumerate(np.round(TRUTH[:, :2]).astype(int)):
        squares, cell = squares_on_a_grid(images[lane], host)
        np.testing.assert_allclose(fits[0].squares[lane], squares.min(), atol=0.05)
        density = (12 / (2 * math.pi)) ** 1.5 / 30  # the prior's at its mean
        integral = density * cell * np.sum(np.exp(-0.5 * (squares - squares.min())))
        evidence = math.log(integral) - 0.5 * squares.min()
        # To second order: the intensity is not independent of how the place bends the image.
        np.testing.assert_allclose(fits[0].log_evidence[lane], evidence, atol=0.15)


def test_the_fit_is_near_the_truth_within_its_covariance(fits):
    fit = fits[0]
    place = np.asarray(fit.scene[0, :2]).T + np.round(TRUTH[:, :2])
    deviation = np.sqrt(np.diagonal(fit.covariance, axis1=0, axis2=1))
    assert (np.abs(place - TRUTH[:, :2]) / deviation[:, :2]).max() < 3
    assert (deviation[:, :2] > 0.005).all()
    assert (deviation[:, :2] < 0.05).all()
    assert (deviation[:, 2] < 30 / math.sqrt(12)).all()


def test_the_covariance_is_the_inverse_of_information_and_prior(fits):
    scene = fits[0].scene
    prior = np.diag([12.0, 12.0, 12 / 30**2])
    window = Sensor(height=WIDTH, width=WIDTH, saturation=None, bit_depth=None)

    def model(one):
        place = one[None, :2] + WIDTH // 2
        return render(make_targets(place, one[None, 2]), window).ravel()

    for lane in range(3):
        slopes = np.asarray(jax.jacfwd(model)(scene[0, :, lane]), float)
        information = slopes.T @ slopes / (SENSOR.read_noise**2 + SENSOR.rounding_variance)
        expected = np.linalg.inv(information + prior)
        unit = np.sqrt(np.outer(np.diag(expected), np.diag(expected)))
        np.testing.assert_allclose(fits[0].covariance[..., lane] / unit, expected / unit, atol=2e-3)


def test_a_second_target_has_less_evidence(fits):
    # Two targets emit at least 440 counts, and there are 240.
    one, two = fits
    assert (np.asarray(one.log_evidence) > np.asarray(two.log_evidence) + 20).all()


def test_the_number_of_targets_is_right_in_a_seeded_set(simulated, refined):
    np.testing.assert_array_equal(refined.count, simulated[1].count)
    assert np.bincount(np.asarray(refined.count)).tolist()[1:] != [0, 0, 0, 0, 0]
    assert np.min(np.asarray(refined.count_probability)) > 0.5
    assert np.mean(np.asarray(refined.count_probability) > 0.99) > 0.95


@pytest.mark.parametrize("name", ["pool", "starts", "steps"])
def test_a_search_needs_a_positive_size(name):
    with pytest.raises(DistaxError, match=f"{name} must be greater than 0"):
        Search(**{name: 0})


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"pool": 1, "starts": 4}, "starts must be at most pool, got 4 of 1"),
        ({"starts": 1.5}, "starts must be a whole number, got 1.5"),
    ],
)
def test_a_search_has_whole_sizes_and_no_more_starts_than_scenes(options, message, any_types):
    with pytest.raises(DistaxError, match=message):
        Search(**options)


def test_fits_of_a_wide_square_take_twice_as_many_steps():
    search = Search(pool=10, starts=2, steps=5)
    assert search.over(WIDE_CLUSTER) == search
    assert search.over(WIDE_CLUSTER + 0.1) == replace(search, steps=10)


@pytest.fixture(scope="module")
def wide():
    """Images of four bright targets in a wide square, by a wide PSF, and the squares of the fits.

    The brightest pixel lies far from the middle of the square in most of them.
    """
    sensor = Sensor(25, 25, sigma=1.2, saturation=None, bit_depth=12, read_noise=2.0)
    prior = ScenePrior(4, 4, 500.0, 2000.0, rayleigh_unit=1.464, cluster=4.8, border=5)
    images, truth = simulate(jax.random.key(3), 32, sensor, prior)
    search = SEARCH.over(prior.cluster)
    width = window_width(sensor, prior.cluster)

    @jax.jit
    def fit(images):
        patch = cut_patches(images, sensor, width, blob_reach(width))
        modes = find_modes(patch, *sample_pools(prior, search), prior, search, sensor.psf)
        best = best_fit(modes, search.starts)
        return patch.origin.T[:, None] + jnp.moveaxis(best.scene, -1, 0)[..., :2], best.squares

    return truth, *fit(images)


def test_few_starts_find_the_targets_of_a_wide_square(wide):
    truth, position, squares = wide
    nearest = jnp.linalg.norm(position[:, :, None] - truth.position[:, None], axis=-1).min(axis=2)
    assert np.mean(nearest < 0.1) > 0.7
    # 225 pixels, with noise of variance 4 and 1/12 from rounding.
    assert np.median(squares) < 225
    assert np.mean(squares < 300) > 0.9
