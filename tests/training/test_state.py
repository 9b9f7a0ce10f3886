import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from flax import nnx

from distax import Sensor
from distax.config import OptimizerConfig
from distax.models.base import Constant
from distax.scenes import PlacementLaw, simulate
from distax.training.state import (
    abstract_model,
    create_model,
    init_state,
    make_optimizer,
    make_train_step,
    merge,
)


def learning_rates(config, steps):
    """The rates Adam's first updates reveal: with a constant gradient each is the rate itself."""
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


def test_merging_puts_arrays_into_an_abstract_model(tiny_config):
    model = create_model(tiny_config)
    state = init_state(model, optax.identity())
    merged = merge(abstract_model(tiny_config), state.params, state.constants)
    jax.tree.map(np.testing.assert_array_equal, nnx.state(merged), nnx.state(model))


def test_a_step_is_adam_on_the_objective_and_leaves_constants_alone(tiny_config):
    optimizer = make_optimizer(tiny_config.optimizer, tiny_config.steps)
    model = create_model(tiny_config)
    images, targets = simulate(jax.random.key(0), 8, Sensor(), PlacementLaw())

    objective = nnx.jit(nnx.value_and_grad(lambda model: model.loss(images, targets)))
    loss, gradients = objective(model)
    params = nnx.state(model, nnx.Param)
    updates, _ = optimizer.update(gradients, optimizer.init(params), params)
    expected = jax.tree.map(np.asarray, optax.apply_updates(params, updates))
    constants = jax.tree.map(np.asarray, nnx.state(model, Constant))

    step = make_train_step(tiny_config)
    state, value = step(init_state(model, optimizer), (images, targets))
    assert int(state.step) == 1
    assert float(value) == pytest.approx(float(loss), rel=1e-5)
    jax.tree.map(
        lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-7), state.params, expected
    )
    jax.tree.map(np.testing.assert_array_equal, state.constants, constants)


def test_steps_on_one_batch_lower_its_loss(tiny_config):
    optimizer = make_optimizer(tiny_config.optimizer, tiny_config.steps)
    step = make_train_step(tiny_config)
    batch = simulate(jax.random.key(0), 8, Sensor(), PlacementLaw())
    state, losses = init_state(create_model(tiny_config), optimizer), []
    for _ in range(tiny_config.steps):
        state, loss = step(state, batch)
        losses.append(float(loss))
    assert losses[-1] < 0.9 * losses[0]
