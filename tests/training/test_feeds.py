from dataclasses import replace

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from distax import DistaxError, Sensor, make_targets
from distax.imaging.scenes import ScenePrior, simulate
from distax.runtime.sharding import data_mesh, replicate, sharded
from distax.training.feeds import MemoryFeed, SimulatedFeed, StreamFeed, epoch_order

SIZE, BATCH = 13, 4


def take(feed, start, count, at_once=1):
    """Fetches `count` batches from step `start` on and splits them into single steps."""
    stop = start + count
    spans = [range(i, min(i + at_once, stop)) for i in range(start, stop, at_once)]
    return [
        jax.tree.map(lambda leaf, k=k: np.asarray(leaf[k]), batches)
        for span, batches in zip(spans, feed.batches(spans), strict=False)
        for k in range(len(span))
    ]


def assert_same(first, second):
    assert len(first) == len(second) > 0
    jax.tree.map(np.testing.assert_array_equal, first, second)


@pytest.fixture(scope="module")
def data():
    """Thirteen images whose pixels are the image's number, as is the target's position."""
    number = jnp.arange(SIZE, dtype=jnp.float32)
    images = jnp.broadcast_to(number[:, None, None], (SIZE, 11, 11))
    return images, make_targets(jnp.stack([number, -number], -1)[:, None], number[:, None])


@pytest.fixture(scope="module")
def make(data):
    """The three feeds for the first devices."""
    images, targets = jax.tree.map(np.asarray, data)
    records = [jax.tree.map(lambda leaf, i=i: leaf[i], (images, targets)) for i in range(SIZE)]
    key = jax.random.key(5)

    def feeds(devices):
        mesh = data_mesh(jax.devices()[:devices])
        replicated = jax.tree.map(lambda leaf: replicate(np.asarray(leaf), mesh), data)
        return {
            "simulated": SimulatedFeed(key, BATCH, Sensor(read_noise=2.0), ScenePrior(), mesh),
            "memory": MemoryFeed(*replicated, key, BATCH, mesh),
            "stream": StreamFeed(records, lambda record: record, key, BATCH, mesh),
        }

    return feeds


@pytest.fixture(scope="module")
def feeds(make):
    return make(1)


@pytest.mark.parametrize("name", ["simulated", "memory", "stream"])
@pytest.mark.parametrize("start", [1, 3, 7])
def test_a_feed_goes_on_from_any_step(feeds, name, start):
    # Three batches an epoch: the steps lie within, at the end of and beyond the first.
    assert_same(take(feeds[name], start, 3), take(feeds[name], 0, start + 3)[start:])


@pytest.mark.parametrize("name", ["simulated", "memory", "stream"])
@pytest.mark.parametrize(("devices", "at_once"), [(1, 5), (2, 1), (4, 3), (4, 8)])
def test_batches_do_not_depend_on_devices_nor_on_how_many_are_asked_for(
    feeds, make, name, devices, at_once
):
    # Three batches an epoch: some of these spans are longer than one.
    other = make(devices)[name]
    assert_same(take(other, 1, 9, at_once), take(feeds[name], 1, 9))
    images, targets = next(other.batches([range(2)]))
    for leaf in (images, *jax.tree.leaves(targets)):
        assert leaf.sharding.is_equivalent_to(sharded(other.mesh, axis=1), leaf.ndim)


def test_simulated_batches_are_scenes_of_the_step_s_key(feeds):
    feed = feeds["simulated"]
    for step, batch in enumerate(take(feed, 0, 2)):
        key = jax.random.fold_in(feed.key, step)
        assert_same([batch], [simulate(key, BATCH, feed.sensor, feed.prior)])


def test_memory_and_stream_give_the_same_batches(feeds):
    assert_same(take(feeds["memory"], 0, 8), take(feeds["stream"], 0, 8))


def test_an_epoch_visits_images_once_with_their_own_targets(feeds):
    batches = take(feeds["memory"], 0, 6)
    epochs = [np.concatenate([images[:, 0, 0] for images, _ in batches[k : k + 3]]) for k in (0, 3)]
    for epoch in epochs:
        assert len(set(epoch)) == 12
    assert list(epochs[0]) != list(epochs[1])
    for images, targets in batches:
        np.testing.assert_array_equal(images[:, 0, 0], targets.intensity[:, 0])
        np.testing.assert_array_equal(images[:, 0, 0], targets.position[:, 0, 0])


def test_orders_are_permutations_that_depend_on_key_and_epoch():
    orders = [epoch_order(jax.random.key(k), e, 50) for k, e in ((0, 0), (0, 1), (1, 0))]
    for order in orders:
        np.testing.assert_array_equal(np.sort(order), np.arange(50))
    assert len({tuple(map(int, order)) for order in orders}) == 3


def test_simulated_batches_differ_and_follow_the_key(feeds):
    (first, _), (second, _) = take(feeds["simulated"], 0, 2)
    assert not np.array_equal(first, second)
    other = replace(feeds["simulated"], key=jax.random.key(6))
    assert not np.array_equal(first, take(other, 0, 1)[0][0])


@pytest.mark.parametrize("name", ["memory", "stream"])
def test_a_batch_larger_than_the_dataset_is_an_error(feeds, name):
    with pytest.raises(DistaxError, match=r"a batch of 14 needs at least as many .* has 13"):
        replace(feeds[name], batch_size=14)
