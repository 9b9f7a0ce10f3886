"""Parity with the original toolkit where it stores more than its output."""

import jax
import numpy as np

from tests.interop.test_zoo import ROUNDING, load


def run(name, function):
    """What a function makes of the loaded model and its images, and the original's arrays."""
    model, images, arrays = load(name)
    with jax.default_matmul_precision("highest"):
        return jax.jit(function)(model, images), arrays


def assert_close(found, expected, name):
    expected = expected.reshape(np.shape(found))
    np.testing.assert_allclose(found, expected, rtol=0, atol=10 * ROUNDING[name])


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
