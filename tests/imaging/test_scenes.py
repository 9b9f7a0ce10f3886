from dataclasses import replace
from itertools import combinations

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import stats

from distax import DistaxError, Sensor, expose, render
from distax.imaging import motion
from distax.imaging.scenes import ScenePrior, sample, scene_keys, simulate
from distax.runtime.numerics import threefry

PRIOR = ScenePrior()
SCENES = 20_000
# Far below any p-value seen by chance; a wrong prior gives p-values hundreds of orders lower.
UNLIKELY = 1e-4


@pytest.fixture(scope="module")
def scenes():
    return jax.tree.map(np.asarray, sample(jax.random.key(0), SCENES))


def pair_distances(position, mask):
    """Computes the distances of all pairs of real targets of all scenes, in float64."""
    distances = []
    for i, j in combinations(range(mask.shape[1]), 2):
        both = mask[:, i] & mask[:, j]
        difference = position[both, i].astype(float) - position[both, j]
        distances.append(np.hypot(*difference.T))
    return np.concatenate(distances)


def hosts(position):
    """Returns the pixel that each position lies in."""
    return np.floor(position + 0.5).astype(int)


def test_no_two_targets_are_closer_than_the_minimum_distance(scenes):
    distances = pair_distances(scenes.position, scenes.mask)
    assert len(distances) > SCENES
    assert pytest.approx(0.3172) == PRIOR.min_distance
    assert distances.min() >= PRIOR.min_distance - 1e-6
    assert distances.min() < PRIOR.min_distance + 1e-3  # the bound is reached, not overdone


def test_a_scene_lies_in_one_host_pixel(scenes):
    real = scenes.mask[..., None]
    mean = np.sum(scenes.position * real, axis=1) / np.sum(real, axis=1)
    # A coordinate may lie on the pixel's very edge.
    offset = np.abs(scenes.position - hosts(mean)[:, None]) * real
    assert np.all(scenes.mask[:, 0])
    assert offset.max() <= 0.5 + 1e-6


def test_the_host_is_uniform_over_the_pixels_off_the_border(scenes):
    row, column = hosts(scenes.position[:, 0]).T
    assert (row.min(), row.max(), column.min(), column.max()) == (1, 9, 1, 9)
    tally = np.bincount(9 * (row - 1) + column - 1, minlength=81)
    assert stats.chisquare(tally).pvalue > UNLIKELY


def test_counts_are_uniform_over_one_to_five(scenes):
    tally = np.bincount(scenes.mask.sum(axis=1), minlength=6)
    assert tally[0] == 0
    assert stats.chisquare(tally[1:]).pvalue > UNLIKELY


def test_counts_do_not_depend_on_the_host(scenes):
    table, count = np.zeros((9, 5)), scenes.mask.sum(axis=1)
    np.add.at(table, (hosts(scenes.position[:, 0])[:, 0] - 1, count - 1), 1)
    assert stats.chi2_contingency(table).pvalue > UNLIKELY


def test_intensities_are_uniform_between_their_bounds(scenes):
    intensity = scenes.intensity[scenes.mask]
    assert intensity.min() >= 220
    assert intensity.max() <= 250
    assert stats.kstest(intensity, stats.uniform(220, 30).cdf).pvalue > UNLIKELY


def test_padding_is_zero_and_follows_the_targets(scenes):
    np.testing.assert_array_equal(scenes.mask, np.sort(scenes.mask, axis=1)[:, ::-1])
    assert not scenes.position[~scenes.mask].any()
    assert not scenes.intensity[~scenes.mask].any()
    np.testing.assert_array_equal(scenes.score, scenes.intensity)


def naive_offsets(rng, count, scenes):
    """Draws offsets from the host by naive rejection: keeps all targets of a scene or none."""
    kept = np.zeros((0, count, 2))
    while len(kept) < scenes:
        offset = rng.uniform(-0.5, 0.5, (20_000, count, 2))
        i, j = np.triu_indices(count, 1)
        distance = np.linalg.norm(offset[:, i] - offset[:, j], axis=-1)
        kept = np.concatenate([kept, offset[distance.min(axis=1) >= PRIOR.min_distance]])
    return kept[:scenes]


@pytest.mark.parametrize("count", [2, 5])
def test_arrangements_are_distributed_as_by_naive_rejection(scenes, count):
    position = scenes.position[scenes.mask.sum(axis=1) == count][:, :count]
    offset = position - hosts(position)
    naive = naive_offsets(np.random.default_rng(0), count, len(offset))

    def mean_distance(offset):
        i, j = np.triu_indices(count, 1)
        return np.linalg.norm(offset[:, i] - offset[:, j], axis=-1).mean(axis=1)

    # Target by target in the order drawn: placing them one after another would crowd the last
    # against the edges.
    statistics = [mean_distance, *(lambda o, k=k: np.abs(o[:, k]).max(1) for k in (0, count - 1))]
    for statistic in statistics:
        assert stats.ks_2samp(statistic(offset), statistic(naive)).pvalue > UNLIKELY


def test_a_scene_depends_on_the_key_and_its_index_alone(scenes):
    same, other = (sample(jax.random.key(k), 5) for k in (0, 1))
    jax.tree.map(lambda a, b: np.testing.assert_array_equal(a, b[:5]), same, scenes)
    assert not np.any(np.isclose(same.position[:, 0], other.position[:, 0]))
    assert len(np.unique(scenes.position[:1000, 0, 0])) > 990


def test_every_field_of_the_prior_is_respected():
    prior = ScenePrior(
        min_targets=2,
        max_targets=3,
        min_intensity=10.0,
        max_intensity=11.0,
        separation=1.0,
        rayleigh_unit=0.75,
        cluster=2.0,
        border=3,
    )
    scenes = jax.tree.map(np.asarray, sample(jax.random.key(1), 3000, prior, (9, 14)))
    position = scenes.position[scenes.mask]
    np.testing.assert_array_equal(np.unique(scenes.mask.sum(axis=1)), [2, 3])
    assert scenes.intensity[scenes.mask].min() >= 10
    assert scenes.intensity[scenes.mask].max() <= 11
    assert pair_distances(scenes.position, scenes.mask).min() >= 0.75 - 1e-6
    # Hosts are rows 3..5 and columns 3..10, and targets lie up to 1 px from the host's centre.
    np.testing.assert_allclose(position.min(axis=0), [2, 2], atol=0.05)
    np.testing.assert_allclose(position.max(axis=0), [6, 11], atol=0.05)
    first, spread = (
        scenes.position[:, :1],
        np.where(scenes.mask[..., None], scenes.position, np.nan),
    )
    assert 1.5 < np.nanmax(np.abs(spread - first)) <= 2.0


@pytest.mark.parametrize(
    "fields",
    [
        {"min_targets": 0},
        {"min_targets": 6},
        {"min_intensity": 0.0},
        {"min_intensity": 251.0},
        {"max_intensity": 219.0},
        {"separation": -0.1},
        {"separation": float("nan")},
        {"rayleigh_unit": 0.0},
        {"cluster": 0.0},
        {"border": -1},
        {"max_targets": 12},
        {"max_targets": 20, "separation": 0.28},  # not one proposal in a million is accepted
        {"separation": 1.5},
    ],
    ids=str,
)
def test_priors_that_cannot_be_drawn_are_refused(fields):
    with pytest.raises(DistaxError):
        replace(PRIOR, **fields)


def test_a_prior_whose_targets_do_not_fit_is_refused():
    with pytest.raises(DistaxError, match=r"5 targets at least 0\.915 px apart do not fit"):
        replace(PRIOR, separation=1.5)


def test_a_crowded_prior_of_equal_intensities_can_be_drawn():
    # 0.5% of the proposals are accepted.
    prior = replace(PRIOR, separation=0.65, min_targets=5, max_intensity=220.0)
    scenes = jax.tree.map(np.asarray, sample(jax.random.key(3), 8, prior))
    np.testing.assert_array_equal(scenes.mask, True)
    np.testing.assert_array_equal(scenes.intensity, 220.0)
    assert pair_distances(scenes.position, scenes.mask).min() >= 0.3965 - 1e-6


def test_simulate_delivers_frames_of_the_targets_it_returns():
    sensor = Sensor(bit_depth=None, read_noise=2.0)
    frames, targets = simulate(jax.random.key(4), 100, sensor)
    noise = np.asarray(frames - render(targets, sensor))
    free = np.asarray(frames) < 255
    np.testing.assert_allclose(noise[free].std(), 2.0, rtol=0.04)
    assert 0 < np.mean(~free) < 0.05
    assert np.abs(np.corrcoef(noise[0, 2:4].ravel(), noise[1, 2:4].ravel())[0, 1]) < 0.7


@pytest.mark.parametrize("kind", ["rbg", "unsafe_rbg"])
def test_keys_of_other_kinds_give_scenes_that_keep_the_prior(kind):
    images, targets = simulate(jax.random.key(0, impl=kind), 200, Sensor(gain=2.0), ScenePrior())
    assert set(np.unique(targets.count)) == {1, 2, 3, 4, 5}
    assert np.isfinite(images).all()
    assert len({tuple(np.asarray(row).ravel()) for row in targets.intensity}) == 200


def test_every_scene_is_the_first_of_its_draws_that_keeps_the_distance():
    scenes = sample(jax.random.key(5), 37)
    for index, key in enumerate(jax.random.split(threefry(jax.random.key(5)), 37)):
        mask, (_, host_key, place_key, _) = scenes.mask[index], jax.random.split(key, 4)
        host = jax.random.randint(host_key, (2,), 1, 10)
        closest = 0.0
        while closest < PRIOR.min_distance:
            place_key, draw_key = jax.random.split(place_key)
            places = host + jax.random.uniform(draw_key, (5, 2), minval=-0.5, maxval=0.5)
            closest = min(
                pair_distances(np.asarray(places)[None], np.asarray(mask)[None]), default=9
            )
        np.testing.assert_allclose(scenes.place[index], places * mask[:, None], atol=1e-6)


def test_zero_scenes_give_empty_arrays():
    images, targets = simulate(jax.random.key(0), 0)
    assert images.shape == (0, 11, 11)
    assert targets.position.shape == (0, 5, 2)


@pytest.mark.parametrize(
    ("count", "message"),
    [(-1, "count must not be negative, got -1"), (1.5, "count must be a whole number, got 1.5")],
)
def test_a_number_of_scenes_is_whole_and_not_negative(count, message, any_types):
    for draw in (sample, simulate):
        with pytest.raises(DistaxError, match=message):
            draw(jax.random.key(0), count)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"max_intensity": float("nan")}, "max_intensity must be a finite number"),
        ({"max_targets": 2.5}, "max_targets must be a whole number"),
        ({"separation": "wide"}, "separation must be a finite number"),
        ({"max_intensity": None}, "max_intensity must be a finite number, got None"),
        ({"cluster": (1.0, 2.0)}, r"cluster must be a finite number, got \(1.0, 2.0\)"),
        ({"max_targets": 0}, "max_targets must be greater than 0, got 0"),
        ({"min_targets": 6}, "max_targets lies below min_targets: 5 < 6; give both"),
        ({"min_intensity": 300}, "max_intensity lies below min_intensity: 250.0 < 300.0"),
    ],
)
def test_numbers_of_a_prior_are_finite_and_counts_whole(options, message):
    # Set afterwards, as the tests' type checker would let few of them through to the class.
    prior = ScenePrior()
    vars(prior).update(options)
    with pytest.raises(DistaxError, match=message):
        prior.__post_init__()


@pytest.mark.parametrize("key", [0, None, "seed", np.zeros((3, 2), np.uint32)])
def test_what_is_no_random_key_is_refused(key, any_types):
    frames = jnp.zeros((11, 11))
    for draw in (
        lambda: simulate(key, 2),
        lambda: sample(key, 2),
        lambda: scene_keys(key, 2),
        lambda: motion.simulate(key, 2),
        lambda: motion.sample(key, 2),
        lambda: expose(key, frames, Sensor()),
    ):
        with pytest.raises(DistaxError, match=r"key must be one random key, such as jax\.random"):
            draw()
