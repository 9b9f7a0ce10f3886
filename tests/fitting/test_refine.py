from dataclasses import replace

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from distax import Sensor, make_targets, render
from distax.fitting.estimators import Refine
from distax.imaging.scenes import ScenePrior, sample, simulate
from distax.imaging.targets import CREDIBLE_LEVELS
from distax.metrics import RADII, assign, cso_map

IDEAL = Sensor(saturation=None, bit_depth=None)
PRIOR = ScenePrior(max_targets=3)
SCENES = 24
refine_all = Refine()


@pytest.fixture(scope="module")
def truth():
    return sample(jax.random.key(3), SCENES, PRIOR)


@pytest.fixture(scope="module")
def images(truth):
    return np.asarray(render(truth, IDEAL))


def find(*stacks):
    """Refines stacks of `SCENES` ideal images, two at a time."""
    found = jax.tree.map(np.asarray, refine_all(jnp.concatenate(stacks), IDEAL, PRIOR))
    return [jax.tree.map(lambda leaf, i=i: leaf[SCENES * i :][:SCENES], found) for i in (0, 1)]


@pytest.fixture(scope="module")
def upright(images):
    """The answers to the images, and to the images transposed."""
    return find(images, images.transpose(0, 2, 1))


def mirrored(found, axis):
    position = found.position.copy()
    position[..., axis] = 10 - position[..., axis]
    return make_targets(*(jnp.asarray(a) for a in (position, found.intensity, found.mask)))


def assert_same_places(found, expected, tolerance):
    np.testing.assert_array_equal(found.count, expected.count)
    pairing = assign(found, expected)
    assert np.asarray(pairing.distance)[np.asarray(found.mask)].max() < tolerance


def test_the_targets_of_ideal_images_are_found(truth, upright):
    """The tolerance is the shift that the prior and half a count can cause."""
    found, _ = upright
    assert_same_places(found, truth, 0.04)
    distance = np.asarray(assign(found, truth).distance)
    single = np.asarray(truth.count) == 1
    assert single.any()
    assert distance[single, 0].max() < 1e-3
    stated = np.sqrt(np.sum(np.asarray(found.position_std) ** 2, axis=-1))
    assert (distance / stated)[found.mask].max() < 2.5
    assert (found.misfit < 1).all()
    assert found.trusted.all()
    assert (found.count_probability > 0.99).all()


def test_a_transposed_image_has_the_transposed_answer(upright):
    found, transposed = upright
    swapped = make_targets(
        jnp.asarray(found.position[..., ::-1]),
        jnp.asarray(found.intensity),
        jnp.asarray(found.mask),
    )
    assert_same_places(transposed, swapped, 1e-3)


def test_a_flipped_image_has_the_flipped_answer(images, upright):
    flips = find(images[:, ::-1], images[:, :, ::-1])
    for axis, flipped in enumerate(flips):
        assert_same_places(flipped, mirrored(upright[0], axis), 1e-3)


def test_an_answer_does_not_depend_on_its_batch(images, upright):
    rng = np.random.default_rng(0)
    noise = rng.uniform(0, 200, images.shape).astype(np.float32)
    found = find(noise, images[::-1])[1]
    jax.tree.map(
        lambda a, b: np.testing.assert_allclose(a[::-1], b, rtol=1e-5, atol=1e-6),
        found,
        upright[0],
    )


def test_pixels_that_are_nan_are_left_out(truth, images):
    """The other pixels locate the targets; a wrong value instead of NaN would not be trusted."""
    dead, wrong = np.array(images), np.array(images)
    peak = np.argmax(images.reshape(SCENES, -1), axis=1)
    row, column = np.divmod(peak, 11)
    beside = (np.arange(SCENES), row, np.maximum(column - 1, 0))
    dead[beside] = np.nan
    wrong[beside] += 60
    left_out, kept = find(dead, wrong)
    right = np.asarray(left_out.count) == np.asarray(truth.count)
    assert right.mean() > 0.9
    pairing = np.asarray(assign(left_out, truth).distance)
    assert np.median(pairing[np.asarray(left_out.mask)]) < 0.02
    # A pixel that reads wrong is noticed.
    assert not kept.trusted.any()


def test_an_empty_image_has_no_targets():
    empty = np.zeros((SCENES, 11, 11), np.float32)
    faint = empty + np.random.default_rng(0).uniform(0, 1, empty.shape).astype(np.float32)
    answers = find(empty, faint)
    for found in answers:
        assert not found.mask.any()
        np.testing.assert_array_equal(found.score, 0)
    assert answers[0].trusted.all()


@pytest.fixture(scope="module")
def blurred(simulated):
    """Answers to the simulated scenes with a sigma that is 10% larger or smaller."""
    targets = simulated[1]
    frames = [np.asarray(render(targets, Sensor(sigma=sigma))) for sigma in (0.55, 0.45)]
    stack = np.where((np.arange(200) % 2 == 0)[:, None, None], *frames)
    return refine_all(jnp.minimum(jnp.round(stack), 255.0), Sensor(), ScenePrior())


def test_a_wrong_sigma_is_not_trusted(blurred, refined, simulated):
    """Up to three targets cannot take up the difference. Four in a clipped pixel can."""
    few = np.asarray(simulated[1].count) <= 3
    assert np.mean(np.asarray(refined.trusted)) > 0.99
    assert not np.asarray(blurred.trusted)[few].any()
    assert np.mean(np.asarray(blurred.trusted)) < 0.05
    assert np.median(np.asarray(blurred.misfit)[few]) > 3


def test_errors_widen_with_the_misfit(blurred, refined):
    both = np.asarray(blurred.count == refined.count)
    first = [np.asarray(found.position_std)[both, 0].mean() for found in (blurred, refined)]
    assert first[0] > 2 * first[1]


def test_the_seeded_set_scores_as_it_should(simulated, refined):
    truth = simulated[1]
    score = cso_map(refined, truth)
    assert float(score.mean) >= 0.85
    assert float(score.ap[0]) >= 0.65
    # Its own score ranks better than the intensity does.
    by_flux = make_targets(refined.position, refined.intensity, refined.mask)
    assert float(score.mean) > float(cso_map(by_flux, truth).mean) + 0.03


def test_scores_rank_and_probabilities_are_in_order(refined):
    mask, score = np.asarray(refined.mask), np.asarray(refined.score)
    np.testing.assert_array_equal(mask, np.sort(mask, axis=1)[:, ::-1])
    assert (np.diff(score, axis=1) <= 0).all()
    for field in (score, refined.intensity_std, refined.hit_probability):
        np.testing.assert_array_equal(np.asarray(field)[~mask], 0)
    hit = np.asarray(refined.hit_probability)
    assert hit.shape[-1] == len(RADII)
    assert (np.diff(hit[mask], axis=-1) >= 0).all()
    np.testing.assert_allclose(score[mask], hit[mask].mean(axis=-1), rtol=1e-5)
    radius = np.asarray(refined.credible_radius)
    assert radius.shape[-1] == len(CREDIBLE_LEVELS)
    assert (np.diff(radius[mask], axis=-1) > 0).all()


def test_misfits_are_about_one_where_the_model_holds(refined):
    # A little below one: the fit takes up some of the rounding.
    np.testing.assert_allclose(np.median(refined.misfit), 0.9, atol=0.15)
    assert np.max(np.asarray(refined.misfit)) < 2


def test_stated_errors_agree_with_actual_errors_of_single_modes(simulated, refined):
    truth = simulated[1]
    distance = np.asarray(assign(refined, truth).distance)
    few = np.asarray(refined.mask) & (np.asarray(truth.count) <= 2)[:, None]
    stated = np.sqrt(np.sum(np.asarray(refined.position_std) ** 2, axis=-1))
    ratio = distance[few] / stated[few]
    np.testing.assert_allclose(np.sqrt(np.mean(ratio**2)), 1, atol=0.25)


def test_stated_errors_of_real_readings_agree_with_actual_errors():
    sensor = replace(IDEAL, read_noise=0.05)
    prior = ScenePrior(max_targets=1)
    images, truth = simulate(jax.random.key(3), 64, sensor, prior)
    found = refine_all(images, sensor, prior)
    surprise = (found.position - truth.position) / found.position_std
    np.testing.assert_allclose(np.sqrt(np.mean(surprise**2)), 1, atol=0.2)
    assert abs(np.median(found.misfit) - 1) < 0.1


def test_an_image_without_known_pixels_is_not_trusted():
    blind = np.full((2, 11, 11), np.nan, np.float32)
    blind[:, 10, 10] = 0
    target = make_targets(jnp.array([[5.0, 5.0]]), jnp.array([235.0]))
    blind[1, 4:7, 4:7] = render(target, IDEAL)[4:7, 4:7]
    found = refine_all(jnp.asarray(blind), IDEAL, ScenePrior(max_targets=1))
    np.testing.assert_array_equal(found.count, [0, 1])
    np.testing.assert_array_equal(found.trusted, [False, True])


def test_no_images_have_no_targets():
    found = refine_all(jnp.zeros((0, 11, 11)), IDEAL, ScenePrior(max_targets=1))
    assert found.position.shape == (0, 1, 2)
