import json
from dataclasses import replace

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from distax import DistaxError, Sensor, make_targets
from distax.evaluation import Evaluation, assess, devices
from distax.imaging.scenes import ScenePrior, sample
from distax.imaging.targets import CREDIBLE_LEVELS
from distax.metrics import (
    RADII,
    DetectionSums,
    assign,
    cramer_rao,
    cso_map,
    gospa,
    pair_within,
)

LAW = ScenePrior()
IMAGES = 80
KEYS = ["0.05", "0.10", "0.15", "0.20", "0.25"]

exact_map, assigned = jax.jit(cso_map), jax.jit(assign)
bound = jax.jit(cramer_rao, static_argnums=(1, 2))


@jax.jit
def rates_of(found, truth, valid):
    return DetectionSums.of(found, truth, pair_within(found, truth, jnp.array(RADII)), valid)


@pytest.fixture(scope="module")
def truth():
    return sample(jax.random.key(0), IMAGES)


@pytest.fixture(scope="module")
def found(truth):
    """The true targets displaced and some removed, with scores and regions that know the spread."""
    rng = np.random.default_rng(0)
    spread = rng.uniform(0.01, 0.15, truth.mask.shape)
    errors = spread[..., None] * rng.normal(size=truth.position.shape)
    shares = -np.expm1(-((np.array(RADII) / spread[..., None]) ** 2) / 2)
    return replace(
        truth,
        position=truth.position + jnp.float32(errors),
        mask=truth.mask & jnp.asarray(rng.random(truth.mask.shape) < 0.9),
        score=jnp.float32(shares.mean(axis=-1)),
        hit_probability=jnp.float32(shares),
        credible_radius=jnp.float32(
            spread[..., None] * np.sqrt(-2 * np.log1p(-np.array(CREDIBLE_LEVELS)))
        ),
    )


@pytest.fixture(scope="module")
def result(found, truth):
    return assess(found, truth, Sensor(), LAW)


def test_both_rankings_are_those_of_the_metric(result, found, truth):
    by_score, by_intensity = (
        exact_map(replace(found, score=score), truth) for score in (found.score, found.intensity)
    )
    assert list(result.ap) == list(result.ap_by_score) == KEYS
    np.testing.assert_allclose(list(result.ap.values()), by_intensity.ap, atol=1e-4)
    np.testing.assert_allclose(list(result.ap_by_score.values()), by_score.ap, atol=1e-4)
    assert result.cso_map == pytest.approx(float(by_intensity.mean), abs=1e-4)
    assert result.cso_map_by_score == pytest.approx(float(by_score.mean), abs=1e-4)
    assert result.cso_map_by_score > result.cso_map + 0.02


def select(targets, chosen):
    return jax.tree.map(lambda leaf: leaf[np.asarray(chosen)], targets)


@pytest.mark.parametrize("count", [None, 1, 5])
def test_positions_counts_and_regions_of_a_group_are_those_of_its_images(
    result, found, truth, count
):
    group = result.to_dict() if count is None else result.by_count[str(count)]
    chosen = np.full(IMAGES, True) if count is None else np.asarray(truth.count) == count
    some, true = (replace(a, mask=a.mask & chosen[:, None]) for a in (found, truth))
    distance, mask = np.asarray(assigned(some, true).distance), np.asarray(some.mask)
    targets = int(true.mask.sum())

    assert group["images"] == chosen.sum()
    right = np.asarray(found.count == truth.count)[chosen]
    assert group["count_accuracy"] == pytest.approx(np.mean(right))
    squares = distance[np.isfinite(distance)] ** 2
    assert group["rmse"] == pytest.approx(np.sqrt(np.mean(squares)), rel=1e-5)
    for radius, key in zip(RADII, KEYS, strict=True):
        share = np.sum(distance <= np.float32(radius)) / targets
        assert group["within"][key] == pytest.approx(share)
    for level, key in enumerate(["0.50", "0.90", "0.95"]):
        inside = distance <= np.asarray(found.credible_radius)[..., level]
        assert group["coverage"][key] == pytest.approx(np.mean(inside[mask]))
    variance = np.einsum("nkaa->", bound(true, Sensor(), LAW)) / targets
    assert group["bound"] == pytest.approx(np.sqrt(variance), rel=1e-3)
    score = float(exact_map(some, true).mean)
    assert group["cso_map_by_score"] == pytest.approx(score, abs=1e-4)


@pytest.mark.parametrize("count", [None, 2])
def test_rates_and_distances_of_a_group_are_those_of_its_images(result, found, truth, count):
    group = result.to_dict() if count is None else result.by_count[str(count)]
    chosen = np.full(IMAGES, True) if count is None else np.asarray(truth.count) == count
    sums = rates_of(found, truth, jnp.asarray(chosen))
    assert list(group["rates"]) == KEYS
    for name, values in sums.scores().items():
        for key, value in zip(KEYS, values, strict=True):
            assert group["rates"][key][name] == pytest.approx(float(value), rel=1e-5), name
    distance = np.asarray(gospa(found, truth).distance)[chosen]
    assert group["gospa"] == pytest.approx(distance.mean(), rel=1e-5)


def leaves(tree, place=()):
    """Yields the numbers of nested dictionaries with their places."""
    for name, leaf in tree.items():
        if isinstance(leaf, dict):
            yield from leaves(leaf, (*place, name))
        elif leaf is not None and name not in ("images", "reliability"):
            yield (*place, name), leaf


def test_every_score_has_an_interval_around_it(result):
    scores = dict(leaves(result.to_dict() | {"intervals": None, "reliability": None}))
    ends = dict(leaves(result.intervals | {"reliability": None}))
    assert scores.keys() == ends.keys()
    for place, (low, high) in ends.items():
        assert low - 1e-6 <= scores[place] <= high + 1e-6, place
        assert low < high or place[0] == "by_count" or scores[place] == 0, place
    assert list(result.intervals["reliability"]) == KEYS


def test_intervals_are_those_of_draws_of_images(result, found, truth):
    """Each of the 80 images is a group: draws of groups are draws of images."""
    rng = np.random.default_rng(5)
    right = np.asarray(found.count == truth.count)
    drawn = rng.integers(0, IMAGES, (400, IMAGES))
    low, high = np.quantile(right[drawn].mean(axis=1), [0.025, 0.975])
    assert result.intervals["count_accuracy"] == pytest.approx([low, high], abs=0.02)
    scores = [
        float(exact_map(*(select(targets, some) for targets in (found, truth))).mean)
        for some in drawn
    ]
    low, high = np.quantile(scores, [0.025, 0.975])
    width = high - low
    assert result.intervals["cso_map_by_score"] == pytest.approx([low, high], abs=0.15 * width)


def test_one_image_has_no_interval(found, truth):
    assert assess(*(select(targets, [0]) for targets in (found, truth))).intervals is None


def test_probabilities_come_true_at_every_radius(result, found):
    assert list(result.reliability) == KEYS
    for index, curve in enumerate(result.reliability.values()):
        assert sum(curve["detections"]) == int(found.mask.sum())
        stated = np.dot(curve["detections"], curve["reported"]) / int(found.mask.sum())
        probability = np.asarray(found.hit_probability)[np.asarray(found.mask)][:, index]
        assert stated == pytest.approx(float(probability.mean()), rel=1e-5)
        assert np.average(curve["realised"], weights=curve["detections"]) == pytest.approx(
            stated, abs=0.12
        )


def test_groups_make_up_the_whole(result):
    assert list(result.by_count) == ["1", "2", "3", "4", "5"]
    assert sum(group["images"] for group in result.by_count.values()) == result.images == IMAGES


def test_how_many_are_summed_at_once_changes_nothing(result, found, truth, monkeypatch):
    monkeypatch.setattr(devices, "IMAGES_A_CALL", 30)
    assert assess(found, truth, Sensor(), LAW) == result


def test_it_comes_back_from_json(result):
    assert Evaluation(**json.loads(json.dumps(result.to_dict(), allow_nan=False))) == result


def nothing(targets):
    return make_targets(targets.position, targets.intensity, jnp.zeros_like(targets.mask))


def test_finding_nothing(truth):
    result = assess(nothing(truth), truth)
    assert (result.cso_map, result.cso_map_by_score, result.count_accuracy) == (0.0, 0.0, 0.0)
    assert result.rmse is None
    assert set(result.within.values()) == {0.0}


def test_nothing_to_find(truth):
    result = assess(nothing(truth), nothing(truth))
    assert result.count_accuracy == 1.0
    assert result.rmse is result.bound is result.within is None
    assert list(result.by_count) == ["0"]


def test_without_noise_or_rounding_there_is_no_bound(truth):
    assert assess(truth, truth, Sensor(bit_depth=None)).bound is None


def test_a_bound_that_is_infinite_is_left_out(truth):
    outside = replace(truth, position=truth.position + 100.0)
    result = assess(outside, outside)
    assert result.bound is None
    assert result.rmse == 0.0


def test_answers_for_other_images_are_refused(found, truth):
    with pytest.raises(DistaxError, match="80 answers cannot be compared with 79 images"):
        assess(found, select(truth, np.arange(IMAGES) < 79))


def test_no_images_is_an_error(found, truth):
    none = np.zeros(IMAGES, bool)
    with pytest.raises(DistaxError, match="no images to evaluate"):
        assess(select(found, none), select(truth, none))


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"position": np.zeros((4, 3, 1))}, r"truth: position has shape \(4, 3, 1\), which"),
        ({"position": np.zeros((4, 3, 3))}, r"it must be \(4, 3, 2\)"),
        ({"intensity": np.zeros((4, 2))}, r"truth: intensity has shape \(4, 2\)"),
        ({"position": np.full((4, 3, 2), np.nan)}, r"target in slot \(0, 0\) is not finite"),
    ],
)
def test_truth_that_does_not_fit_is_named(changed, message):
    shape = (4, 3)
    right = make_targets(np.zeros((*shape, 2)), np.ones(shape), np.ones(shape, bool))
    wrong = replace(right)
    # The tests refuse such arrays when targets are made, which a user's process does not.
    for name, value in changed.items():
        object.__setattr__(wrong, name, value)
    with pytest.raises(DistaxError, match=message):
        assess(right, wrong)
