import jax.numpy as jnp
import numpy as np
import pytest

from distax import Sensor, make_targets, render
from distax.frames.cutouts import (
    blob_flux,
    cut_windows,
    local_level,
    middle,
    patches,
    without_neighbours,
)
from distax.frames.prior import FramePrior

SHAPE = (40, 50)
SIDE, WIDTH = 11, 7
SENSOR = Sensor(height=SIDE, width=SIDE, saturation=None, bit_depth=None)
PRIOR = FramePrior().placement(SENSOR)


def windows_of(counts, pixel, noise=2.0, clipped=None):
    clipped = np.zeros(counts.shape, bool) if clipped is None else clipped
    pixel = np.array(pixel)
    return cut_windows(pixel, counts, counts, np.full(counts.shape, noise), clipped, SIDE)


def test_windows_hold_the_frame_around_their_pixels_and_nan_beyond():
    counts = np.arange(40 * 50, dtype=float).reshape(SHAPE)
    cutouts = windows_of(counts, [[20, 30], [1, 49]])
    np.testing.assert_array_equal(cutouts.counts[0], counts[15:26, 25:36])
    assert cutouts.signal_to_noise.tolist() == [counts[20, 30], counts[1, 49]]
    np.testing.assert_array_equal(cutouts.counts[1, 4:, :6], counts[:7, 44:])
    assert np.isnan(cutouts.counts[1, :4]).all()
    assert np.isnan(cutouts.counts[1, :, 6:]).all()
    np.testing.assert_array_equal(cutouts.inside, np.isfinite(cutouts.counts))
    np.testing.assert_array_equal(cutouts.corner, [[15, 25], [-4, 44]])
    np.testing.assert_array_equal(cutouts.middle(WIDTH).counts[0], counts[17:24, 27:34])


def test_a_pixel_is_left_out_where_another_blob_is_nearer():
    blobs = np.array([[20, 20], [20, 24], [30, 30], [5, 45]])
    cutouts, taken = without_neighbours(windows_of(np.zeros(SHAPE), blobs))
    corner = cutouts.corner
    for number in range(len(blobs)):
        for row, column in np.ndindex(SIDE, SIDE):
            away = np.sum((blobs - corner[number] - [row, column]) ** 2, axis=1)
            assert taken[number, row, column] == (away.min() < away[number])
    np.testing.assert_array_equal(np.isnan(cutouts.counts), taken | ~cutouts.inside)
    assert taken[0].any()
    assert not taken[3].any()


def test_the_local_level_is_shrunk_if_noise_explains_it():
    rng = np.random.default_rng(0)
    pixel = rng.integers(8, 30, (400, 2))
    quiet, shifted = (
        np.array([local_level(windows_of(frame, [at]), WIDTH)[0] for at in pixel])
        for frame in (frame_of(rng, 0.0), frame_of(rng, 5.0))
    )
    # The median of 72 pixels varies by 0.15 of the noise; shrinking keeps less of it.
    assert np.std(quiet) < 0.12 * 2.0
    assert np.mean(shifted) == pytest.approx(5.0, abs=0.2)


def frame_of(rng, level):
    return level + 2.0 * rng.standard_normal(SHAPE)


@pytest.mark.parametrize("saturation", [np.inf, 120.0])
def test_a_blobs_flux_is_about_right_also_when_it_clips(saturation):
    place = jnp.array([[[20.0, 20.2]], [[20.4, 19.7]]])
    frame = Sensor(height=40, width=50)
    for position in place:
        image = np.asarray(render(make_targets(position, jnp.array([500.0])), frame))
        cutouts = windows_of(np.minimum(image, saturation), [[20, 20]], clipped=image >= saturation)
        (flux,) = blob_flux(cutouts, SENSOR, PRIOR)
        assert flux == pytest.approx(500.0, rel=0.6)


def test_a_patch_holds_edges_and_noise_in_its_own_unit():
    rng = np.random.default_rng(1)
    counts = 100 * rng.random(SHAPE)
    counts[20, 20], counts[20, 21] = np.nan, 255.0
    sensor = Sensor(bit_depth=8, saturation=None, gain=5.0)
    cutouts = windows_of(counts, [[20, 20]], clipped=counts == 255)
    patch = patches(cutouts, np.array([4.0]), sensor, WIDTH)
    around = counts[17:24, 17:24].ravel()
    known, clipped = np.isfinite(around), around == 255
    value = np.where(known, around, 0.0)
    np.testing.assert_allclose(patch.counts[:, 0], value / 4, rtol=1e-6)
    edges = np.where(known, around - 0.5, -np.inf) / 4
    np.testing.assert_allclose(patch.lower[:, 0], edges, rtol=1e-6)
    edges = np.where(known & ~clipped, around + 0.5, np.inf) / 4
    np.testing.assert_allclose(patch.upper[:, 0], edges, rtol=1e-6)
    total = patch.variance[:, 0] + patch.rounding[0]
    np.testing.assert_allclose(total, (4.0 + value / 5) / 16, rtol=1e-5)
    assert patch.rounding[0] == pytest.approx(1 / 12 / 16)
    assert patch.origin[:, 0].tolist() == [5, 5]


def test_no_blobs_give_no_lanes():
    cutouts, taken = without_neighbours(windows_of(np.zeros(SHAPE), np.zeros((0, 2), int)))
    assert middle(taken, WIDTH).shape == (0, WIDTH, WIDTH)
    flux = blob_flux(cutouts, SENSOR, PRIOR)
    assert local_level(cutouts, WIDTH).shape == flux.shape == (0,)
    assert patches(cutouts, flux, SENSOR, WIDTH).counts.shape == (WIDTH**2, 0)
