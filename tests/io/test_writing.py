import numpy as np
import pytest

from distax import DistaxError
from distax.io import writing
from distax.io.frames import open_frames

PIXELS = np.random.default_rng(0).normal(size=(7, 5)).astype(np.float32)


@pytest.mark.parametrize("name", ["a.fits", "a.npy"])
def test_blocks_of_rows_make_the_image(name, tmp_path, monkeypatch):
    monkeypatch.setattr(writing, "_PIXELS_AT_ONCE", 12)
    pixels = PIXELS.copy()
    pixels[3, 2] = np.nan
    writing.write_image(tmp_path / name, pixels, {"BUNIT": "adu"})
    with open_frames(tmp_path / name) as (frame,):
        np.testing.assert_array_equal(frame.pixels[:], pixels)
        assert frame.unit == ("adu" if name.endswith("fits") else "")


@pytest.mark.parametrize("name", ["a.fits", "a.npy"])
def test_a_failed_write_leaves_no_file(name, tmp_path, monkeypatch):
    class Failing:
        shape = PIXELS.shape

        def __getitem__(self, rows):
            if rows.start:
                raise DistaxError("a damaged file")
            return PIXELS[rows]

    monkeypatch.setattr(writing, "_PIXELS_AT_ONCE", 12)
    with pytest.raises(DistaxError, match="damaged"):
        writing.write_image(tmp_path / name, Failing())
    assert not list(tmp_path.iterdir())


def test_another_suffix_is_an_error(tmp_path):
    with pytest.raises(DistaxError, match=r"suffix '.png'; known are .fits, .npy"):
        writing.write_image(tmp_path / "a.png", PIXELS)


def test_no_disk_is_mapped_into_memory_where_it_may_become_full(tmp_path, monkeypatch):
    # Linux ends a process that writes into such memory.
    monkeypatch.setattr(np, "memmap", None)
    writing.write_image(tmp_path / "a.npy", PIXELS[:, ::-1].astype(">f4"))
    np.testing.assert_array_equal(np.load(tmp_path / "a.npy"), PIXELS[:, ::-1])
