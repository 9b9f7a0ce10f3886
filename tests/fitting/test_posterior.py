from dataclasses import replace
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from distax import Sensor, make_targets, render
from distax.fitting.estimators import Refine
from distax.fitting.patch import cut_rows, window_width
from distax.fitting.posterior import draw_scenes, posterior_rows
from distax.fitting.sampler import Effort
from distax.imaging.scenes import ScenePrior, simulate
from distax.metrics import CoverageSums, assign, cso_map

PRIOR = ScenePrior()


@pytest.fixture(scope="module")
def four():
    """36 images of four targets each, their targets, and their least-squares answers."""
    only_four = replace(PRIOR, min_targets=4, max_targets=4)
    images, truth = simulate(jax.random.key(12), 36, Sensor(), only_four)
    fitted = Refine()(np.asarray(images), Sensor(), PRIOR)
    assert (fitted.count == 4).all()
    return jax.tree.map(np.asarray, (images, truth, fitted))


def answers(images, fitted):
    return sampled(images, fitted, Sensor(), PRIOR, Effort())


def sampled(images, fitted, sensor, prior, effort):
    rows = cut_rows(images, sensor, window_width(sensor, prior.cluster))
    return posterior_rows(rows, fitted, sensor.psf, prior, effort, 0)


@pytest.fixture(scope="module")
def found(four):
    images, _, fitted = four
    return answers(images, fitted)


def test_the_posterior_scores_above_the_best_fit(four, found):
    _, truth, fitted = four
    best, fit = (float(cso_map(answer, truth).mean) for answer in (found, fitted))
    assert best > 0.9
    assert best > fit + 0.01


def test_credible_regions_are_calibrated(four, found):
    coverage = CoverageSums.of(found, assign(found, four[1])).coverage
    np.testing.assert_allclose(coverage, [0.5, 0.9, 0.95], atol=0.12)


def test_an_answer_does_not_depend_on_its_batch_or_place(four, found):
    images, _, fitted = jax.tree.map(lambda leaf: leaf[4::-1], four)
    jax.tree.map(
        lambda a, b: np.testing.assert_allclose(a[::-1], b[:5], rtol=1e-4, atol=1e-5),
        answers(images, fitted),
        found,
    )


def test_fields_that_are_not_sampled_come_from_the_fit(four, found):
    _, _, fitted = four
    for name in ("mask", "count_probability", "misfit", "trusted"):
        np.testing.assert_array_equal(getattr(found, name), getattr(fitted, name))
    assert not np.allclose(found.position[:, :4], fitted.position[:, :4])
    np.testing.assert_array_equal(found.score[:, 4:], 0)


def test_answers_without_targets_stay_unchanged(four):
    images, _, fitted = four
    empty = replace(fitted, mask=np.zeros_like(fitted.mask))
    jax.tree.map(np.testing.assert_array_equal, answers(images, empty), empty)


def test_a_large_misfit_widens_the_errors(four, found):
    images, _, fitted = jax.tree.map(lambda leaf: leaf[:8], four)
    doubted = answers(images, replace(fitted, misfit=np.full_like(fitted.misfit, 10.0)))
    spread = [np.median(answer.credible_radius[:8, :4, 1]) for answer in (doubted, found)]
    assert spread[0] > 1.5 * spread[1]


def test_if_the_prior_excludes_every_scene_the_fit_stays_and_is_not_trusted():
    # The two targets are much closer than the prior allows.
    sensor, prior = Sensor(), ScenePrior(min_targets=2, max_targets=2, separation=1.5)
    place = jnp.array([[[5.12, 4.9], [4.87, 5.05]]])
    target = make_targets(place, jnp.array([[238.0, 232.0]]))
    image = jnp.round(jnp.minimum(render(target, sensor), sensor.clip_level))
    fitted = Refine()(image, sensor, prior)
    found = sampled(image, fitted, sensor, prior, Effort(levels=2, moves=2))
    row = np.argsort(-found.position[0, :, 0])
    np.testing.assert_allclose(found.position[0, row], place[0], atol=0.03)
    assert fitted.trusted.all()
    assert not found.trusted.any()
    jax.tree.map(np.testing.assert_array_equal, replace(found, trusted=fitted.trusted), fitted)


def test_drawn_scenes_hold_the_truth_and_depend_on_their_image_alone():
    one = replace(PRIOR, max_targets=1)
    images, truth = jax.tree.map(np.asarray, simulate(jax.random.key(2), 9, Sensor(), one))
    draw = partial(draw_scenes, count=1, prior=one, effort=Effort(levels=2, moves=4))
    position, intensity = draw(images)
    assert position.shape == (9, 128, 1, 2)
    away = position.mean(axis=1) - truth.position
    assert (np.abs(away) < 5 * position.std(axis=1) + 1e-3).all()
    assert ((intensity >= 220) & (intensity <= 250)).all()
    # The devices, of which the tests have eight, draw what one device would draw.
    np.testing.assert_array_equal(draw(images[3:4])[0][0], position[3])
