from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy.stats import norm

from distax import DistaxError, Sensor, make_targets, render
from distax.fitting.patch import cut_patches, window_width
from distax.fitting.population import SEARCH
from distax.fitting.prior import starting_scenes
from distax.fitting.sampler import Effort, draw_noise, sample_posterior
from distax.imaging.psf import pixel_response
from distax.imaging.scenes import ScenePrior

PRIOR = ScenePrior(max_targets=2)
SENSOR = Sensor(read_noise=5.0, saturation=90.0)
WIDTH = window_width(SENSOR, PRIOR.cluster)
EFFORT = Effort(particles=1024, levels=4, moves=12)
# In the middle of a pixel, and near its corner, where the prior cuts the posterior off.
TRUTH = np.array([[5.1, 4.9, 236.0], [3.2, 6.35, 233.0], [6.53, 3.47, 240.0], [8.0, 2.0, 221.0]])


@pytest.fixture(scope="module")
def images():
    """Images of one target each, with noise, whose brightest pixel is clipped."""
    targets = make_targets(jnp.float32(TRUTH[:, None, :2]), jnp.float32(TRUTH[:, None, 2]))
    noise = np.random.default_rng(4).normal(0, SENSOR.read_noise, (len(TRUTH), *SENSOR.shape))
    return jnp.clip(jnp.round(render(targets, SENSOR) + jnp.float32(noise)), 0.0, SENSOR.clip_level)


@pytest.fixture(scope="module")
def draws(images):
    """Draws `[image, draw, 3]` in the image's coordinates."""
    noise = draw_noise(jax.random.key(0), 1, EFFORT)
    pool = starting_scenes(PRIOR, 1, SEARCH.pool)
    draw = jax.jit(partial(sample_posterior, noise=noise, pool=pool, prior=PRIOR, psf=SENSOR.psf))
    patch = jax.jit(cut_patches, static_argnums=2)(images, SENSOR, WIDTH)
    scenes = []
    for lane in range(len(TRUTH)):
        alone = jax.tree.map(lambda leaf, lane=lane: leaf[..., lane : lane + 1], patch)
        origin = np.append(alone.origin[:, 0], 0)
        scenes.append(np.asarray(draw(alone))[0].T + origin)
    return np.array(scenes)


def exact(image, truth):
    """Mean and standard deviation of row, column and intensity by integration over a fine grid.

    One target may have any host, and their squares tile the plane: its place is uniform.
    """
    image = np.asarray(image, float)
    peak = np.round(truth[:2]).astype(int)
    rows, columns = (place + np.linspace(-0.4, 0.4, 65) for place in truth[:2])
    flux = np.linspace(220, 250, 31)
    row_share, column_share = (
        np.asarray(pixel_response(jnp.float32(axis), 11, SENSOR.sigma), float)
        for axis in (rows, columns)
    )
    lower = np.where(image <= 0, -np.inf, image - 0.5)
    upper = np.where(image >= SENSOR.clip_level, np.inf, image + 0.5)
    log_density = np.zeros((len(rows), len(columns), len(flux)))
    for i, j in np.ndindex(*image.shape):
        if max(abs(i - peak[0]), abs(j - peak[1])) <= 3:
            ideal = np.multiply.outer(np.outer(row_share[:, i], column_share[:, j]), flux)
            inside = norm.cdf(upper[i, j], ideal, SENSOR.read_noise) - norm.cdf(
                lower[i, j], ideal, SENSOR.read_noise
            )
            log_density += np.log(np.maximum(inside, 1e-300))
    density = np.exp(log_density - log_density.max())
    density /= density.sum()
    assert density[[0, -1]].sum() + density[:, [0, -1]].sum() < 1e-6  # the grid is wide enough
    grids = np.meshgrid(rows, columns, flux, indexing="ij")
    mean = np.array([np.sum(density * grid) for grid in grids])
    std = np.sqrt([np.sum(density * (grid - m) ** 2) for grid, m in zip(grids, mean, strict=True)])
    return mean, std


def test_draws_agree_with_numerical_integration(images, draws):
    for image, truth, own in zip(images, TRUTH, draws, strict=True):
        mean, std = exact(image, truth)
        # 1024 draws, some of them of one descent: a twentieth of a standard deviation.
        np.testing.assert_allclose((own.mean(axis=0) - mean) / std, 0, atol=0.2)
        np.testing.assert_allclose(own.std(axis=0) / std, 1, atol=0.15)


def test_draws_keep_the_prior(draws):
    assert draws[..., 2].min() >= PRIOR.min_intensity
    assert draws[..., 2].max() <= PRIOR.max_intensity
    assert len(np.unique(draws[0, :, 0])) > EFFORT.particles / 4


def test_equal_intensities_do_not_narrow_the_positions(images):
    prior = ScenePrior(max_targets=1, min_intensity=236.0, max_intensity=236.0)
    noise = draw_noise(jax.random.key(0), 1, Effort(levels=3, moves=8))
    pool = starting_scenes(prior, 1, SEARCH.pool)
    draw = jax.jit(partial(sample_posterior, noise=noise, pool=pool, prior=prior, psf=SENSOR.psf))
    patch = cut_patches(images[:1], SENSOR, WIDTH)
    row, column, intensity = np.asarray(draw(patch)[0])
    np.testing.assert_allclose(intensity, 236, atol=0.12)
    for place, truth in ((row + patch.origin[0], 5.1), (column + patch.origin[1], 4.9)):
        assert 0.02 < place.std() < 0.1
        assert abs(place.mean() - truth) < 3 * place.std()


def test_scenes_of_four_targets_and_more_get_all_moves():
    effort = Effort(moves=9)
    assert [effort.moves_for(count) for count in range(1, 7)] == [5, 5, 5, 9, 9, 9]


def test_the_random_numbers_have_the_distribution_they_should():
    effort = Effort(particles=256, levels=5, moves=8)
    noise = draw_noise(jax.random.key(1), 3, effort)
    assert noise.proposals.shape == (5, 4, 9, 256)
    np.testing.assert_allclose(np.std(noise.first), 1, atol=0.03)
    np.testing.assert_allclose(np.mean(noise.proposals), 0, atol=0.01)
    np.testing.assert_allclose(np.std(noise.proposals), 1, atol=0.01)
    # Logarithms of uniform numbers are minus exponential ones.
    np.testing.assert_allclose(np.mean(noise.acceptance), -1, atol=0.03)
    assert (noise.resampling >= 0).all()
    assert (noise.resampling < 1).all()
    other = draw_noise(jax.random.key(2), 3, effort)
    assert not np.isclose(noise.proposals, other.proposals).any(axis=(0, 1)).all()


@pytest.mark.parametrize("levels", [0.5, np.inf])
def test_an_effort_has_whole_sizes(levels, any_types):
    with pytest.raises(DistaxError, match=f"levels must be a whole number, got {levels}"):
        Effort(levels=levels)


@pytest.mark.parametrize("name", ["particles", "levels", "moves"])
def test_an_effort_needs_a_positive_size(name):
    with pytest.raises(DistaxError, match=f"{name} must be greater than 0"):
        Effort(**{name: 0})


def test_a_population_fills_whole_chunks():
    with pytest.raises(DistaxError, match="particles must be a multiple of 128, got 100"):
        Effort(particles=100)
