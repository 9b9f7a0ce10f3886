from dataclasses import replace

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from flax import nnx

from distax import DistaxError
from distax.runtime.sharding import data_mesh
from distax.training import checkpoints, saving
from distax.training.config import OptimizerConfig
from distax.training.optimizer import make_optimizer
from distax.training.setup import build
from distax.training.state import evaluated_params
from tests.training.states import load_state


def learning_rates(config, steps):
    """Measures learning rates: with a constant gradient each update of Adam is the rate itself."""
    optimizer = make_optimizer(config, steps)
    state, rates = optimizer.init(jnp.zeros(())), []
    for _ in range(steps):
        update, state = optimizer.update(jnp.ones(()), state)
        rates.append(-float(update))
    return rates


def test_a_constant_rate_is_constant():
    np.testing.assert_allclose(learning_rates(OptimizerConfig(0.1), 4), 0.1, rtol=1e-4)


def test_warm_up_rises_linearly_and_cosine_ends_at_a_hundredth():
    rates = learning_rates(OptimizerConfig(0.1, warmup_steps=4, decay="cosine"), 44)
    np.testing.assert_allclose(rates[:5], [0, 0.025, 0.05, 0.075, 0.1], atol=1e-6)
    assert rates[24] == pytest.approx((0.1 + 0.001) / 2, rel=1e-4)
    assert rates[43] == pytest.approx(0.001, rel=0.2)
    assert all(np.diff(rates[4:]) < 0)


def test_large_gradients_are_scaled_down_together():
    optimizer = make_optimizer(OptimizerConfig(0.1, clip_norm=5.0), 4)
    unlimited = make_optimizer(OptimizerConfig(0.1), 4)
    small, large = jnp.array([0.3, 0.4]), jnp.array([-300.0, 400.0])
    scaled = large / 100  # of norm 5
    state, expected = optimizer.init(small), unlimited.init(small)
    for gradient, limited in ((small, small), (large, scaled), (small, small)):
        update, state = optimizer.update(gradient, state)
        wanted, expected = unlimited.update(limited, expected)
        np.testing.assert_allclose(update, wanted, rtol=1e-5)


def test_wsd_is_constant_and_then_falls_in_a_line():
    rates = learning_rates(OptimizerConfig(0.1, warmup_steps=10, decay="wsd"), 100)
    np.testing.assert_allclose(rates[10:80], 0.1, rtol=1e-3)
    np.testing.assert_allclose(np.diff(rates[80:]), -0.099 / 20, rtol=1e-2)
    assert rates[-1] == pytest.approx(0.001 + 0.099 / 20, rel=1e-2)


def test_weight_decay_pulls_kernels_and_nothing_else():
    params = {"kernel": jnp.full((2, 2), 3.0), "bias": jnp.full(2, 3.0), "step": jnp.array(3.0)}
    optimizer = make_optimizer(OptimizerConfig(0.1, weight_decay=0.5), 4)
    zero = jax.tree.map(jnp.zeros_like, params)
    updates, _ = optimizer.update(zero, optimizer.init(params), params)
    np.testing.assert_allclose(updates["kernel"], -0.1 * 0.5 * 3.0, rtol=1e-6)
    assert not updates["bias"].any()
    assert not updates["step"].any()


def test_accumulated_steps_are_one_on_their_mean_gradient():
    gradients = jnp.array([[1.0, -2.0], [3.0, 0.5], [-1.0, 1.0], [2.0, 2.0]])
    params = jnp.ones(2)
    one = make_optimizer(OptimizerConfig(0.1), 2)
    several = make_optimizer(OptimizerConfig(0.1, accumulate=2), 4)
    state, expected = several.init(params), one.init(params)
    for pair in (gradients[:2], gradients[2:]):
        update, state = several.update(pair[0], state, params)
        assert not update.any()
        update, state = several.update(pair[1], state, params)
        wanted, expected = one.update(pair.mean(axis=0), expected, params)
        np.testing.assert_allclose(update, wanted, rtol=1e-6)


def test_an_average_follows_the_parameters():
    optimizer = make_optimizer(OptimizerConfig(0.1, average=0.5), 100)
    params = jnp.array([1.0, -1.0])
    state, average = optimizer.init(params), np.array([1.0, -1.0])
    for step in range(20):
        updates, state = optimizer.update(jnp.array([1.0, 2.0]), state, params)
        params = optax.apply_updates(params, updates)
        kept = min(0.5, (1 + step) / (10 + step))
        average = kept * average + (1 - kept) * np.asarray(params)
        np.testing.assert_allclose(state.average, average, rtol=1e-5)


def test_the_average_is_what_is_evaluated(tiny_config):
    optimizer = replace(tiny_config.optimizer, average=0.9)
    setup = build(replace(tiny_config, optimizer=optimizer), data_mesh(jax.devices()[:1]))
    (batches,) = setup.feed.batches([range(2)])
    state, _ = setup.train_steps(setup.initial_state(), batches)
    jax.tree.map(np.testing.assert_array_equal, evaluated_params(state), state.opt_state.average)
    trained, averaged = (jax.tree.leaves(x)[0] for x in (state.params, evaluated_params(state)))
    assert not np.array_equal(trained, averaged)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"weight_decay": -1.0}, "weight_decay must be a number ≥ 0, got -1.0"),
        ({"average": 1.0}, "average must lie between 0 and 1, got 1.0"),
        ({"accumulate": 0}, "accumulate"),
    ],
)
def test_impossible_options_are_refused(options, message):
    with pytest.raises(DistaxError, match=message):
        OptimizerConfig(**options)


def test_parameters_and_their_average_come_back_bit_for_bit(tiny_config, tmp_path):
    config = replace(tiny_config, optimizer=replace(tiny_config.optimizer, average=0.9))
    setup = build(config, data_mesh(jax.devices()[:1]))
    (batches,) = setup.feed.batches([range(2)])
    state, _ = setup.train_steps(setup.initial_state(), batches)
    saving.save(tmp_path, "last", state, config, None)
    loaded = load_state(tmp_path, config)
    jax.tree.map(np.testing.assert_array_equal, loaded, state)
    model, _ = checkpoints.load_model(tmp_path)
    shipped, average = nnx.state(model, nnx.Param), evaluated_params(state)
    jax.tree.map(np.testing.assert_array_equal, shipped, average)
