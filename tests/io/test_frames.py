import numpy as np
import pytest
from PIL import Image

from distax import DistaxError
from distax.io.frames import open_frames

PIXELS = np.arange(20 * 30, dtype=np.uint16).reshape(20, 30)


def test_pages_and_stacks_are_several_frames(tmp_path):
    np.save(tmp_path / "a.npy", np.stack([PIXELS, PIXELS + 1]))
    pages = [Image.fromarray(PIXELS + k) for k in range(2)]
    pages[0].save(tmp_path / "a.tif", save_all=True, append_images=pages[1:])
    for name in ("a.npy", "a.tif"):
        with open_frames(tmp_path / name) as frames:
            assert [frame.shape for frame in frames] == [(20, 30)] * 2
            np.testing.assert_array_equal(frames[1].pixels[4:6], PIXELS[4:6] + 1)


def test_npy_files_are_mapped_rather_than_read(tmp_path):
    np.save(tmp_path / "a.npy", PIXELS)
    with open_frames(tmp_path / "a.npy") as (frame,):
        assert isinstance(frame.pixels, np.memmap)


def test_another_format_is_an_error(tmp_path):
    with (
        pytest.raises(DistaxError, match="not a FITS, PNG"),
        open_frames(tmp_path / "a.jpg"),
    ):
        pass
