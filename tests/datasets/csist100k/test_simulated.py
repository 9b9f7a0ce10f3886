"""The simulated images: recipe, prior and reproducible bytes."""

from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy.special import erf
from tensorflow_datasets.core.utils import file_utils

import distax
from distax.datasets import csist100k
from distax.datasets.csist100k import SimulatedConfig
from distax.runtime.locks import alone_in

SPLITS = ("train", "validation", "test")


@pytest.fixture(scope="module")
def splits(simulated_dir, simulated_name):
    """Images and targets of each split."""
    return {
        split: csist100k.read_split(csist100k.open_split(simulated_name, split, simulated_dir))
        for split in SPLITS
    }


def test_sizes(splits):
    assert [len(splits[split][0]) for split in SPLITS] == [1040, 30, 20]


def test_same_bytes_in_another_folder(simulated_dir, simulated_name, tmp_path):
    csist100k.build(simulated_name, tmp_path)
    files = sorted(path.relative_to(tmp_path) for path in tmp_path.rglob("*.array_record*"))
    assert len(files) == 3
    for file in files:
        assert (tmp_path / file).read_bytes() == (simulated_dir / file).read_bytes()


def test_a_record_depends_on_its_index_alone_not_on_the_sizes(splits, tmp_path):
    config = SimulatedConfig(seed=3, train=1010, validation=7, test=21)
    csist100k.build(config, tmp_path)
    for split in SPLITS:
        images, targets = csist100k.read_split(csist100k.open_split(config, split, tmp_path))
        size = min(len(images), len(splits[split][0]))
        np.testing.assert_array_equal(images[:size], splits[split][0][:size])
        np.testing.assert_array_equal(targets.position[:size], splits[split][1].position[:size])


def test_seed_split_and_batch_change_every_scene(splits, tmp_path):
    csist100k.build("simulated_seed4_20_1_1", tmp_path)
    source = csist100k.open_split("simulated_seed4_20_1_1", "train", tmp_path)
    _, other = csist100k.read_split(source)
    first = splits["train"][1].position[:20, 0]
    for position in (
        other.position[:, 0],
        splits["validation"][1].position[:20, 0],
        splits["test"][1].position[:, 0],
        splits["train"][1].position[1000:1020, 0],
    ):
        assert (np.abs(position - first).max(axis=-1) > 0).all()


def test_images_are_those_of_the_sensor(splits):
    """Another compilation may change the last bit, and so the rounding of a rare pixel."""
    images, targets = splits["train"]
    sensor = distax.Sensor()
    frames = distax.expose(
        jax.random.key(0), distax.render(jax.tree.map(jnp.asarray, targets), sensor), sensor
    )
    difference = np.abs(images - np.asarray(frames))
    assert difference.max() <= 1
    assert difference.sum() <= 5


def test_images_follow_the_imaging_equation(splits):
    """Computed in double precision from the equation; a pixel may round either way."""
    images, targets = splits["validation"]
    edges = np.arange(12) - 0.5
    position = targets.position.astype(np.float64)
    response = np.diff(erf((edges - position[..., None]) / (np.sqrt(2) * 0.5))) / 2
    ideal = np.einsum("nk,nki,nkj->nij", targets.intensity, response[:, :, 0], response[:, :, 1])
    assert np.abs(images - np.minimum(ideal, 255)).max() <= 0.501


def test_prior(splits):
    _, targets = splits["train"]
    count = targets.mask.sum(axis=-1)
    assert (np.sort(targets.mask)[:, ::-1] == targets.mask).all()
    assert set(count) == {1, 2, 3, 4, 5}
    # Each count has probability 1/5: 1040 scenes give 208 ± 13.
    assert np.abs(np.bincount(count, minlength=6)[1:] - 208).max() < 5 * 13
    intensity = targets.intensity[targets.mask]
    assert intensity.min() >= 220
    assert intensity.max() <= 250
    assert not targets.intensity[~targets.mask].any()
    assert not targets.position[~targets.mask].any()
    np.testing.assert_array_equal(targets.score, targets.intensity)
    for position, mask in zip(targets.position, targets.mask, strict=True):
        found = position[mask].astype(np.float64)
        host = np.round(found.mean(axis=0))
        assert ((host >= 1) & (host <= 9)).all()
        assert np.abs(found - host).max() <= 0.5 + 1e-5
        distance = np.linalg.norm(found[:, None] - found, axis=-1)
        assert distance[~np.eye(len(found), dtype=bool)].min(initial=1.0) >= 0.52 * 0.61 - 1e-6


def test_a_name_determines_the_images():
    assert SimulatedConfig().name == "simulated"
    assert SimulatedConfig(seed=1).name == "simulated_seed1_80000_10000_10000"
    config = SimulatedConfig(seed=5, train=3, validation=2, test=1)
    again = csist100k.get_config(config.name)
    assert (again.seed, again.train, again.validation, again.test) == (5, 3, 2, 1)
    assert again.name == config.name
    assert csist100k.get_config("simulated_seed0_80000_10000_10000").name == "simulated"


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"train": 0}, "train must be greater than 0"),
        ({"test": -1}, "test must be greater than 0"),
        ({"test": 10**19}, r"test must be at most 1e\+09 records, got 1e\+19"),
        ({"seed": -1}, "seed must be from 0"),
        ({"seed": 2**32}, "seed must be from 0"),
    ],
)
def test_unusable_values(fields, message):
    with pytest.raises(distax.DistaxError, match=message):
        SimulatedConfig(**fields)


def test_unknown_name():
    with pytest.raises(distax.DistaxError, match="did you mean 'simulated'"):
        csist100k.get_config("simulatd")


@pytest.mark.parametrize("name", ["1.0.0.incompleteABCDEF", None], ids=["old TFDS", "this TFDS"])
def test_what_a_killed_build_left_is_deleted(tmp_path, name):
    folder = tmp_path / "csist100k/simulated_seed0_1_1_1"
    own = Path(file_utils._get_incomplete_dir(folder / "1.0.0")).name
    abandoned = folder / (name or own)
    abandoned.mkdir(parents=True)
    (abandoned / "half").write_text("written")
    assert csist100k.build("simulated_seed0_1_1_1", tmp_path) == folder / "1.0.0"
    assert sorted(path.name for path in folder.iterdir()) == ["1.0.0"]


def test_two_builds_of_a_dataset_at_once_are_refused(tmp_path):
    refused = pytest.raises(
        distax.DistaxError, match="another process builds this dataset in this folder"
    )
    with alone_in(tmp_path / "csist100k/simulated_seed0_1_1_1", "builds this dataset"), refused:
        csist100k.build("simulated_seed0_1_1_1", tmp_path)
