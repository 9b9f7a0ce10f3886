import jax
import jax.numpy as jnp
import numpy as np
import pytest

from distax import Sensor, expose, make_targets, render
from distax.imaging.scenes import ScenePrior, simulate
from distax.models.density.adjustment import _predict, adjust, weigh_pixels
from distax.models.density.view import View, look

SENSOR = Sensor(height=7, width=7)
LAW = (235.0, 8.66)
PLACES = jnp.array([[2.7, 3.1], [3.3, 2.8], [0.0, 0.0]])
FLUXES = jnp.array([228.0, 247.0, 0.0])
MASK = jnp.array([True, True, False])


def image_of(places=PLACES, fluxes=FLUXES, sensor=SENSOR):
    ideal = render(make_targets(places, fluxes, MASK), sensor)
    return expose(jax.random.key(0), ideal, sensor)


def look_back(image, position, std=0.02, sensor=SENSOR, beyond=0.0):
    covariance = jnp.broadcast_to(std**2 * jnp.eye(2), (1, 3, 2, 2))
    pixels = seen_whole(image[None], sensor, beyond)
    better = adjust(pixels, position[None], covariance, MASK[None], sensor, *LAW)
    return jax.tree.map(lambda leaf: leaf[0], better)


def seen_whole(images, sensor, beyond=0.0):
    """The pixels of images as large as the window, with so much light beyond them."""
    batch, flag = len(images), jnp.zeros((len(images), 2), bool)
    view = View(
        window=images - sensor.background,
        real=jnp.ones(images.shape, bool),
        beyond=jnp.full(batch, beyond),
        centre=jnp.full((batch, 2), 3.0),
        mirrored=flag,
        transposed=flag[:, 0],
    )
    return weigh_pixels(images, view, sensor)


@pytest.mark.parametrize("sensor", [SENSOR, Sensor(height=7, width=7, sigma=(0.45, 0.6))])
def test_derivatives_agree_with_differences(sensor):
    scene = jnp.concatenate([PLACES, FLUXES[:, None]], axis=1)[..., None]

    def predict(scene):
        image, slope = _predict(scene, MASK[:, None], 49, sensor)
        return image[:, 0], slope[..., 0]

    image, slope = predict(scene)
    np.testing.assert_allclose(
        image.reshape(7, 7), render(make_targets(PLACES, FLUXES, MASK), sensor), atol=1e-3
    )
    jacobian = jax.jacfwd(lambda scene: predict(scene)[0])(scene).reshape(49, 9).T
    np.testing.assert_allclose(slope, jacobian, atol=1e-3)
    for index in range(9):
        step = jnp.zeros(9).at[index].set(0.01).reshape(scene.shape)
        central = (predict(scene + step)[0] - predict(scene - step)[0]) / 0.02
        np.testing.assert_allclose(slope[index], central, atol=0.5)


def test_a_rough_position_moves_to_the_truth():
    rough = PLACES + jnp.array([[0.01, -0.02], [-0.015, 0.01], [0.0, 0.0]])
    better = look_back(image_of(), rough)
    std = np.sqrt(np.diagonal(better.covariance, axis1=1, axis2=2))[:2]
    np.testing.assert_array_less(std, 0.02)
    np.testing.assert_array_less(np.abs(better.position - PLACES)[:2], 3 * std)
    np.testing.assert_array_less(better.intensity_std[:2], LAW[1])
    np.testing.assert_array_less(
        np.abs(better.intensity - FLUXES)[:2], 3 * better.intensity_std[:2]
    )
    assert float(better.misfit) < 1.5


def test_errors_are_as_large_as_stated():
    keys = jax.random.split(jax.random.key(2), 200)

    def error(key):
        place_key, rough_key, flux_key = jax.random.split(key, 3)
        places = PLACES + 0.1 * jax.random.uniform(place_key, PLACES.shape)
        rough = places + 0.01 * jax.random.normal(rough_key, places.shape)
        fluxes = LAW[0] + LAW[1] * jax.random.normal(flux_key, (3,))
        better = look_back(image_of(places, fluxes), rough, std=0.01)
        offset = better.position - places
        return jnp.einsum("ki,kij,kj->k", offset, jnp.linalg.inv(better.covariance), offset)[:2]

    # The mean of a chi-square of two degrees of freedom is two.
    assert float(jnp.mean(jax.vmap(error)(keys))) == pytest.approx(2.0, abs=0.5)


def test_what_the_network_does_not_know_sharply_keeps_its_uncertainty():
    better = look_back(image_of(), PLACES, std=0.2)
    np.testing.assert_allclose(better.covariance[:2], [0.04 * np.eye(2)] * 2, rtol=1e-5)
    np.testing.assert_allclose(better.intensity, LAW[0])
    np.testing.assert_allclose(better.intensity_std, LAW[1])


def test_an_image_of_something_else_misfits():
    assert float(look_back(image_of() + 20.0, PLACES).misfit) > 10
    assert float(look_back(image_of(), PLACES, beyond=400.0).misfit) > 10
    wide = Sensor(height=7, width=7, sigma=0.7)
    assert float(look_back(image_of(), PLACES, sensor=wide).misfit) > 10


def test_clipped_pixels_say_nothing():
    shallow = Sensor(height=7, width=7, saturation=100.0)
    image = image_of(sensor=shallow)
    assert int(jnp.sum(image == 100)) >= 1
    better = look_back(image, PLACES, sensor=shallow)
    np.testing.assert_allclose(better.position[:2], PLACES[:2], atol=0.02)
    assert float(better.misfit) < 1.5


@pytest.mark.parametrize(
    "sensor",
    [
        Sensor(read_noise=3.0, background=50.0, saturation=None, bit_depth=None),
        Sensor(read_noise=3.0, background=50.0, saturation=None, bit_depth=12),
        Sensor(background=400.0, gain=1.0, saturation=None, bit_depth=12),
        Sensor(height=24, width=24, read_noise=0.1, saturation=None, bit_depth=None),
    ],
)
def test_the_truth_fits_to_within_the_noise(sensor):
    prior = ScenePrior(max_targets=2)
    images, truth = simulate(jax.random.key(3), 60, sensor, prior)
    view = look(images - sensor.background, 7)
    covariance = jnp.broadcast_to(0.02**2 * jnp.eye(2), (60, 2, 2, 2))
    pixels, place = weigh_pixels(images, view, sensor), view.inward(truth.position) + 3.0
    better = adjust(pixels, place, covariance, truth.mask, sensor, *LAW)
    assert float(jnp.median(better.misfit)) == pytest.approx(0.97, abs=0.08)


def test_pixels_outside_the_window_count_as_dark_ones():
    sensor = Sensor(read_noise=2.0, gain=0.5, background=8.0, bit_depth=None)
    images = jnp.full((1, 11, 11), 8.0).at[0, 5, 5].set(100.0).at[0, 0, 0].set(3.0)
    pixels = weigh_pixels(images, look(images - 8.0, 7), sensor)
    np.testing.assert_allclose(pixels.beyond, 5.0**2 / (4 + 8 / 0.5), rtol=1e-3)
    np.testing.assert_allclose(pixels.informative, 121)
    np.testing.assert_allclose(pixels.weight[24, 0], 1 / (4 + 100 / 0.5), rtol=1e-3)
