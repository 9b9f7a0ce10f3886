import numpy as np
import pytest

from distax import DistaxError
from distax.calibration.noise import noise_level
from distax.calibration.sources import _alone, isolated_sources

SIDE, APART = 7, 6


def test_sources_without_noise_are_found(blob_frame):
    bare = blob_frame((10, 10), (30, 40), noise=0.0)[None]
    assert len(isolated_sources(bare, noise_level(bare, digital=False), APART, SIDE).crops) == 2
    nothing = np.full((1, 20, 20), 3.0, np.float32)
    with pytest.raises(DistaxError, match="no isolated source stands out"):
        isolated_sources(nothing, noise_level(nothing, digital=False), APART, SIDE)


def test_windows_lie_around_each_isolated_source(blob_frame):
    found = isolated_sources(blob_frame((10, 10), (30, 40))[None], 1.0, APART, SIDE)
    assert found.crops.shape == (2, SIDE, SIDE)
    assert found.crowded == 0
    peaks = found.crops.reshape(2, -1).argmax(axis=1)
    np.testing.assert_array_equal(peaks, SIDE**2 // 2)


@pytest.mark.parametrize(("step", "kept"), [(6, 1), (7, 3)])
def test_sources_with_a_neighbour_are_counted_and_left_alone(step, kept, blob_frame):
    image = blob_frame((10, 10), (10, 10 + step), (30, 40))
    found = isolated_sources(image[None], 1.0, APART, SIDE)
    assert (len(found.crops), found.crowded) == (kept, 3 - kept)


def test_a_clipped_plateau_is_one_source(blob_frame):
    image = blob_frame((10, 10), flux=1000.0)
    image[9:12, 9:13] = 255.0
    assert len(isolated_sources(image[None], 1.0, APART, SIDE).crops) == 1


def test_neighbours_are_those_within_a_distance_along_both_axes():
    """Against all pairs."""
    places = np.random.default_rng(3).integers(0, 60, (80, 2))
    away = np.abs(places[:, None] - places).max(axis=-1)
    np.testing.assert_array_equal(_alone(places, 5), np.sum(away <= 5, axis=1) == 1)
    assert _alone(places[:0], 5).shape == (0,)


def test_what_is_beyond_the_image_is_nan(blob_frame):
    crop = isolated_sources(blob_frame((1, 25))[None], 1.0, APART, SIDE).crops[0]
    np.testing.assert_array_equal(np.isnan(crop).all(axis=1), [True, True] + [False] * 5)


def test_faint_light_is_no_source(blob_frame):
    with pytest.raises(DistaxError, match="no isolated source stands out of the noise"):
        isolated_sources(blob_frame((10, 10), flux=15.0)[None], 1.0, APART, SIDE)
