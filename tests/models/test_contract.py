"""The contract of every registered grid model, tested at a small size."""

import re
from functools import cache

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from flax import nnx

from distax import DistaxError, Sensor, weights
from distax.imaging.scenes import simulate
from distax.models import Density, GridModel, create, names, registry
from distax.models.base import Constant
from distax.models.layers.basic import parameter_count
from distax.runtime.pytree import named_leaves
from distax.training.config import ModelConfig, TrainConfig
from tests.models.sizes import SEQUENCES, SMALL

SENSOR = Sensor(height=9, width=9)
GRID_MODELS = [name for name in names() if issubclass(registry._MODELS[name], GridModel)]
WITHOUT_MAPS = ["lamp", "liht", "lista", "tilista"]
TRAINED = [name for name in GRID_MODELS if name not in registry.classical()]


@cache
def build(name):
    return create(name, sensor=SENSOR, rngs=nnx.Rngs(0), **SMALL[name])


@cache
def scenes():
    return simulate(jax.random.key(1), 3, SENSOR)


@cache
def forward(name):
    graph, state = nnx.split(build(name))
    return jax.jit(lambda state, images: nnx.merge(graph, state)(images)), state


@cache
def training_step(name):
    """Returns a training step (loss, gradients and new state), and its initial state."""
    graph, params, others = nnx.split(build(name), nnx.Param, ...)
    optimizer, data = optax.adam(1e-3), scenes()

    def loss(params, others):
        model = nnx.merge(graph, params, others, copy=True)
        model.train()
        return model.loss(*data), nnx.state(model, nnx.Not(nnx.Param))

    @jax.jit
    def step(params, others, optimizer_state):
        (value, others), gradients = jax.value_and_grad(loss, has_aux=True)(params, others)
        updates, optimizer_state = optimizer.update(gradients, optimizer_state)
        return value, gradients, (optax.apply_updates(params, updates), others, optimizer_state)

    return step, (params, others, optimizer.init(params))


@pytest.fixture(scope="module", autouse=True)
def _nothing_is_kept_for_other_modules():
    yield
    for function in (build, forward, training_step):
        function.cache_clear()


def test_every_grid_model_is_tried():
    assert set(GRID_MODELS) == SMALL.keys()


@pytest.mark.parametrize("name", GRID_MODELS)
@pytest.mark.parametrize("factor", [5, 7])  # 3 is that of the tests below
def test_the_grid_has_factor_times_the_nodes_of_the_image(name, factor):
    def run():
        options = SMALL[name] | {"factor": factor}
        model = create(name, sensor=Sensor(), rngs=nnx.Rngs(0), **options)
        return model(jnp.zeros((2, 11, 11)))

    output = jax.eval_shape(run)
    assert output.shape == (2, 11 * factor, 11 * factor)
    assert output.dtype == jnp.float32


@pytest.mark.parametrize("name", GRID_MODELS)
def test_every_image_is_treated_on_its_own(name):
    run, state = forward(name)
    images, _ = scenes()
    together = run(state, images)
    assert together.shape == (3, 27, 27)
    assert jnp.isfinite(together).all()
    scale = float(jnp.abs(together).max())
    # Other neighbours, another place in the batch.
    others = run(state, jnp.stack([images[2], 255 - images[1], images[0]]))
    np.testing.assert_allclose(others[2], together[0], rtol=0, atol=2e-5 * scale)
    np.testing.assert_allclose(others[0], together[2], rtol=0, atol=2e-5 * scale)
    one_by_one = jax.jit(jax.vmap(lambda image: run(state, image[None])[0]))(images)
    np.testing.assert_allclose(one_by_one, together, rtol=0, atol=2e-5 * scale)


@pytest.mark.parametrize("name", [name for name in TRAINED if name not in WITHOUT_MAPS])
def test_bfloat16_comes_near(name):
    run, state = forward(name)
    (images, targets), exact = scenes(), run(state, scenes()[0])
    graph = nnx.graphdef(
        create(name, sensor=SENSOR, rngs=nnx.Rngs(0), precision="bfloat16", **SMALL[name])
    )

    @jax.jit
    def run_half(state):
        model = nnx.merge(graph, state, copy=True)
        answer = model(images)
        model.train()
        return answer, model.loss(images, targets)

    coarse, loss = run_half(state)
    assert coarse.dtype == loss.dtype == jnp.float32
    error = jnp.sqrt(jnp.mean((coarse - exact) ** 2) / jnp.mean(exact**2))
    assert 0 < float(error) < 0.1
    step, start = training_step(name)
    assert float(loss) == pytest.approx(float(step(*start)[0]), rel=0.1)
    assert "bf16[3," in str(jax.make_jaxpr(run_half)(state))


@pytest.mark.parametrize("name", [*WITHOUT_MAPS, *registry.classical()])
def test_models_without_maps_are_float32(name):
    with pytest.raises(DistaxError, match=f"the model {name} computes in float32 only"):
        create(name, sensor=SENSOR, rngs=nnx.Rngs(0), precision="bfloat16", **SMALL[name])


def test_an_unknown_precision_is_named():
    with pytest.raises(DistaxError, match="unknown precision 'float16'"):
        create("espcn", rngs=nnx.Rngs(0), precision="float16")


@pytest.mark.parametrize("name", GRID_MODELS)
def test_written_and_read_it_answers_the_same(name, tmp_path):
    config = TrainConfig(model=ModelConfig(name, 3, SMALL[name]), sensor=SENSOR)
    weights.write(build(name), config, tmp_path / "model.safetensors")
    model, read = weights.read(tmp_path / "model.safetensors")
    assert read == config
    run, state = forward(name)
    images, _ = scenes()
    np.testing.assert_array_equal(run(nnx.state(model), images), run(state, images))


@pytest.mark.parametrize("name", TRAINED)
def test_gradients_reach_every_parameter(name):
    step, state = training_step(name)
    gradients = named_leaves(step(*state)[1])
    assert gradients
    for parameter, gradient in gradients.items():
        assert jnp.isfinite(gradient).all(), parameter
        assert jnp.abs(gradient).max() > 0, parameter


@pytest.mark.parametrize("name", TRAINED)
def test_twenty_steps_lower_the_loss(name):
    step, state = training_step(name)
    losses = []
    for _ in range(20):
        loss, _, state = step(*state)
        losses.append(float(loss))
    assert min(losses[-3:]) < losses[0]


@pytest.mark.parametrize("name", GRID_MODELS)
def test_arrays_are_of_the_kinds_that_training_knows(name):
    kinds = nnx.Param, Constant, nnx.BatchStat
    leaves = jax.tree.leaves(nnx.state(build(name)), is_leaf=lambda x: isinstance(x, nnx.Variable))
    assert leaves
    assert any(type(leaf) is nnx.Param for leaf in leaves) == (name in TRAINED)
    for leaf in leaves:
        assert isinstance(leaf, kinds)
        assert leaf.dtype == jnp.float32


@pytest.mark.parametrize("name", ["edsr", "ista_net", "lista", "rpcanet"])
def test_a_table_of_its_layers_counts_its_parameters(name):
    """Covers one model of each base class; a classical model has no layers."""
    console = {"force_terminal": False, "width": 240}
    table = nnx.tabulate(build(name), jnp.zeros((1, 9, 9)), console_kwargs=console)
    (total,) = re.findall(r"Total +│(.*)", table)
    assert f" {parameter_count(build(name)):,} (" in total


def test_what_is_not_a_grid_model_is_tested_elsewhere():
    others = {name for name in names() if name not in GRID_MODELS}
    assert others == {"density", *SEQUENCES}
    assert registry._MODELS["density"] is Density
