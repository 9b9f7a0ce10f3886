import numpy as np
import pytest

from distax import DistaxError
from distax.calibration.noise import estimate_background_noise
from distax.calibration.sources import _has_no_neighbour, find_isolated_sources

SIDE, ISOLATION = 7, 6


def test_sources_without_noise_are_found(blob_frame):
    bare = blob_frame((10, 10), (30, 40), noise=0.0)[None]
    noise = estimate_background_noise(bare, digital=False)
    assert len(find_isolated_sources(bare, noise, ISOLATION, SIDE).windows) == 2
    nothing = np.full((1, 20, 20), 3.0, np.float32)
    noise = estimate_background_noise(nothing, digital=False)
    with pytest.raises(DistaxError, match="no isolated source stands out"):
        find_isolated_sources(nothing, noise, ISOLATION, SIDE)


def test_windows_are_centred_on_isolated_sources(blob_frame):
    found = find_isolated_sources(blob_frame((10, 10), (30, 40))[None], 1.0, ISOLATION, SIDE)
    assert found.windows.shape == (2, SIDE, SIDE)
    assert found.crowded == 0
    peaks = found.windows.reshape(2, -1).argmax(axis=1)
    np.testing.assert_array_equal(peaks, SIDE**2 // 2)


@pytest.mark.parametrize(("step", "kept"), [(6, 1), (7, 3)])
def test_sources_with_a_neighbour_are_counted_and_left_out(step, kept, blob_frame):
    image = blob_frame((10, 10), (10, 10 + step), (30, 40))
    found = find_isolated_sources(image[None], 1.0, ISOLATION, SIDE)
    assert (len(found.windows), found.crowded) == (kept, 3 - kept)


def test_a_clipped_plateau_is_one_source(blob_frame):
    image = blob_frame((10, 10), flux=1000.0)
    image[9:12, 9:13] = 255.0
    assert len(find_isolated_sources(image[None], 1.0, ISOLATION, SIDE).windows) == 1


def test_neighbours_lie_within_a_distance_along_both_axes():
    """The distances of all pairs check the tree search."""
    places = np.random.default_rng(3).integers(0, 60, (80, 2))
    away = np.abs(places[:, None] - places).max(axis=-1)
    np.testing.assert_array_equal(_has_no_neighbour(places, 5), np.sum(away <= 5, axis=1) == 1)
    assert _has_no_neighbour(places[:0], 5).shape == (0,)


def test_pixels_beyond_the_image_are_nan(blob_frame):
    window = find_isolated_sources(blob_frame((1, 25))[None], 1.0, ISOLATION, SIDE).windows[0]
    np.testing.assert_array_equal(np.isnan(window).all(axis=1), [True, True] + [False] * 5)


def test_faint_light_raises(blob_frame):
    with pytest.raises(DistaxError, match="no isolated source stands out of the noise"):
        find_isolated_sources(blob_frame((10, 10), flux=15.0)[None], 1.0, ISOLATION, SIDE)
