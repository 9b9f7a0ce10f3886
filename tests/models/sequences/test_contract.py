"""The contract of every registered model of sequences, tested at a small size."""

from functools import cache

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from flax import nnx

from distax import DistaxError, Sensor, weights
from distax.imaging.grid import decode, rasterize
from distax.imaging.motion import MotionPrior, simulate
from distax.models import SequenceModel, create, names, registry
from distax.models.base import Constant
from distax.runtime.pytree import named_leaves
from distax.training.config import ModelConfig, TrainConfig
from tests.models.sizes import SEQUENCES

SENSOR = Sensor(height=9, width=9)
FRAMES = 6
MODELS = [name for name in names() if issubclass(registry._MODELS[name], SequenceModel)]


@cache
def build(name):
    return create(name, sensor=SENSOR, rngs=nnx.Rngs(0), **SEQUENCES[name])


@cache
def scenes():
    prior = MotionPrior(frames=FRAMES)
    return simulate(jax.random.key(1), 3, SENSOR, prior)


@cache
def forward(name):
    graph, state = nnx.split(build(name))
    return jax.jit(lambda state, images: nnx.merge(graph, state)(images)), state


@pytest.fixture(scope="module", autouse=True)
def _nothing_is_kept_for_other_modules():
    yield
    for function in (build, forward):
        function.cache_clear()


def test_every_model_of_sequences_is_tried():
    assert set(MODELS) == SEQUENCES.keys()


@pytest.mark.parametrize("name", MODELS)
def test_it_answers_the_frames_that_it_says(name):
    def run():
        options = SEQUENCES[name] | {"factor": 5}
        model = create(name, sensor=Sensor(), rngs=nnx.Rngs(0), **options)
        return model(jnp.zeros((2, 7, 11, 11)))

    output = jax.eval_shape(run)
    assert build(name).answered(7) == range(2, 5)
    assert output.shape == (2, 3, 55, 55)
    assert output.dtype == jnp.float32


@pytest.mark.parametrize("name", MODELS)
def test_every_sequence_is_treated_on_its_own_and_by_its_own_frames(name):
    run, state = forward(name)
    images, _ = scenes()
    together = run(state, images)
    scale = float(jnp.abs(together).max())
    others = run(state, jnp.stack([images[2], 255 - images[1], images[0]]))
    np.testing.assert_allclose(others[2], together[0], rtol=0, atol=2e-5 * scale)
    # The first answer is made from frames 0 to 4, and the second from frames 1 to 5.
    later = run(state, images.at[:, 5].set(0.0))
    np.testing.assert_allclose(later[:, 0], together[:, 0], rtol=0, atol=2e-5 * scale)
    assert jnp.abs(later[:, 1] - together[:, 1]).max() > 1e-3 * scale


@pytest.mark.parametrize("name", MODELS)
def test_targets_are_read_off_its_grids(name):
    model, (images, targets) = build(name), scenes()
    run, state = forward(name)
    threshold = float(jnp.quantile(run(state, images), 0.999))
    found = model.detect(images, threshold)
    expected = decode(run(state, images), threshold, SENSOR)
    assert found.mask.shape[:2] == (3, FRAMES - 4)
    assert 0 < int(found.mask.sum()) < found.mask.size
    np.testing.assert_allclose(found.position, expected.position)
    grids = rasterize(targets, SENSOR, 3)
    assert float(model.loss(images, targets)) == pytest.approx(
        float(model.objective(images, grids)), rel=1e-5
    )


@pytest.mark.parametrize("name", MODELS)
def test_gradients_reach_every_parameter_and_steps_lower_the_loss(name):
    graph, params, others = nnx.split(build(name), nnx.Param, ...)
    # Offsets of new deformable convolutions stand still between pixels only for their first step.
    optimizer, data = optax.adam(1e-3), scenes()

    @jax.jit
    def step(params, optimizer_state):
        value, gradients = jax.value_and_grad(
            lambda params: nnx.merge(graph, params, others, copy=True).loss(*data)
        )(params)
        updates, optimizer_state = optimizer.update(gradients, optimizer_state)
        return value, gradients, optax.apply_updates(params, updates), optimizer_state

    optimizer_state, losses = optimizer.init(params), []
    for _ in range(15):
        loss, gradients, params, optimizer_state = step(params, optimizer_state)
        losses.append(float(loss))
    for parameter, gradient in named_leaves(gradients).items():
        assert jnp.isfinite(gradient).all(), parameter
        assert jnp.abs(gradient).max() > 0, parameter
    assert min(losses[-3:]) < losses[0]


@pytest.mark.parametrize("name", MODELS)
def test_bfloat16_comes_near(name):
    run, state = forward(name)
    images, _ = scenes()
    half = create(name, sensor=SENSOR, rngs=nnx.Rngs(0), precision="bfloat16", **SEQUENCES[name])
    coarse = jax.jit(nnx.merge(nnx.graphdef(half), state))(images)
    exact = run(state, images)
    error = jnp.sqrt(jnp.mean((coarse - exact) ** 2) / jnp.mean(exact**2))
    assert coarse.dtype == jnp.float32
    assert 0 < float(error) < 0.1


@pytest.mark.parametrize("name", MODELS)
def test_written_and_read_it_answers_the_same(name, tmp_path):
    config = TrainConfig(model=ModelConfig(name, 3, SEQUENCES[name]), sensor=SENSOR)
    weights.write(build(name), config, tmp_path / "model.safetensors")
    model, read = weights.read(tmp_path / "model.safetensors")
    assert read == config
    run, state = forward(name)
    np.testing.assert_array_equal(run(nnx.state(model), scenes()[0]), run(state, scenes()[0]))
    leaves = jax.tree.leaves(nnx.state(model), is_leaf=lambda leaf: isinstance(leaf, nnx.Variable))
    assert all(isinstance(leaf, nnx.Param | Constant) for leaf in leaves)


@pytest.mark.parametrize("name", MODELS)
def test_a_sequence_shorter_than_its_window_is_refused(name):
    with pytest.raises(DistaxError, match=r"a sequence of 4 frames is too short: .* 5 frames"):
        build(name)(scenes()[0][:, :4])


def test_options_of_every_model_of_sequences():
    model = create("tdan", sensor=SENSOR, rngs=nnx.Rngs(0), label_blur=0.2, **SEQUENCES["tdan"])
    images, targets = scenes()
    blurred = model.objective(images, rasterize(targets, SENSOR, 3, 0.2))
    assert float(model.loss(images, targets)) == pytest.approx(float(blurred), rel=1e-5)
    with pytest.raises(DistaxError, match="option 'window' of model 'tdan'"):
        create("tdan", rngs=nnx.Rngs(0), window=5)
    with pytest.raises(DistaxError, match="factor must be an odd number"):
        create("derefnet", rngs=nnx.Rngs(0), factor=4)


def test_sizes_that_do_not_fit_are_refused():
    with pytest.raises(DistaxError, match="channels must be a multiple of 2, got 5"):
        create("derefnet", rngs=nnx.Rngs(0), channels=5)
    with pytest.raises(DistaxError, match="channels must be a multiple of 8, got 12"):
        create("tdan", rngs=nnx.Rngs(0), channels=12)
    with pytest.raises(DistaxError, match="alignment_weight"):
        create("tdan", rngs=nnx.Rngs(0), alignment_weight=-1.0)
