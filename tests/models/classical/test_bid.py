import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from distax import Sensor
from distax.models.classical.bid import Bid, deconvolve, kernel
from distax.models.layers.resampling import upsample

ROUNDING = 8e-4  # the largest change of the original's output under rounding


@pytest.fixture(scope="module")
def original(reference):
    arrays = reference("zoo_more/bid")
    return arrays | {"images": jnp.asarray(arrays["images"].reshape(-1, 11, 11), float)}


@pytest.mark.parametrize(
    ("output", "step", "iterations"), [("output", 0.001, 1000), ("output_ten_steps", 0.1, 10)]
)
def test_deconvolution_is_the_originals(original, output, step, iterations):
    blurred = upsample(original["images"][..., None], 3, "bilinear")[..., 0]
    psf = kernel(0.5, -2.0)
    np.testing.assert_allclose(psf, original["psf"], rtol=1e-6)
    found = jax.jit(deconvolve, static_argnums=(2, 3))(blurred, jnp.asarray(psf), step, iterations)
    expected = original[output].reshape(found.shape)
    np.testing.assert_allclose(found, expected, rtol=0, atol=10 * ROUNDING)


def test_the_scripts_behaviour_is_an_option(original):
    found = jax.jit(Bid(script=True, rngs=nnx.Rngs(0)))(original["images"])
    expected = original["output_script"].reshape(found.shape)
    np.testing.assert_allclose(found, expected, rtol=0, atol=10 * 2e-3)


def test_a_target_stays_where_it_is():
    sensor = Sensor(height=5, width=5)
    image = jnp.zeros((1, 5, 5)).at[0, 2, 2].set(200.0)
    grid = Bid(iterations=50, step=0.1, sensor=sensor, rngs=nnx.Rngs(0))(image)[0]
    np.testing.assert_allclose(grid, grid[::-1, ::-1], atol=1e-3)
    assert jnp.unravel_index(jnp.argmax(grid), grid.shape) == (7, 7)


def test_an_image_is_ready_once_its_error_is_small():
    flat = jnp.full((1, 4, 4), 0.02)  # the largest error, at a corner, is below a tenth
    once = deconvolve(flat, jnp.asarray(kernel(0.5, -1.0)), 0.5, 1)
    np.testing.assert_array_equal(deconvolve(flat, jnp.asarray(kernel(0.5, -1.0)), 0.5, 9), once)
    assert float(jnp.abs(once - flat).max()) > 0
