from dataclasses import replace

import jax
import numpy as np
import pytest
from flax import nnx

from distax.benchmarking import networks
from distax.benchmarking.networks import Network, prepare_inference, prepare_training
from distax.training.building import create_model

SMALL = Network(batch=2, stages=1, channels=4)


@pytest.mark.parametrize(("window", "side"), [(None, 33), (7, 21)])
def test_the_operations_are_those_that_the_compiler_counts(window, side):
    network = replace(SMALL, channels=64, window=window)
    graphdef, state = nnx.split(create_model(network.config))
    infer = jax.jit(lambda state, images: nnx.merge(graphdef, state)(images))
    counted = infer.lower(state, network.simulate()[0]).compile().cost_analysis()["flops"]
    # The compiler leaves out products with the padding, and adds those of biases and sigmoids.
    inside = ((3 * side - 2) / (3 * side)) ** 2
    assert 1 < counted / (inside * network.count_flops(training=False)) < 1.03


def test_a_training_step_also_computes_the_symmetry_residual_and_gradients():
    inference, training = SMALL.count_flops(False), SMALL.count_flops(True)
    residual = 2 * 2 * 1089 * 9 * (4 * 4 + 4)
    assert training == 3 * (inference + residual)


def test_an_inference_takes_every_image_of_any_batch(monkeypatch):
    monkeypatch.setattr(networks, "inference_batch", lambda: 2)
    candidate = prepare_inference(replace(SMALL, batch=3))
    assert candidate.call() > 0
    assert candidate.program_bytes > 2 * 33 * 33 * 4


def test_a_training_step_changes_the_state_it_is_given():
    candidate = prepare_training(SMALL)
    assert candidate.call() > 0
    assert candidate.call() > 0  # the first call has consumed the first state
    assert candidate.program_bytes > 0


def test_the_images_are_the_same_each_time():
    first, second = (SMALL.simulate()[0] for _ in range(2))
    np.testing.assert_array_equal(first, second)
