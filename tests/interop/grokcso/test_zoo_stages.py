"""Parity with the original toolkit for models whose reference holds more than the output."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from tests.interop.grokcso.test_zoo import ROUNDING, load


def run(name, function):
    """Returns a function of the loaded model and its images, and the original's arrays.

    The model's output is compared in the same program, which saves a compilation.
    """
    model, images, arrays = load(name)
    with jax.default_matmul_precision("highest"):
        both = jax.jit(lambda model, images: (model(images), function(model, images)))
        output, found = both(model, images)
    assert_close(output, arrays["output"], name)
    return found, arrays


def assert_close(found, expected, name):
    expected = expected.reshape(np.shape(found))
    np.testing.assert_allclose(found, expected, rtol=0, atol=10 * ROUNDING[name])


@pytest.mark.parametrize("name", ["lista", "liht", "lamp", "tilista"])
def test_layers(name):
    iterates, arrays = run(name, lambda model, images: model.iterates(images))
    assert_close(np.stack(iterates, axis=1), arrays["stages"], name)


@pytest.mark.parametrize("name", ["ista_net", "ista_net_plus"])
def test_stages_and_their_symmetry(name):
    (iterates, asymmetries), arrays = run(name, lambda model, images: model.unroll(images))
    assert_close(np.stack(iterates, axis=1), arrays["stages"], name)
    squares = [np.mean(asymmetry**2, axis=(1, 2, 3)) for asymmetry in asymmetries]
    np.testing.assert_allclose(np.stack(squares, 1), arrays["symmetry_mean_square"], rtol=1e-4)


def test_fista_net():
    outputs, arrays = run("fista_net", lambda model, images: model.unroll(images))
    iterates = [output.x for output in outputs]
    assert_close(np.stack(iterates, axis=1), arrays["stages"][:, 1:], "fista_net")
    for name, measure in {
        "symmetry_mean_square": lambda output: output.asymmetry**2,
        "sparsity_mean_abs": lambda output: jnp.abs(output.features),
    }.items():
        means = [np.mean(measure(output), axis=(1, 2, 3)) for output in outputs]
        np.testing.assert_allclose(np.stack(means, 1), arrays[name], rtol=1e-4)


def test_focus():
    def steps(model, images):
        coarse = model.coarse(images[..., None])
        start = model.activation(coarse)
        return coarse, start, start + model.fine(start)

    stages, arrays = run("focus", steps)
    assert_close(np.stack(stages, axis=1), arrays["stages"], "focus")


def test_usrnet():
    def steps(model, images):
        return model.iterates(images), model.hyper_parameters(model.factor)

    (iterates, hyper_parameters), arrays = run("usrnet", steps)
    assert_close(np.stack(iterates, axis=1), arrays["stages"], "usrnet")
    assert_close(hyper_parameters, arrays["hyper"], "usrnet")


def test_rpcanet():
    def steps(model, images):
        iterates = model.iterates(images)
        return iterates, model.reconstruct(*iterates[-2:])

    (iterates, reconstruction), arrays = run("rpcanet", steps)
    assert_close(np.stack(iterates, axis=1), arrays["stages"], "rpcanet")
    assert_close(reconstruction, arrays["merged"], "rpcanet")
