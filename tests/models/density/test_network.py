import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from distax import DistaxError, Sensor, make_targets
from distax.imaging.scenes import simulate
from distax.models import create
from distax.models.density.view import look_through

SIZES = {"width": 16, "blocks": 1, "spacing": 0.1}


@pytest.fixture(scope="module")
def small():
    return create("density", rngs=nnx.Rngs(0), **SIZES)


@pytest.fixture(scope="module")
def detect(small):
    graph, state = nnx.split(small)
    return jax.jit(lambda images: nnx.merge(graph, state).detect(images))


@pytest.fixture(scope="module")
def scenes():
    return simulate(jax.random.key(1), 12)


def naive_loss(model, images, truth):
    """One target at a time: minus the log of the density's bilinear interpolant's weights."""
    view = look_through(images, model.sensor, model.window)
    place, number = (np.asarray(jax.nn.log_softmax(logits)) for logits in model(view.window))
    offset, total = np.asarray(view.inward(truth.position)), 0.0
    for image in range(len(images)):
        count, cross = int(truth.count[image]), 0.0
        grid = place[image].reshape(model.nodes.side, -1)
        for row, column in (offset[image] + model.nodes.reach) / model.nodes.spacing:
            i, j = int(np.floor(row)), int(np.floor(column))
            a, b = row - i, column - j
            if count > 0:
                cross -= (1 - a) * ((1 - b) * grid[i, j] + b * grid[i, j + 1])
                cross -= a * ((1 - b) * grid[i + 1, j] + b * grid[i + 1, j + 1])
            count -= 1
            if count == 0:
                break
        total += cross / int(truth.count[image]) - 0.1 * number[image, truth.count[image] - 1]
    return total / len(images)


def test_the_loss_is_the_cross_entropy_of_places_and_number(small, scenes):
    assert float(small.loss(*scenes)) == pytest.approx(naive_loss(small, *scenes), rel=1e-4)


def test_padding_of_the_truth_does_not_matter(small, scenes):
    images, truth = scenes
    rubbish = jnp.where(truth.mask[..., None], truth.position, 3.3)
    other = make_targets(rubbish, truth.intensity, truth.mask)
    assert float(small.loss(images, other)) == float(small.loss(images, truth))


def test_the_number_of_targets_is_the_likeliest(small, detect, scenes):
    images, _ = scenes
    _, number = small(look_through(images, small.sensor, small.window).window)
    found = detect(images)
    np.testing.assert_array_equal(found.count, jnp.argmax(number, axis=-1) + 1)
    np.testing.assert_allclose(
        found.count_probability, jnp.max(jax.nn.softmax(number), axis=-1), rtol=1e-5
    )


def test_answers_are_ranked_and_within_reach(detect, scenes):
    images, truth = scenes
    found = detect(images)
    assert np.all(np.diff(found.score, axis=1) <= 0)
    centre = np.mean(np.asarray(truth.position)[:, :1], axis=1)
    distance = np.abs(found.position - centre[:, None])[np.asarray(found.mask)]
    assert distance.max() < 2
    for field in (found.position, found.score, found.position_std, found.credible_radius):
        assert np.all(np.asarray(field)[~np.asarray(found.mask)] == 0)


def test_an_image_turned_or_mirrored_gives_the_answer_turned_or_mirrored(detect, scenes):
    images, _ = scenes
    found = detect(images)
    mirrored = detect(images[:, ::-1])
    downwards = jnp.where(found.mask, 10 - found.position[..., 0], 0)
    np.testing.assert_allclose(mirrored.position[..., 0], downwards, atol=1e-3)
    turned = detect(jnp.swapaxes(images, 1, 2))
    np.testing.assert_allclose(turned.position, found.position[..., ::-1], atol=1e-3)
    np.testing.assert_allclose(
        turned.covariance, found.covariance[..., ::-1, ::-1], rtol=1e-2, atol=1e-5
    )
    np.testing.assert_allclose(turned.score, found.score, atol=1e-3)


def test_images_of_a_batch_do_not_mix(detect, scenes):
    images, _ = scenes
    alone = detect(images.at[1:].set(0.0))
    np.testing.assert_allclose(alone.position[0], detect(images).position[0], atol=1e-4)


def test_a_dark_image_has_no_targets_and_a_spoilt_one_no_trust(detect, scenes):
    images, _ = scenes
    images = images.at[0].set(0.0).at[1, 4, 4].set(jnp.nan)
    found = detect(images)
    assert not found.mask[:2].any()
    assert float(found.count_probability[0]) == 1
    assert not found.trusted[1]
    np.testing.assert_array_equal(np.isfinite(found.position[2:]), True)


@pytest.mark.parametrize("option", ["width", "blocks", "window", "reach", "spacing", "max_targets"])
def test_sizes_must_be_positive(option):
    with pytest.raises(DistaxError, match=f"{option} must be greater than 0"):
        create(
            "density", rngs=nnx.Rngs(0), **{option: -1.0 if option in ("reach", "spacing") else -1}
        )


def test_an_even_window_has_no_middle():
    with pytest.raises(DistaxError, match="window must be odd, got 6"):
        create("density", window=6, rngs=nnx.Rngs(0))


def test_background_is_taken_off(scenes):
    images, _ = scenes
    plain, raised = (
        create("density", sensor=sensor, rngs=nnx.Rngs(0), **SIZES)
        for sensor in (
            Sensor(saturation=None, bit_depth=None),
            Sensor(saturation=None, bit_depth=None, background=30.0),
        )
    )
    np.testing.assert_allclose(
        raised.detect(images + 30).position, plain.detect(images).position, atol=1e-3
    )
