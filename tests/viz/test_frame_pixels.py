from dataclasses import replace

import numpy as np
import pytest

from distax.frames.psf import NOT_MEASURED, PsfCheck
from distax.viz import frame_pixels
from distax.viz.frame_pixels import make_frame_picture
from tests.viz.made_up import LEVEL, NOISE, answer, picture, scattered


@pytest.fixture
def found():
    """Three blobs: in a corner, in the middle and at an edge."""
    place = [[0.2, 0.1], [80.3, 100.4], [80.0, 100.0], [199.0, 150.0]]
    return answer(place, [0, 1, 1, 2], [[0, 0], [80, 100], [199, 150]], (200, 300))


def test_close_ups_hold_the_frames_pixels_and_nan_beyond_it(found):
    shape = found.background.shape
    pixels = np.arange(np.prod(shape), dtype=np.float32).reshape(shape)
    made = make_frame_picture("a", pixels, pixels / 4, found).closeups
    assert made.blob.tolist() == [1, 0, 2]
    assert made.corner.tolist() == [[75, 95], [-5, -5], [194, 145]]
    assert made.extent(0) == (94.5, 105.5, 85.5, 74.5)
    np.testing.assert_array_equal(made.data[0], pixels[75:86, 95:106])
    np.testing.assert_array_equal(made.residual[0], pixels[75:86, 95:106] / 4)
    np.testing.assert_array_equal(made.model[0], 0.75 * pixels[75:86, 95:106])
    np.testing.assert_array_equal(made.data[1][5:, 5:], pixels[:6, :6])
    assert np.isnan(made.data[1]).sum() == 11**2 - 6**2
    np.testing.assert_array_equal(made.data[2][:6], pixels[194:, 145:156])
    assert np.isnan(made.data[2][6:]).all()
    np.testing.assert_allclose(made.noise, NOISE)
    np.testing.assert_allclose(made.deviation[0], made.residual[0] / NOISE)


def test_the_local_level_of_a_blob_belongs_to_its_model(found):
    found = replace(found, local_level=np.array([1.0, 2.0, 3.0]))
    flat = np.full(found.background.shape, LEVEL, np.float32)
    made = make_frame_picture("a", flat, flat - np.float32(LEVEL - 2), found).closeups
    np.testing.assert_allclose(made.residual[0], 0.0)
    np.testing.assert_allclose(made.model[0], LEVEL)


def test_a_close_up_has_room_for_a_wide_psf(found):
    about = {"source": "given", "measured": NOT_MEASURED, "contradicted": False}
    psf = PsfCheck(sigma=(2.0, 3.0), **about, misfit=1.0, blobs=3)
    # Three times 3 px, and the outermost target is half a pixel from its blob.
    assert picture(replace(found, psf=psf)).closeups.data.shape == (3, 21, 21)


def test_there_are_as_many_close_ups_as_asked_for_and_fit(monkeypatch):
    found = scattered(40)
    assert len(picture(found, closeups=30).closeups.blob) == 30
    assert len(picture(found, closeups=50).closeups.blob) == 40
    monkeypatch.setattr(frame_pixels, "_MAX_AREA", 10 * 11**2)
    assert len(picture(found, closeups=30).closeups.blob) == 10


def test_the_overview_of_a_large_frame_loses_no_bright_pixel(monkeypatch):
    monkeypatch.setattr(frame_pixels, "_MAX_EDGE", 100)
    found = scattered(5, (150, 250))
    pixels = np.full((150, 250), LEVEL, np.float32)
    pixels[149, 248], pixels[30, 31], pixels[0, 0] = 107, 108, np.nan
    made = make_frame_picture("a", pixels, pixels, found)
    assert made.step == 3
    assert made.pixels.shape == (50, 84)
    assert (made.pixels[49, 82], made.pixels[10, 10], made.pixels[0, 0]) == (7, 8, 0)
    assert made.extent == (-0.5, 251.5, 149.5, -0.5)


def test_bad_pixels_and_one_star_leave_the_limits_as_they_are():
    found = scattered(5)
    shape = found.background.shape
    pixels = np.random.default_rng(0).normal(LEVEL, NOISE, shape).astype(np.float32)
    before = make_frame_picture("a", pixels, pixels, found).limits
    pixels[:3, :20], pixels[50, 50] = np.nan, 1e6
    after = make_frame_picture("a", pixels, pixels, found).limits
    np.testing.assert_allclose(after, before, rtol=0.05)
    # A tenth of Gaussian noise is more than 1.28 standard deviations below its mean.
    assert before == (pytest.approx(-1.28 * NOISE, rel=0.03), 20 * NOISE)


def test_a_frame_without_a_known_pixel_or_a_target_is_drawn_too():
    found = answer(np.zeros((0, 2)), [], np.zeros((0, 2)), (20, 20))
    made = make_frame_picture("a", np.full((20, 20), np.nan), np.zeros((20, 20)), found)
    assert made.limits == (-NOISE, 20 * NOISE)
    assert made.closeups.data.shape == (0, 11, 11)
