"""Adversarial training: one objective whose gradient is that of each player's own."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from distax import DistaxError, Sensor
from distax.models import create
from distax.runtime.pytree import named_leaves

SENSOR = Sensor(height=5, width=5)
SIZES = {"channels": 4, "blocks": 1, "discriminator_channels": 2}


@pytest.fixture(scope="module", params=["srgan", "esrgan", "bsrgan"])
def model(request):
    return create(request.param, sensor=SENSOR, rngs=nnx.Rngs(0), **SIZES)


@pytest.fixture(scope="module")
def data():
    images = 100 * jax.random.uniform(jax.random.key(1), (3, 5, 5))
    return images, jnp.zeros((3, 15, 15)).at[:, 7, 7].set(250.0)


def binary_cross_entropy(logits, truth):
    return -jnp.mean(jax.nn.log_sigmoid(logits if truth else -logits))


def generator_judged(name, true, generated):
    if name == "Srgan":
        return binary_cross_entropy(generated, True)
    above = binary_cross_entropy(generated - jnp.mean(true), True)
    return (above + binary_cross_entropy(true - jnp.mean(generated), False)) / 2


def discriminator_fooled(name, true, generated):
    if name == "Srgan":
        return binary_cross_entropy(true, True) + binary_cross_entropy(generated, False)
    above = binary_cross_entropy(true - jnp.mean(generated), True)
    return (above + binary_cross_entropy(generated - jnp.mean(true), False)) / 2


def test_each_player_has_the_gradient_of_its_own_objective(model, data):
    graph, params, others = nnx.split(model, nnx.Param, ...)
    images, grids = data
    name = type(model).__name__

    def trained(params):
        model = nnx.merge(graph, params, others, copy=True)
        model.train()
        return model

    def both(params):
        return trained(params).objective(images, grids)

    def of_generator(params):
        model = trained(params)
        model.discriminator.refresh()
        found = model(images)
        judged = generator_judged(
            name, model.discriminator(grids[..., None]), model.discriminator(found[..., None])
        )
        return 0.01 * jnp.mean((found - grids) ** 2) + 0.005 * judged

    def of_discriminator(params):
        model = trained(params)
        model.discriminator.refresh()
        found = model(images)
        return discriminator_fooled(
            name, model.discriminator(grids[..., None]), model.discriminator(found[..., None])
        )

    @jax.jit
    def gradients(params):
        return [jax.value_and_grad(loss)(params) for loss in (both, of_generator, of_discriminator)]

    (value, found), *separate = gradients(params)
    np.testing.assert_allclose(value, separate[0][0] + separate[1][0], rtol=1e-5)
    generator, discriminator = (named_leaves(gradient) for _, gradient in separate)
    for parameter, gradient in named_leaves(found).items():
        own = generator if parameter.startswith("generator.") else discriminator
        assert jnp.abs(own[parameter]).max() > 0, parameter
        # Normalisation cancels most of some gradients, so the error is that of the largest ones.
        scale = max(float(jnp.abs(gradient).max()) for gradient in own.values())
        np.testing.assert_allclose(
            gradient, own[parameter], rtol=1e-4, atol=1e-5 * scale, err_msg=parameter
        )


def test_running_statistics_move_in_training_only(model, data):
    def statistics(train):
        copy = nnx.merge(*nnx.split(model), copy=True)
        if train:
            copy.train()
        copy.objective(*data)
        return named_leaves(nnx.state(copy, nnx.BatchStat))

    before = named_leaves(nnx.state(model, nnx.BatchStat))
    assert before
    still, moved = statistics(False), statistics(True)
    for name, array in before.items():
        np.testing.assert_array_equal(still[name], array)
        assert jnp.abs(moved[name] - array).max() > 0, name


def test_the_largest_singular_value_is_found():
    model = create("bsrgan", sensor=SENSOR, rngs=nnx.Rngs(0), **SIZES)
    conv = model.discriminator.down[1]
    model.train()
    for _ in range(50):
        model.discriminator.refresh()
    kernel = np.asarray(conv.kernel[...]).transpose(3, 2, 0, 1)
    matrix = kernel.reshape(len(kernel), -1)
    found = conv.left[...] @ matrix @ conv.right[...]
    np.testing.assert_allclose(found, np.linalg.svd(matrix)[1][0], rtol=1e-3)


def test_features_of_grids_and_squares_of_errors_can_be_compared(data):
    images, grids = data

    def create_alone(**options):
        return create(
            "srgan",
            sensor=SENSOR,
            rngs=nnx.Rngs(0),
            channels=4,
            blocks=1,
            adversarial_weight=0.0,
            **options,
        )

    plain = create_alone(squared=False)
    error = plain(images) - grids
    expected = 0.01 * jnp.mean(jnp.abs(error))
    np.testing.assert_allclose(plain.objective(images, grids), expected, rtol=1e-5)
    squared = create_alone(pixel_weight=2.0)
    expected_square = 2 * jnp.mean(error**2)
    np.testing.assert_allclose(squared.objective(images, grids), expected_square, rtol=1e-5)
    perceptual = create_alone(squared=False, perceptual=lambda grids: grids[:, ::2] ** 2)
    expected += jnp.mean(jnp.abs(plain(images)[:, ::2] ** 2 - grids[:, ::2] ** 2))
    np.testing.assert_allclose(perceptual.objective(images, grids), expected, rtol=1e-5)


def test_features_that_are_no_function_are_refused():
    with pytest.raises(DistaxError, match="option perceptual can be given from Python only"):
        create("srgan", perceptual="vgg", rngs=nnx.Rngs(0))
