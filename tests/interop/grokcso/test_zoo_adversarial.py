"""Parity of generators, discriminators and both players' objectives with the originals."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from distax.interop import grokcso
from distax.models.adversarial.objectives import PLAIN, RELATIVISTIC
from tests.interop.grokcso.test_zoo import load, read

# The largest change of an original's output under rounding; parity is within ten times of it.
ROUNDING = {
    "bsrgan": 2e-4,
    "esrgan": 3e-4,
    "srgan": 3e-4,
    "discriminator_vgg": 2e-6,
    "discriminator_unet": 1e-5,
}
JUDGES = {
    "bsrgan": "discriminator_unet",
    "esrgan": "discriminator_vgg",
    "srgan": "discriminator_vgg",
}
LAST_BIAS = {"esrgan": "linear2.bias", "bsrgan": "conv9.bias"}


def assert_close(found, expected, name):
    expected = expected.reshape(found.shape)
    np.testing.assert_allclose(found, expected, rtol=0, atol=10 * ROUNDING[name])


@pytest.mark.parametrize("name", sorted(JUDGES))
def test_weights_of_a_generator_give_its_outputs_without_a_discriminator(name):
    model, images, arrays = load(name, "zoo_more")
    assert model.discriminator is None
    with jax.default_matmul_precision("highest"):
        output = jax.jit(lambda model, images: model(images))(model, images)
    assert_close(output, arrays["output"], name)


@pytest.fixture(scope="module", params=sorted(JUDGES))
def judged(request):
    """A model from a whole checkpoint, its logits, and the original's arrays of both players."""
    _, weights, _ = read(request.param, "zoo_more")
    arrays, judge, _ = read(JUDGES[request.param], "zoo_more")
    whole = {f"generator.{key}": array for key, array in weights.items()}
    whole |= {f"discriminator.{key}": array for key, array in judge.items()}
    whole["perceptual_loss.vgg.weight"] = np.zeros(3, np.float32)
    model = grokcso.load(request.param, whole)
    grids = jnp.asarray(arrays["images"].reshape(-1, 33, 33, 1), float)
    with jax.default_matmul_precision("highest"):
        logits = jax.jit(lambda model, grids: model.discriminator(grids))(model, grids)
    # A relativistic discriminator has no bias here.
    logits += judge.get(LAST_BIAS.get(request.param), 0.0)
    return request.param, model, logits, arrays, weights


def test_the_discriminator_is_the_originals(judged):
    name, _, logits, arrays, _ = judged
    assert_close(logits, arrays["output"], JUDGES[name])


def test_the_generator_of_a_whole_checkpoint_is_the_same(judged):
    _, model, _, _, weights = judged
    expected = weights["conv_hr.weight"].transpose(2, 3, 1, 0)
    np.testing.assert_array_equal(model.generator.refine.kernel[...], expected)


def test_the_objectives_of_both_players_are_the_originals(judged):
    _, model, logits, arrays, _ = judged
    plain, relativistic = np.split(arrays["losses"], 2)
    for game, losses in {PLAIN: plain, RELATIVISTIC: relativistic}.items():
        generator, true, generated = losses
        found = game.generator(*jnp.split(logits, 2))
        np.testing.assert_allclose(model.adversarial_weight * found, generator, rtol=1e-5)
        found = game.discriminator(*jnp.split(logits, 2))
        np.testing.assert_allclose(found, true + generated, rtol=1e-5)
