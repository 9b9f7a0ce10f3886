from io import BytesIO

import numpy as np
import pytest

from distax import DistaxError
from distax.io import stored
from distax.io.reading import Reading
from distax.io.stored import StoredImages, read_array

IMAGES = np.random.default_rng(0).integers(0, 1000, (7, 5, 4, 3)).astype(">u2")


def stored_images(images, order):
    content = BytesIO(b"head" + images.tobytes(order))
    return StoredImages(content, "a.npy", 4, images.dtype, images.shape, order == "F", Reading())


@pytest.mark.parametrize("order", ["C", "F"])
@pytest.mark.parametrize("images", [IMAGES, IMAGES[..., 0], IMAGES[:1, ..., 0]])
def test_images_of_both_orders_are_read_by_rows(order, images, monkeypatch):
    # Groups of two images, read three pixels at a time.
    monkeypatch.setattr(stored, "_GROUP", 2 * images[0].nbytes + 1)
    monkeypatch.setattr(stored, "_CHUNK", 3 * len(images) * images.itemsize)
    some = stored_images(images, order)
    assert len(some) == len(images)
    for number in (*range(len(images)), 0):
        np.testing.assert_array_equal(some[number][:], images[number])
        for rows in (slice(1, 4), slice(-2, None), slice(3, 3), slice(None, None, -2)):
            np.testing.assert_array_equal(some[number][rows], images[number][rows])


def test_interleaved_images_are_read_in_groups(monkeypatch):
    reads = []

    def counted(*given):
        reads.append(given[3])
        return read_array(*given)

    monkeypatch.setattr(stored, "read_array", counted)
    monkeypatch.setattr(stored, "_GROUP", 4 * IMAGES[0].nbytes)
    some = stored_images(IMAGES, "F")
    for number in range(len(IMAGES)):
        np.testing.assert_array_equal(some[number][:], IMAGES[number])
    assert reads == [(60, 7)] * 2


def test_a_file_that_ends_too_early_is_named():
    with pytest.raises(DistaxError, match=r"a\.npy: became shorter while it was read"):
        read_array(BytesIO(b"1234567"), 0, np.dtype("u2"), (2, 2), "a.npy")
