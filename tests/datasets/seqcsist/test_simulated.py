"""The simulated sequences: those of the simulator, the same bytes every time."""

import jax
import numpy as np
import pytest

import distax
from distax.datasets import seqcsist
from distax.datasets.seqcsist import SimulatedConfig
from distax.imaging.motion import SEQCSIST, simulate

NAME = "simulated_seed3_103_2_2"  # the training split spans two batches


@pytest.fixture(scope="module")
def data_dir(tmp_path_factory):
    folder = tmp_path_factory.mktemp("sequences")
    seqcsist.build(NAME, folder)
    return folder


@pytest.fixture(scope="module")
def train(data_dir):
    return seqcsist.read_split(seqcsist.open_split(NAME, "train", data_dir))


def test_records_are_those_of_the_simulator(train):
    frames, targets = train
    key = jax.random.fold_in(jax.random.fold_in(jax.random.key(3), 0), 0)
    expected, truth = jax.device_get(simulate(key, 100, prior=SEQCSIST))
    assert frames.shape == (103, 20, 11, 11)
    assert (frames.dtype, targets.position.dtype) == (np.float32, np.float32)
    np.testing.assert_array_equal(frames[:100], expected)
    for name in ("position", "intensity", "mask", "score"):
        found = getattr(targets, name)[:100]
        np.testing.assert_array_equal(found[:, :, :4], getattr(truth, name))
        assert not found[:, :, 4].any()


def test_sequences_have_two_to_four_targets_that_stay(train):
    counts = train[1].count
    assert set(np.unique(counts).tolist()) == {2, 3, 4}
    assert (counts == counts[:, :1]).all()


def test_splits_and_batches_differ(train, data_dir):
    other = seqcsist.read_split(seqcsist.open_split(NAME, "test", data_dir))
    assert len(other[0]) == 2
    for frames in (other[0], train[0][100:102]):
        assert (np.abs(frames - train[0][:2]).max(axis=(1, 2, 3)) > 0).all()


def test_a_record_depends_on_its_index_alone_not_on_the_sizes(train, tmp_path):
    config = SimulatedConfig(seed=3, train=2, validation=1, test=1)
    seqcsist.build(config, tmp_path)
    source = seqcsist.open_split(config, "train", tmp_path)
    frames, targets = seqcsist.record_to_example(source[1])
    np.testing.assert_array_equal(frames, train[0][1])
    np.testing.assert_array_equal(targets.position, train[1].position[1])
    np.testing.assert_array_equal(targets.mask, train[1].mask[1])


def test_same_bytes_in_another_folder(data_dir, tmp_path):
    seqcsist.build(NAME, tmp_path)
    files = sorted(path.relative_to(tmp_path) for path in tmp_path.rglob("*.array_record*"))
    assert len(files) == 3
    for file in files:
        assert (tmp_path / file).read_bytes() == (data_dir / file).read_bytes()


def test_sizes_are_those_published():
    config = SimulatedConfig()
    assert config.name == "simulated"
    assert [size * SEQCSIST.frames for size in config.sizes.values()] == [
        70_000,
        15_000,
        15_000,
    ]
    again = seqcsist.get_config(NAME)
    assert (again.seed, again.sizes) == (3, {"train": 103, "validation": 2, "test": 2})
    assert again.name == NAME


def test_unknown_name():
    with pytest.raises(distax.DistaxError, match=r"unknown SeqCSIST .* did you mean 'simulated'"):
        seqcsist.get_config("simulatd")


def test_not_built(tmp_path):
    with pytest.raises(distax.DistaxError, match="`distax build-dataset seqcsist/simulated --data"):
        seqcsist.open_split("simulated", "train", tmp_path)
