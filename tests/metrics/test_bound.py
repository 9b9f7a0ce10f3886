from dataclasses import replace
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy.special import erf

from distax import DistaxError, Sensor, expose, make_targets, render
from distax.imaging.scenes import ScenePrior, sample
from distax.metrics import cramer_rao, is_ideal

PRIOR = ScenePrior()
bound = jax.jit(cramer_rao, static_argnames=("sensor", "prior"))


def naive_image(parameters, sensor):
    """Computes expected counts for rows of (row, column, intensity), in float64 by loops."""

    def share(pixel, place, sigma):
        low, high = ((pixel + side - place) / (np.sqrt(2) * sigma) for side in (-0.5, 0.5))
        return (erf(high) - erf(low)) / 2

    image = np.full(sensor.shape, float(sensor.background))
    for i, j in np.ndindex(*sensor.shape):
        for row, column, intensity in parameters:
            across, along = share(i, row, sensor.sigmas[0]), share(j, column, sensor.sigmas[1])
            image[i, j] += intensity * across * along
    return image


def naive_bound(parameters, sensor, prior=None):
    """Inverts the information, with derivatives by finite differences."""
    flat = parameters.ravel()
    expected = naive_image(parameters, sensor)
    variance = sensor.read_noise**2 + (1 / 12 if sensor.bit_depth else 0)
    if sensor.gain:
        variance = variance + expected / sensor.gain
    clear = expected < sensor.clip_level - (0.5 if sensor.bit_depth else 0)
    slopes = []
    for index in range(flat.size):
        step = np.zeros(flat.size)
        step[index] = 1e-5
        above, below = (
            naive_image((flat + sign * step).reshape(-1, 3), sensor) for sign in (1, -1)
        )
        slopes.append(((above - below) / 2e-5).ravel())
    slopes = np.array(slopes)
    information = slopes * (clear / variance).ravel() @ slopes.T
    if prior:
        spread = prior.max_intensity - prior.min_intensity
        known = [12 / prior.cluster**2, 12 / prior.cluster**2, 12 / spread**2]
        information += np.diag(known * len(parameters))
    covariance = np.linalg.inv(information)
    return np.array([covariance[k : k + 2, k : k + 2] for k in range(0, flat.size, 3)])


PARAMETERS = np.array(
    [[5.1, 4.9, 240.0], [4.75, 5.2, 225.0], [5.4, 5.35, 233.0], [4.6, 4.65, 248.0]]
)


def scene(count, slots=4):
    rows = jnp.float32(PARAMETERS[:slots])
    return make_targets(rows[:, :2], rows[:, 2], jnp.arange(slots) < count)


@pytest.mark.parametrize("count", [1, 2, 3])
@pytest.mark.parametrize(
    "sensor",
    [
        Sensor(),
        Sensor(read_noise=3.0, background=20.0),
        Sensor(gain=2.0, read_noise=1.0, bit_depth=None),
        Sensor(sigma=(0.4, 0.7), saturation=None, read_noise=1.0, bit_depth=None),
    ],
)
def test_bound_is_the_inverse_of_the_information_by_finite_differences(count, sensor):
    expected = naive_bound(PARAMETERS[:count], sensor)
    np.testing.assert_allclose(bound(scene(count), sensor)[:count], expected, rtol=5e-3, atol=1e-8)


@pytest.mark.parametrize("count", [1, 4])
def test_the_information_of_the_prior_is_added(count):
    expected = naive_bound(PARAMETERS[:count], Sensor(), PRIOR)
    result = bound(scene(count), Sensor(), PRIOR)[:count]
    np.testing.assert_allclose(result, expected, rtol=5e-3, atol=1e-6)


def test_best_fits_to_noisy_images_have_the_covariance_of_the_bound():
    sensor = Sensor(saturation=None, bit_depth=None, read_noise=4.0)
    truth = jnp.float32(PARAMETERS[0])
    ideal = jnp.broadcast_to(render(scene(1, slots=1), sensor), (4000, *sensor.shape))
    frames = expose(jax.random.key(0), ideal, sensor)

    def model(parameters):
        return render(make_targets(parameters[None, :2], parameters[None, 2]), sensor).ravel()

    @jax.jit
    @jax.vmap
    def fit(frame):
        """Fits by Gauss–Newton steps from the truth."""
        parameters = truth
        for _ in range(2):
            slopes = jax.jacfwd(model)(parameters)
            residual = frame.ravel() - model(parameters)
            parameters += jnp.linalg.solve(slopes.T @ slopes, slopes.T @ residual)
        return parameters[:2]

    expected = bound(scene(1, slots=1), sensor)[0]
    unit = np.sqrt(np.outer(np.diag(expected), np.diag(expected)))
    np.testing.assert_allclose(np.cov(np.asarray(fit(frames)).T) / unit, expected / unit, atol=0.08)


def assert_no_smaller(first, second):
    """Asserts that the difference of covariances is positive semidefinite within rounding."""
    eigenvalues = np.linalg.eigvalsh(np.asarray(first - second, float))
    scale = np.trace(np.asarray(first), axis1=-2, axis2=-1)
    assert np.isfinite(scale).all()
    assert (eigenvalues.min(axis=-1) > -1e-2 * scale).all()


@pytest.fixture(scope="module")
def scenes():
    return sample(jax.random.key(0), 300, ScenePrior(min_targets=3, max_targets=3))


def test_clipping_raises_the_bound(scenes):
    clipped, whole = (bound(scenes, Sensor(saturation=top), PRIOR) for top in (255.0, None))
    wide = bound(scenes, Sensor(saturation=None, bit_depth=16), PRIOR)
    np.testing.assert_array_equal(clipped, whole)  # 8 bits clip as the saturation does
    assert_no_smaller(clipped, wide)
    total = [np.einsum("...kaa->...", covariance) for covariance in (clipped, wide)]
    clips = np.max(render(scenes, Sensor()), axis=(1, 2)) >= 254.5
    assert 0 < clips.mean() < 1
    np.testing.assert_array_equal(total[0] > 1.01 * total[1], clips)


def test_noise_and_more_targets_raise_the_bound_and_the_prior_lowers_it(scenes):
    known = bound(scenes, Sensor(), PRIOR)
    assert_no_smaller(bound(scenes, Sensor(read_noise=0.5), PRIOR), known)
    assert_no_smaller(bound(scenes, Sensor()), known)
    fewer = jax.tree.map(lambda leaf: leaf[:, :2], scenes)
    unclipped = Sensor(bit_depth=16, saturation=None)
    assert_no_smaller(bound(scenes, unclipped, PRIOR)[:, :2], bound(fewer, unclipped, PRIOR))


def test_bound_follows_transposed_flipped_and_reordered_scenes(scenes):
    expected = bound(scenes, Sensor(), PRIOR)
    same = partial(np.testing.assert_allclose, rtol=5e-3, atol=1e-5)
    transposed = replace(scenes, position=scenes.position[..., ::-1])
    same(bound(transposed, Sensor(), PRIOR), expected[..., ::-1, ::-1])
    flipped = replace(scenes, position=10.0 - scenes.position)
    same(bound(flipped, Sensor(), PRIOR), expected)
    reordered = jax.tree.map(lambda leaf: leaf[:, ::-1], scenes)
    same(bound(reordered, Sensor(), PRIOR), expected[:, ::-1])


def test_padding_changes_nothing_and_is_zero():
    wild = replace(scene(2), position=scene(2).position.at[2:].set(jnp.nan))
    for prior in (None, PRIOR):
        result = bound(wild, Sensor(), prior)
        np.testing.assert_allclose(result[:2], bound(scene(2, 2), Sensor(), prior), rtol=1e-3)
        np.testing.assert_array_equal(result[2:], 0.0)


def test_bound_is_the_same_batched_and_vmapped(scenes):
    each = jax.jit(jax.vmap(lambda targets: cramer_rao(targets, Sensor(), PRIOR)))(scenes)
    np.testing.assert_allclose(each, bound(scenes, Sensor(), PRIOR), rtol=1e-3, atol=1e-7)


def test_a_target_outside_the_image_has_a_finite_bound_only_with_a_prior():
    hidden = make_targets(jnp.array([[100.0, 100.0]]), jnp.array([240.0]))
    assert not np.isfinite(np.diag(bound(hidden, Sensor())[0])).any()
    np.testing.assert_allclose(bound(hidden, Sensor(), PRIOR)[0], np.eye(2) / 12, rtol=1e-4)


def test_a_sensor_without_noise_and_rounding_has_no_bound():
    ideal = Sensor(bit_depth=None)
    assert is_ideal(ideal)
    assert not is_ideal(Sensor())
    with pytest.raises(DistaxError, match="no bound for a sensor without noise and rounding"):
        cramer_rao(scene(1), ideal)
