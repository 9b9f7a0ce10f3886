"""A dataset in a bucket."""

import jax
import numpy as np
import pytest

from distax import DistaxError
from distax.datasets import csist100k

NAME = "simulated_seed1_12_6_6"


def names(emulator, place):
    folder = f"{place}/csist100k/{NAME}/".removeprefix("gs://bucket/")
    return [name.rpartition("/")[2] for name in emulator.names(folder)]


def test_a_dataset_in_a_bucket_is_that_on_disk(place, emulator, tmp_path):
    folder = csist100k.build(NAME, place)
    assert str(folder) == f"{place}/csist100k/{NAME}/1.0.0"
    assert names(emulator, place) == sorted(
        path.name for path in csist100k.build(NAME, tmp_path).iterdir()
    )
    for split in ("train", "validation", "test"):
        read = [
            csist100k.read_split(csist100k.open_split(NAME, split, where))
            for where in (place, tmp_path)
        ]
        jax.tree.map(np.testing.assert_array_equal, *read)
    # It is built once.
    emulator.watch = lambda method, path: pytest.fail(path) if "/upload/" in path else None
    csist100k.build(NAME, place)


def test_a_dataset_that_is_sent_in_part_is_not_there(place, emulator):
    csist100k.build(NAME, place)
    half = f"{place}/half"
    whole = f"{place}/csist100k/{NAME}/1.0.0".removeprefix("gs://bucket/")
    for name in emulator.names(f"{whole}/"):
        if not name.endswith("dataset_info.json"):
            copied = f"{half}/csist100k/{NAME}/1.0.0/{name.rpartition('/')[2]}"
            emulator.write(copied.removeprefix("gs://bucket/"), emulator.read(name))
    with pytest.raises(DistaxError, match=f"{NAME} is not built in {half}: run `distax build-data"):
        csist100k.open_split(NAME, "train", half)
    csist100k.build(NAME, half)
    assert len(csist100k.open_split(NAME, "train", half)) == 12
