"""Sensors and priors as pytrees: one program for all their numbers, derivatives, batches."""

from dataclasses import replace

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from distax import DistaxError, Sensor, expose, make_targets, render
from distax.imaging import scenes
from distax.imaging.psf import GaussianProfile, MeasuredPsf
from distax.imaging.scenes import ScenePrior, sample, simulate

TARGETS = make_targets(jnp.array([[5.2, 4.9], [4.8, 5.3]]), jnp.array([240.0, 230.0]))
OTHERS = (
    Sensor(sigma=0.62),
    Sensor(saturation=180.0, read_noise=3.0),
    Sensor(background=12, read_noise=1),
    Sensor(height=11, sigma=0.4, saturation=99.5, background=4.5),
)


def exposed(key, sensor):
    return expose(key, render(TARGETS, sensor), sensor)


def measured_psf(sigma):
    offset = np.arange(-24, 25) / 4
    line = GaussianProfile(sigma).response(jnp.asarray(-offset), np.zeros(1))[0, :, 0]
    return MeasuredPsf.from_samples(np.outer(line, line), oversampling=4)


def test_other_numbers_of_a_sensor_run_the_same_program():
    program = jax.jit(chex.assert_max_traces(exposed, n=1))
    for sensor in (Sensor(), *OTHERS):
        key = jax.random.key(1)
        np.testing.assert_allclose(program(key, sensor), exposed(key, sensor), atol=1e-3)


@pytest.mark.parametrize("kind", [np.float32, np.float64, np.int32, np.array, jnp.array])
def test_numbers_of_numpy_and_jax_make_an_equal_sensor_and_run_its_program(kind):
    plain = Sensor(sigma=2.0, saturation=200, read_noise=1, background=5)
    sensor = Sensor(sigma=kind(2), saturation=kind(200), read_noise=kind(1), background=kind(5))
    prior = ScenePrior(max_targets=int(kind(1)), min_intensity=kind(230))
    assert (sensor, hash(sensor)) == (plain, hash(plain))
    assert {type(leaf) for leaf in jax.tree.leaves((sensor, prior))} == {float}
    simulate(jax.random.key(0), 2, plain, ScenePrior(max_targets=1))
    programs = scenes._simulate._cache_size()
    simulate(jax.random.key(0), 2, sensor, prior)
    assert scenes._simulate._cache_size() == programs


def test_a_size_or_a_missing_part_is_another_program():
    program = jax.jit(chex.assert_max_traces(exposed, n=5))
    structures = (
        Sensor(),
        Sensor(height=12),
        Sensor(bit_depth=None),
        Sensor(saturation=None),
        Sensor(gain=2.0),
    )
    for sensor in structures:
        program(jax.random.key(0), sensor)
    with pytest.raises(AssertionError):
        program(jax.random.key(0), Sensor(measured_psf=measured_psf(0.5)))


def test_other_numbers_of_a_prior_run_the_same_program():
    drawn = jax.jit(chex.assert_max_traces(lambda prior: sample(jax.random.key(0), 8, prior), n=1))
    priors = (
        ScenePrior(),
        ScenePrior(min_intensity=90, max_intensity=700),
        ScenePrior(cluster=2.0),
    )
    for prior in priors:
        found = drawn(prior)
        intensity = np.asarray(found.intensity)[np.asarray(found.mask)]
        assert intensity.min() >= prior.min_intensity
        assert intensity.max() <= prior.max_intensity


def test_gradients_by_sensor_numbers_agree_with_finite_differences():
    def brightest(sensor):
        return jnp.sum((render(TARGETS, sensor) + sensor.background) ** 2) / 1e4

    sensor = Sensor(sigma=(0.5, 0.6), background=3)
    slope = jax.grad(brightest)(sensor)
    assert slope.gain is None
    assert slope.shape == sensor.shape
    for name, by, step in (("background", slope.background, 0.1), ("sigma", slope.sigma[1], 1e-2)):
        value = sensor.sigma[1] if name == "sigma" else 3.0

        def moved(to, name=name):
            return brightest(replace(sensor, **{name: (0.5, to) if name == "sigma" else to}))

        difference = (moved(value + step) - moved(value - step)) / (2 * step)
        np.testing.assert_allclose(by, difference, rtol=2e-2)


def test_vmap_works_over_stacked_sensors():
    sigmas = jnp.array([0.4, 0.5, 0.65])
    apart = np.stack([render(TARGETS, Sensor(sigma=float(sigma))) for sigma in sigmas])
    by_number = jax.vmap(lambda sigma: render(TARGETS, replace(Sensor(), sigma=sigma)))(sigmas)
    stacked = jax.tree.map(
        lambda *leaves: jnp.stack(leaves), *(Sensor(sigma=float(sigma)) for sigma in sigmas)
    )
    by_sensor = jax.vmap(lambda sensor: render(TARGETS, sensor))(stacked)
    for images in (by_number, by_sensor):
        np.testing.assert_allclose(images, apart, atol=1e-4)


def test_a_measured_psf_is_traced_too():
    narrow, wide = measured_psf(0.5), measured_psf(0.502)
    assert narrow.harmonics == wide.harmonics
    draw = jax.jit(chex.assert_max_traces(lambda sensor: render(TARGETS, sensor), n=1))
    for psf in (narrow, wide):
        sensor = Sensor(measured_psf=psf)
        np.testing.assert_allclose(draw(sensor), render(TARGETS, sensor), atol=1e-3)
    assert float(np.abs(draw(Sensor(measured_psf=narrow)) - render(TARGETS, Sensor())).max()) < 1e-3
    rebuilt = jax.tree.map(lambda leaf: leaf, Sensor(measured_psf=narrow))
    assert rebuilt == Sensor(measured_psf=narrow)
    assert hash(rebuilt.measured_psf) == hash(narrow)


def test_a_batch_of_sensors_is_for_vmap_alone():
    sensor = Sensor(sigma=np.array([0.5, 0.6]))
    for use in (
        lambda: render(TARGETS, sensor),
        lambda: simulate(jax.random.key(0), 1, sensor),
        lambda: simulate(jax.random.key(0), 1, prior=ScenePrior(cluster=np.array([1.0, 2.0]))),
    ):
        with pytest.raises(DistaxError, match="holds 2 numbers, but one is needed; map over them"):
            use()


def test_sizes_do_not_follow_from_traced_numbers():
    with pytest.raises(DistaxError, match="sigma must be known, not traced"):
        jax.jit(lambda sensor: sensor.widest_sigma)(Sensor())


def test_known_numbers_are_checked():
    with pytest.raises(DistaxError, match="sigma must be greater than 0, got -1"):
        Sensor(sigma=jnp.array([0.5, -1.0]))
    with pytest.raises(DistaxError, match="max_intensity lies below min_intensity"):
        ScenePrior(min_intensity=np.array([10.0, 400.0]))
    # A traced number is not known yet.
    assert jax.jit(lambda sigma: Sensor(sigma=sigma).sigmas[0])(-1.0) == -1


def test_a_border_without_a_host_pixel_is_refused():
    with pytest.raises(DistaxError, match="a border of 5 px leaves no host pixel"):
        simulate(jax.random.key(0), 1, Sensor(height=10), ScenePrior(border=5))
