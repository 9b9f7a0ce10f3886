from dataclasses import replace
from functools import partial

import hypothesis
import hypothesis.extra.numpy as hnp
import hypothesis.strategies as st
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from distax import DistaxError, Targets, decode, make_targets
from distax.metrics import RADII, CsoSums, cso_map
from distax.metrics.sequence_rates import RateSums

# Positions on a lattice of 1/8 px: distances that equal a radius or each other do so exactly.
LATTICE_RADII = (0.125, 0.25, 0.625)
IMAGES, FOUND, TRUE = 8, 4, 3

value = jax.jit(CsoSums.value)
sums_of = jax.jit(CsoSums.of, static_argnames="radii")
lattice_map = partial(cso_map, radii=LATTICE_RADII)
lattice_sums = partial(sums_of, radii=LATTICE_RADII)


def naive_ap(found, truth, radius):
    """Computes average precision by the published protocol, in plain Python and float64."""
    found, truth = (jax.tree.map(np.asarray, targets) for targets in (found, truth))
    detections = []  # (score, true positive) of all images
    for image in range(len(found.mask)):
        targets = truth.position[image][truth.mask[image]]
        taken = [False] * len(targets)
        slots = np.flatnonzero(found.mask[image])
        for slot in slots[np.argsort(-found.score[image, slots], kind="stable")]:
            distance = np.hypot(*(targets - found.position[image, slot]).T)
            nearest = int(np.argmin(distance)) if len(targets) else -1
            hit = bool(len(targets)) and distance[nearest] <= radius and not taken[nearest]
            if hit:
                taken[nearest] = True
            detections.append((float(found.score[image, slot]), hit))

    total = int(truth.mask.sum())
    recall, precision = [0.0], []
    for score in sorted({score for score, _ in detections}, reverse=True):
        above = [hit for other, hit in detections if other >= score]
        recall.append(sum(above) / max(total, 1))
        precision.append(sum(above) / len(above))
    return sum((recall[k + 1] - recall[k]) * max(precision[k:]) for k in range(len(precision)))


def naive_cso(found, truth, radii=LATTICE_RADII):
    return [naive_ap(found, truth, radius) for radius in radii]


def target_sets(slots):
    """Draws random targets, many of which share positions or scores, or are padding."""
    return st.builds(
        lambda position, score, mask: make_targets(
            jnp.float32(position / 8), jnp.float32(score), jnp.asarray(mask)
        ),
        hnp.arrays(np.int8, (IMAGES, slots, 2), elements=st.integers(0, 6)),
        hnp.arrays(np.int8, (IMAGES, slots), elements=st.integers(1, 9)),
        hnp.arrays(bool, (IMAGES, slots)),
    )


def random_pair(seed, images=IMAGES, found=FOUND, true=TRUE):
    """Draws detections near true targets with distinct scores; counts differ between images."""
    rng = np.random.default_rng(seed)
    score = 1 + rng.permutation(images * found).reshape(images, found)
    truth = rng.integers(0, 16, (images, true, 2)) / 8
    near = truth[:, rng.integers(0, true, found)] + rng.integers(-2, 3, (images, found, 2)) / 8

    def make(position, score):
        mask = rng.random(score.shape) < 0.8
        return make_targets(jnp.float32(position), jnp.float32(score), jnp.asarray(mask))

    return make(near, score), make(truth, np.full((images, true), 240))


@pytest.mark.parametrize("name", ["cso_map_c3", "cso_map_c5_empty_images"])
def test_agrees_with_the_published_implementation(name, reference, true_targets):
    arrays = reference(name)
    prediction, threshold = arrays["prediction"], float(arrays["brightness_threshold"])
    most = int(np.max(np.sum(prediction >= threshold, axis=(1, 2))))
    found = decode(jnp.asarray(prediction), threshold, max_targets=most)
    truth = true_targets(arrays)
    np.testing.assert_allclose(RADII, arrays["thresholds"])

    exact, binned = cso_map(found, truth), value(sums_of(found, truth))

    np.testing.assert_allclose(exact.ap, arrays["ap"], rtol=0, atol=1e-6)
    np.testing.assert_allclose(exact.mean, arrays["mean_ap"], rtol=0, atol=1e-6)
    np.testing.assert_allclose(binned.ap, arrays["ap"], rtol=0, atol=1e-4)
    np.testing.assert_allclose(binned.mean, arrays["mean_ap"], rtol=0, atol=1e-4)


@hypothesis.given(target_sets(FOUND), target_sets(TRUE))
def test_both_forms_agree_with_the_protocol_in_plain_python(found, truth):
    expected = naive_cso(found, truth)
    np.testing.assert_allclose(lattice_map(found, truth).ap, expected, atol=1e-6)
    np.testing.assert_allclose(value(lattice_sums(found, truth)).ap, expected, atol=1e-6)


@pytest.mark.parametrize("seed", range(5))
def test_agrees_with_the_protocol_where_scores_are_distinct(seed):
    found, truth = random_pair(seed)
    expected = naive_cso(found, truth)
    assert 0.01 < min(expected) < max(expected) < 0.98
    np.testing.assert_allclose(lattice_map(found, truth).ap, expected, atol=1e-6)
    np.testing.assert_allclose(value(lattice_sums(found, truth)).ap, expected, atol=1e-6)


def nothing(targets):
    return make_targets(targets.position, targets.intensity, jnp.zeros_like(targets.mask))


def test_perfect_empty_and_wrong_answers():
    _, truth = random_pair(0)
    apart = make_targets(
        jnp.broadcast_to(jnp.arange(TRUE)[:, None] * jnp.ones(2), truth.position.shape),
        truth.intensity,
        truth.mask,
    )
    elsewhere = make_targets(apart.position + 0.4, apart.intensity, apart.mask)
    for found, true, expected in [
        (apart, apart, 1.0),
        (elsewhere, apart, 0.0),
        (nothing(apart), apart, 0.0),
        (apart, nothing(apart), 0.0),
        (nothing(apart), nothing(apart), 0.0),
    ]:
        np.testing.assert_allclose(cso_map(found, true).ap, expected, atol=1e-6)
        np.testing.assert_allclose(value(sums_of(found, true)).ap, expected, atol=1e-6)


def test_precision_is_the_monotone_envelope_over_lower_scores():
    # Ranked: hit, miss, hit. Recall ½ at precision 1, recall 1 at precision ⅔.
    found = make_targets(
        jnp.array([[[0.0, 0.0], [5.0, 5.0], [1.0, 0.0]]]), jnp.array([[3.0, 2.0, 1.0]])
    )
    truth = make_targets(jnp.array([[[0.0, 0.0], [1.0, 0.0]]]), jnp.ones((1, 2)))
    np.testing.assert_allclose(cso_map(found, truth).ap, (1 + 2 / 3) / 2, rtol=1e-6)
    np.testing.assert_allclose(cso_map(found, truth).mean, (1 + 2 / 3) / 2, rtol=1e-6)


def take(targets: Targets, order) -> Targets:
    """Puts the slots of each image into another order."""
    return jax.tree.map(
        lambda a: jnp.take_along_axis(a, order.reshape(order.shape + (1,) * (a.ndim - 2)), axis=1),
        targets,
    )


def assert_same_value(pair, other):
    """Asserts equal results of both forms; sums are integers and agree exactly."""
    np.testing.assert_allclose(lattice_map(*other).ap, lattice_map(*pair).ap, rtol=1e-6)
    jax.tree.map(np.testing.assert_array_equal, lattice_sums(*other), lattice_sums(*pair))


@pytest.mark.parametrize("seed", range(3))
def test_the_order_of_images_does_not_matter(seed):
    pair = random_pair(seed)
    order = np.random.default_rng(seed).permutation(IMAGES)
    assert_same_value(pair, jax.tree.map(lambda a: a[order], pair))


@pytest.mark.parametrize("seed", range(3))
def test_the_order_of_slots_does_not_matter(seed):
    rng = np.random.default_rng(seed)
    found, truth = random_pair(seed)
    # Off the lattice, since two targets equally near are told apart by their order alone.
    moved = truth.position + jnp.float32(rng.random(truth.position.shape) / 64)
    pair = found, make_targets(moved, truth.intensity, truth.mask)

    def shuffled(targets):
        order = np.tile(np.arange(targets.mask.shape[1]), (IMAGES, 1))
        return take(targets, jnp.asarray(rng.permuted(order, axis=1)))

    assert_same_value(pair, tuple(map(shuffled, pair)))


@pytest.mark.parametrize("seed", range(3))
def test_padding_does_not_matter(seed):
    found, truth = random_pair(seed)

    def padded(targets):
        """Puts padding in front whose positions and scores would be perfect detections."""
        grown = jax.tree.map(lambda a, b: jnp.concatenate([b, a], axis=1), targets, truth)
        mask = grown.mask.at[:, :TRUE].set(False)
        return make_targets(grown.position, grown.intensity, mask, grown.score)

    assert_same_value((found, truth), (padded(found), padded(truth)))


def test_sums_over_batches_add_to_the_sums_over_all():
    pair = random_pair(3)
    parts = [jax.tree.map(lambda a, s=s: a[s], pair) for s in (slice(0, 2), slice(2, IMAGES))]
    merged = jax.tree.map(jnp.add, *(lattice_sums(*part) for part in parts))
    whole = lattice_sums(*pair)
    jax.tree.map(np.testing.assert_array_equal, merged, whole)
    assert int(whole.detections.sum()) == int(pair[0].count.sum()) > 0


def test_sums_over_eight_devices_add_to_the_sums_over_all():
    pair = random_pair(4, images=16)
    mesh = jax.sharding.Mesh(jax.devices(), ("data",))
    assert mesh.size == 8
    shard, whole = jax.sharding.PartitionSpec("data"), jax.sharding.PartitionSpec()

    def summed(found, truth):
        return jax.lax.psum(CsoSums.of(found, truth, LATTICE_RADII), "data")

    mapped = jax.shard_map(summed, mesh=mesh, in_specs=(shard, shard), out_specs=whole)
    jax.tree.map(np.testing.assert_array_equal, jax.jit(mapped)(*pair), lattice_sums(*pair))


def test_sums_under_automatic_partitioning_are_the_same():
    pair = random_pair(5, images=16)
    mesh = jax.sharding.Mesh(jax.devices(), ("data",))
    sharding = jax.sharding.NamedSharding(mesh, jax.sharding.PartitionSpec("data"))
    jax.tree.map(
        np.testing.assert_array_equal,
        lattice_sums(*jax.device_put(pair, sharding)),
        lattice_sums(*pair),
    )


def test_sums_are_the_same_eager_and_vmapped():
    pair = random_pair(6)
    whole = lattice_sums(*pair)
    jax.tree.map(np.testing.assert_array_equal, CsoSums.of(*pair, LATTICE_RADII), whole)
    each = jax.vmap(lambda f, t: CsoSums.of(f, t, LATTICE_RADII))(*pair)
    jax.tree.map(lambda a, b: np.testing.assert_array_equal(a.sum(axis=0), b), each, whole)


@pytest.mark.parametrize("scale", [2.0**-12, 1 / 250, 1.0, 8.0])
def test_bins_resolve_scores_of_any_scale(scale):
    """Scores 0.05% apart are never tied, for probabilities as well as for counts."""
    found, truth = random_pair(7)
    distinct = scale * 200 * 1.0005**found.score
    found = make_targets(found.position, found.intensity, found.mask, jnp.float32(distinct))
    np.testing.assert_allclose(
        value(lattice_sums(found, truth)).ap, naive_cso(found, truth), atol=1e-6
    )


def test_parts_have_the_sums_of_their_images():
    found, truth = random_pair(3)
    part = jnp.arange(len(truth.mask)) % 3 - 1
    parts = jax.jit(partial(CsoSums.by_part, parts=2))(found, truth, part)
    for number in range(2):
        own = jax.tree.map(lambda leaf, number=number: leaf[number], parts)
        expected = CsoSums.of(found, truth, valid=part == number)
        jax.tree.map(np.testing.assert_array_equal, own, expected)
        assert int(own.targets) > 0


def test_empty_bins_add_nothing_to_the_value():
    found, truth = random_pair(4)
    sums = CsoSums.of(found, truth)
    short = sums.without_empty_bins()
    assert short.detections.shape[-1] % 64 == 0
    assert short.detections.shape[-1] < sums.detections.shape[-1]
    assert int(short.detections.sum()) == int(found.mask.sum())
    np.testing.assert_allclose(short.value().ap, sums.value().ap, rtol=1e-6)
    nothing = CsoSums.of(replace(found, mask=jnp.zeros_like(found.mask)), truth)
    np.testing.assert_array_equal(nothing.without_empty_bins().value().ap, np.zeros(5))


@pytest.mark.parametrize("kind", [list, np.array, jnp.array])
def test_radii_may_be_any_sequence(kind, any_types):
    found = make_targets(jnp.array([[[5.0, 5.06]]]), jnp.array([[10.0]]))
    truth = make_targets(jnp.array([[[5.0, 5.0]]]), jnp.array([[10.0]]))
    assert cso_map(found, truth, kind([0.05, 0.1])).ap.tolist() == [0.0, 1.0]
    sums = CsoSums.of(found, truth, kind([0.05, 0.1]))
    assert sums.hits.sum(axis=-1).tolist() == [0, 1]


@pytest.mark.parametrize(
    ("radii", "message"),
    [
        ((), "radii must hold at least one matching radius"),
        ((0.1, -1.0), "radii must be greater than 0, got -1.0"),
        ((np.nan,), "radii must be a finite number greater than 0, got nan"),
        ("wide", "radii must be a finite number"),
    ],
)
@pytest.mark.parametrize("metric", [cso_map, CsoSums.of, RateSums.of])
def test_radii_that_match_nothing_are_refused(metric, radii, message, any_types):
    targets = make_targets(jnp.array([[[5.0, 5.0]]]), jnp.array([[10.0]]))
    with pytest.raises(DistaxError, match=message):
        metric(targets, targets, radii)
