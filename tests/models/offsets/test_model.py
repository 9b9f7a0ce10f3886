import math
from dataclasses import replace

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from flax import nnx

from distax import DistaxError, Sensor, make_targets
from distax.imaging.scenes import ScenePrior, simulate
from distax.models import GridModel, GuidedOffsets, create, register_head
from distax.models.density.view import look_through
from distax.models.offsets.mixture import OUTPUTS
from distax.runtime.pytree import named_leaves

SMALL = {"head": "offset", "head_width": 32, "head_blocks": 2}


@pytest.fixture(scope="module")
def small():
    return create("espcn", rngs=nnx.Rngs(0), window=5, **SMALL)


@pytest.fixture(scope="module")
def scenes():
    return simulate(jax.random.key(0), 8)


@nnx.jit
def loss(model, images, truth):
    return model.loss(images, truth)


@nnx.jit
def gradients(model, images, truth):
    return nnx.grad(loss)(model, images, truth)


@nnx.jit
def _detect(model, images):
    return model.detect(images)


def detect(model, images):
    """Finds targets in up to eight images by the program for eight."""
    rest = ((0, 8 - len(images)), (0, 0), (0, 0))
    return jax.tree.map(lambda leaf: leaf[: len(images)], _detect(model, jnp.pad(images, rest)))


def answer_at(model, position, deviation, count, light=0.0):
    """Makes the head sure of one position and of a number of targets, for any image."""
    nodes, cell = model.nodes, 1 / model.inner.factor
    nearest = int(np.argmin(np.linalg.norm(nodes - position, axis=-1)))
    offset = np.arctanh((position - nodes[nearest]) / cell)
    outputs = np.full((len(nodes), OUTPUTS), 0.0, np.float32)
    outputs[:, 0], outputs[nearest, 0] = -50, 50
    outputs[nearest, 1:3] = offset
    outputs[nearest, 3:5] = math.log(deviation) + 2.5
    outputs[nearest, 6] = light
    bias = nnx.state(model)
    zero = jax.tree.map(jnp.zeros_like, bias)
    graph = nnx.graphdef(model)
    fixed = nnx.merge(graph, zero)
    fixed.offset.bias[...] = jnp.asarray(outputs.ravel())
    fixed.number.bias[...] = jnp.where(jnp.arange(5) == count - 1, 50.0, -50.0)
    return fixed


def test_it_reports_the_position_that_the_head_is_sure_of(small, scenes):
    images, _ = scenes
    position, deviation = np.array([0.21, -0.37]), 0.04
    found = detect(answer_at(small, position, deviation, count=1, light=1.5), images)
    view = look_through(images, small.sensor, small.window)
    assert found.count.tolist() == [1] * 8
    inward = view.inward(found.position)[:, 0]
    np.testing.assert_allclose(inward, np.tile(position, (8, 1)), atol=0.01)
    np.testing.assert_allclose(found.intensity[:, 0], 235 + 1.5 * 30 / math.sqrt(12), rtol=1e-4)
    within = 1 - np.exp(-(np.array([0.05, 0.1, 0.15]) ** 2) / (2 * deviation**2))
    np.testing.assert_allclose(found.hit_probability[:, 0, :3], np.tile(within, (8, 1)), atol=0.1)
    np.testing.assert_allclose(
        found.covariance[:, 0], np.tile(deviation**2 * np.eye(2), (8, 1, 1)), atol=2e-4
    )
    np.testing.assert_allclose(found.score, found.hit_probability.mean(-1), rtol=1e-6)


def test_the_loss_is_the_likelihood_of_the_true_targets(small, scenes):
    images, _ = scenes
    model = answer_at(small, np.array([0.21, -0.37]), 0.04, count=1, light=0.0)
    view = look_through(images, small.sensor, small.window)
    at = view.outward(jnp.tile(jnp.array([0.23, -0.33]), (8, 1, 1)))
    truth = make_targets(at, jnp.full((8, 1), 235.0 + 30 / math.sqrt(12)))
    spread = 0.1 + math.log(2)
    squares = (0.02**2 + 0.04**2) / 0.04**2 + 1 / spread**2
    expected = squares / 2 + math.log(0.04**2 * spread) + 1.5 * math.log(2 * math.pi)
    assert float(loss(model, images, truth)) == pytest.approx(expected, abs=1e-3)
    two = answer_at(small, np.array([0.21, -0.37]), 0.04, count=2)
    assert float(loss(two, images, truth)) == pytest.approx(expected + 0.1 * 100, abs=1e-2)


def test_padding_and_empty_images_have_no_part_in_the_loss(small, scenes):
    images, truth = scenes
    moved = replace(truth, position=jnp.where(truth.mask[..., None], truth.position, jnp.nan))
    assert float(loss(small, images, moved)) == float(loss(small, images, truth))
    gradient = gradients(small, images, moved)
    assert all(np.isfinite(leaf).all() for leaf in jax.tree.leaves(gradient))
    empty = replace(truth, mask=jnp.zeros_like(truth.mask))
    assert np.isfinite(loss(small, jnp.zeros_like(images), empty))


def test_all_poses_of_an_image_have_one_answer(small):
    image, _ = simulate(jax.random.key(3), 1)
    turned = jnp.stack([image[0], image[0][::-1], image[0][:, ::-1], image[0].T])
    # The grid model sees each pose as it is; only one that follows the pose gives one answer.
    model = answer_at(small, np.array([0.1, 0.3]), 0.05, count=1)
    found = detect(model, turned)
    row, column = found.position[0, 0]
    expected = [[row, column], [10 - row, column], [row, 10 - column], [column, row]]
    np.testing.assert_allclose(found.position[:, 0], expected, atol=1e-4)


def test_an_image_without_light_has_no_targets(small):
    found = detect(small, jnp.zeros((2, 11, 11)))
    assert found.count.tolist() == [0, 0]
    np.testing.assert_array_equal(found.count_probability, [1, 1])
    assert not np.asarray(found.position).any()


def test_each_image_is_answered_on_its_own(small, scenes):
    images, _ = scenes
    together = detect(small, images)
    alone = detect(small, images[3:4])
    np.testing.assert_allclose(alone.position[0], together.position[3], atol=1e-4)
    np.testing.assert_allclose(alone.score[0], together.score[3], atol=1e-4)


def test_gradients_reach_grid_model_and_head(small, scenes):
    for name, gradient in named_leaves(gradients(small, *scenes)).items():
        assert jnp.isfinite(gradient).all(), name
        # A first bias that every pixel of a ReLU's input keeps negative may learn nothing.
        assert jnp.abs(gradient).max() > 0, name


def test_a_short_training_moves_targets_off_the_grid():
    model = create("espcn", rngs=nnx.Rngs(0), window=5, head="offset", head_width=64)
    graph, state = nnx.split(model)
    optimizer = optax.adam(2e-3)
    prior = ScenePrior(max_targets=1)

    @jax.jit
    def step(state, optimizer_state, key):
        images, truth = simulate(key, 64, Sensor(), prior)
        gradients = jax.grad(lambda state: nnx.merge(graph, state).loss(images, truth))(state)
        updates, optimizer_state = optimizer.update(gradients, optimizer_state)
        return optax.apply_updates(state, updates), optimizer_state

    optimizer_state = optimizer.init(state)
    for number in range(200):
        state, optimizer_state = step(state, optimizer_state, jax.random.key(number))
    images, truth = simulate(jax.random.key(1000), 200, Sensor(), prior)
    found = nnx.merge(graph, state).detect(images)
    assert np.mean(found.count == 1) > 0.98
    error = np.linalg.norm(found.position[:, 0] - truth.position[:, 0], axis=-1)
    # The nearest node of the grid is 0.13 px away on average.
    assert np.median(error) < 0.06


@pytest.mark.parametrize("factor", [3, 5])
def test_nodes_cover_the_reach(factor):
    model = create("espcn", rngs=nnx.Rngs(0), factor=factor, **SMALL)
    steps = math.ceil(0.6 * factor)
    assert len(model.nodes) == (2 * steps + 1) ** 2
    assert model.nodes.max() == pytest.approx(steps / factor)
    assert model.nodes.max() >= 0.6


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"head": "ofset"}, "unknown head 'ofset': did you mean 'offset'"),
        ({"head": "offset", "head_with": 3}, "did you mean 'head_width'"),
        ({"head": "offset", "head_width": "3"}, "option head_width must be of type int"),
        ({"head": "offset", "head_width": 0}, "head_width must be"),
        ({"head": "offset", "head_window": 4}, "head_window must be odd"),
        ({"head": "offset", "label_blur": 0.05}, "leave out label_blur"),
        ({"head_width": 3}, "option head_width is for a head, and the model has none"),
    ],
)
def test_wrong_options_are_named(options, message):
    with pytest.raises(DistaxError, match=message):
        create("espcn", rngs=nnx.Rngs(0), **options)


def test_priors_beyond_the_head_are_refused(small):
    with pytest.raises(DistaxError, match="head_max_targets 6"):
        small.check_prior(ScenePrior(max_targets=6))
    with pytest.raises(DistaxError, match=r"reach 0\.6 px"):
        small.check_prior(ScenePrior(cluster=2.0))
    small.check_prior(ScenePrior())


def test_a_head_of_ones_own_is_known_by_its_name():
    @register_head("same_count")
    class SameCount(GuidedOffsets):
        def __init__(self, inner: GridModel, *, width: int = 16, rngs: nnx.Rngs):
            super().__init__(inner, width=width, blocks=1, rngs=rngs)

    model = create("espcn", rngs=nnx.Rngs(0), head="same_count", head_width=8)
    assert isinstance(model, SameCount)
    assert model.embed.out_features == 8
    with pytest.raises(DistaxError, match="a head named 'offset' is already registered"):
        register_head("offset")(SameCount)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"head_window": 25}, "head_window must be at most 23 for images of 11×11, got 25"),
        ({"head_reach": 1e6}, "head_reach must be at most 5.5 for images of 11×11, got 1e"),
        ({"head_max_targets": 10**8}, "head_max_targets must be at most 121 for images"),
    ],
)
def test_sizes_beyond_the_image_are_refused(options, message):
    with pytest.raises(DistaxError, match=message):
        create("espcn", head="offset", rngs=nnx.Rngs(0), **options)


def test_a_prior_of_other_intensities_names_the_options_for_it(small):
    with pytest.raises(DistaxError, match=r"head_mean_intensity 7000 head_intensity_spread 1\.15e"):
        small.check_prior(ScenePrior(min_intensity=5000, max_intensity=9000))
    small.check_prior(ScenePrior(min_intensity=150, max_intensity=350))


def test_the_spread_of_bright_targets_is_theirs(small):
    image, _ = simulate(jax.random.key(3), 1)
    faint = answer_at(small, np.array([0.1, 0.3]), 0.05, count=1)
    bright = nnx.clone(faint)
    bias = bright.offset.bias[...].reshape(-1, OUTPUTS).at[:, 6].add(5000.0)
    bright.offset.bias[...] = bias.reshape(-1)
    spread = [detect(model, image).intensity_std[0, 0] for model in (faint, bright)]
    np.testing.assert_allclose(spread[1], spread[0], rtol=1e-3)
