from dataclasses import replace

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from flax import nnx

from distax import Sensor
from distax.imaging.scenes import ScenePrior, simulate
from distax.models.base import Constant
from distax.runtime.sharding import data_mesh, make_mesh
from distax.training.building import create_model
from distax.training.config import ModelConfig
from distax.training.optimizer import make_optimizer
from distax.training.setup import build
from distax.training.state import init_state


def test_a_step_is_adam_on_the_objective_and_leaves_constants_alone(tiny_config):
    optimizer = make_optimizer(tiny_config.optimizer, tiny_config.steps)
    model = create_model(tiny_config)
    images, targets = simulate(jax.random.key(0), 8, Sensor(), ScenePrior())

    objective = nnx.jit(nnx.value_and_grad(lambda model: model.loss(images, targets)))
    loss, gradients = objective(model)
    params = nnx.state(model, nnx.Param)
    updates, _ = optimizer.update(gradients, optimizer.init(params), params)
    expected = jax.tree.map(np.asarray, optax.apply_updates(params, updates))
    constants = jax.tree.map(np.asarray, nnx.state(model, Constant))

    steps = build(tiny_config, data_mesh()).train_steps
    batches = jax.tree.map(lambda leaf: leaf[None], (images, targets))
    state, values = steps(init_state(model, optimizer), batches)
    assert int(state.step) == 1
    np.testing.assert_allclose(values, [loss], rtol=1e-5)
    jax.tree.map(
        lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-7), state.params, expected
    )
    jax.tree.map(np.testing.assert_array_equal, state.constants, constants)


def test_steps_on_one_batch_lower_its_loss(tiny_config):
    optimizer = make_optimizer(tiny_config.optimizer, tiny_config.steps)
    steps = build(tiny_config, data_mesh()).train_steps
    batch = simulate(jax.random.key(0), 8, Sensor(), ScenePrior())
    batches = jax.tree.map(lambda leaf: jnp.stack([leaf] * tiny_config.steps), batch)
    state, losses = steps(init_state(create_model(tiny_config), optimizer), batches)
    assert int(state.step) == tiny_config.steps
    assert losses[-1] < 0.9 * losses[0]


def test_steps_in_one_dispatch_are_those_done_one_by_one(tiny_config):
    setup = build(tiny_config, data_mesh())
    steps = setup.train_steps
    (batches,) = setup.feed.batches([range(3)])
    together, losses = steps(setup.initial_state(), batches)
    state, single = setup.initial_state(), []
    for number in range(3):
        state, loss = steps(state, jax.tree.map(lambda leaf, i=number: leaf[i][None], batches))
        single.extend(loss)
    np.testing.assert_allclose(losses, single, rtol=1e-5)
    assert_close(together.params, state.params, 1e-5)


@pytest.mark.parametrize(("shard_state", "replicas"), [(False, 1), (True, 1), (False, 2)])
def test_eight_devices_take_the_steps_of_one(tiny_config, shard_state, replicas):
    config = replace(tiny_config, shard_state=shard_state)
    starts, results = {}, {}
    for count in (1, 8):
        mesh = make_mesh(jax.devices()[:count], replicas if count > 1 else 1)
        setup = build(config, mesh)
        (batches,) = setup.feed.batches([range(3)])
        assert len(batches[0].sharding.device_set) == count
        starts[count] = setup.initial_state(), batches
        # The same values in double precision, in which the order of most sums does not matter.
        with jax.enable_x64(True):
            values = jax.tree.map(in_double, starts[1], starts[count])
            results[count] = setup.train_steps(*values)
    assert_close(starts[8], starts[1], 1e-6)
    assert_close(results[8][0].params, results[1][0].params, 1e-6)
    # Moments of the hypernetwork's gradients, in which most of what is summed cancels.
    assert_close(results[8][0].opt_state, results[1][0].opt_state, 3e-5)
    np.testing.assert_allclose(results[8][1], results[1][1], rtol=1e-7)
    state = results[8][0]
    for arrays in (state.params, state.opt_state[0].mu):
        # 1089 by 8.
        kernel = arrays["stages"][0]["dynamic_transform"]["compress"]["kernel"][...]
        assert kernel.sharding.shard_shape(kernel.shape) == (1089, 1 if shard_state else 8)


def in_double(values, like):
    """Places values where another array lies, those of single precision as double precision."""
    single = values.dtype == jnp.float32
    return jax.device_put(np.asarray(values, np.float64 if single else values.dtype), like.sharding)


def assert_close(first, second, tolerance):
    """Asserts equality up to a share of each array's largest value."""

    def one(a, b):
        a, b = np.asarray(a), np.asarray(b)
        np.testing.assert_allclose(a, b, rtol=0, atol=tolerance * max(1.0, np.abs(b).max()))

    jax.tree.map(one, first, second)


def test_running_statistics_follow_the_batches_and_nothing_else_changes_them(tiny_config):
    options = {"stages": 1, "channels": 4, "merge_layers": 1, "window": 5}
    options |= {"background_layers": 1, "target_layers": 1}
    config = replace(tiny_config, model=ModelConfig("rpcanet", options=options))
    setup = build(config, data_mesh())
    state = setup.initial_state()
    fixed, changing = (
        jax.tree.map(np.asarray, nnx.filter_state(state.constants, kind))
        for kind in (Constant, nnx.BatchStat)
    )
    batches = jax.tree.map(
        lambda leaf: leaf[None], simulate(jax.random.key(0), 8, Sensor(), ScenePrior())
    )
    after, _ = setup.train_steps(state, batches)
    jax.tree.map(np.testing.assert_array_equal, nnx.filter_state(after.constants, Constant), fixed)
    now = nnx.filter_state(after.constants, nnx.BatchStat)
    assert all(
        (new != old).all()
        for new, old in zip(jax.tree.leaves(now), jax.tree.leaves(changing), strict=True)
    )
