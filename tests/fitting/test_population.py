import jax
import jax.numpy as jnp
import numpy as np

from distax import Sensor
from distax.fitting.patch import cut_patches, window_width
from distax.fitting.population import (
    FIRST_DRAWS,
    SEARCH,
    effective_size,
    first_draws,
    fit_modes,
    resample,
)
from distax.fitting.prior import starting_scenes
from distax.imaging.scenes import ScenePrior

PRIOR = ScenePrior()


def test_the_effective_size_counts_equal_weights():
    weights = jnp.log(jnp.array([0.25, 0.25, 0.25, 0.25, 0.0]))
    np.testing.assert_allclose(effective_size(weights), 4, rtol=1e-6)
    np.testing.assert_allclose(effective_size(jnp.array([0.0, -200.0])), 1)


def test_resampling_takes_each_draw_by_its_weight_to_within_one():
    weights = np.random.default_rng(0).dirichlet(np.full(50, 0.3))
    for offset in (0.0, 0.5, 0.99):
        index = resample(jnp.log(jnp.float32(weights)) + 7, jnp.array(offset), 200)
        taken = np.bincount(index, minlength=50)
        assert taken.sum() == 200
        assert np.abs(taken - 200 * weights).max() < 1.001


def test_first_draws_in_another_order_of_targets_get_no_weight(simulated):
    images, truth = simulated
    chosen = np.flatnonzero(np.asarray(truth.count) == 2)[:1]
    patch = cut_patches(images[chosen], Sensor(), window_width(Sensor(), PRIOR.cluster))
    pool = starting_scenes(PRIOR, 2, SEARCH.pool)
    normal = jax.random.normal(jax.random.key(0), (6, FIRST_DRAWS))
    fits = jax.jit(fit_modes)(patch, pool, PRIOR, Sensor().psf)
    scenes, log_density = (
        np.asarray(part, float)
        for part in jax.jit(first_draws)(patch, fits, normal, jnp.array(1.5), PRIOR, Sensor().psf)
    )
    ordered = scenes[1, 0] + 0.6 * scenes[1, 1] >= scenes[0, 0] + 0.6 * scenes[0, 1]
    np.testing.assert_array_equal(np.isfinite(log_density), ordered)
    assert ordered.mean() > 0.5
