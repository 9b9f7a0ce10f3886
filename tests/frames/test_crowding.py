"""Second looks at crowded blobs, compared with the fits of each window alone."""

from dataclasses import replace

import jax.numpy as jnp
import numpy as np
import pytest

from distax import DistaxError, Sensor, make_targets, render
from distax.frames import Flag, FramePrior, FrameUnmixer

SIDE, NOISE = 80, 2.0
CAMERA = Sensor(sigma=1.0, saturation=None, bit_depth=None)
UNMIXER = FrameUnmixer(sensor=CAMERA, prior=FramePrior(max_targets=2), crowded=True)


def frame(truth, sigma=1.0, seed=0):
    truth = np.array(truth)
    sensor = Sensor(height=SIDE, width=SIDE, sigma=sigma)
    ideal = render(make_targets(jnp.float32(truth[:, :2]), jnp.float32(truth[:, 2])), sensor)
    noise = NOISE * np.random.default_rng(seed).standard_normal((SIDE, SIDE))
    return 100 + np.asarray(ideal) + noise


@pytest.fixture
def one_pass(monkeypatch):
    """Unmixes a frame without the second look."""

    def unmix(pixels):
        with monkeypatch.context() as patch:
            patch.setattr("distax.frames.unmixing.look_again", lambda first, *_: first)
            return UNMIXER(pixels)

    return unmix


def nearest(found, place):
    away = np.linalg.norm(found.targets.position - np.array(place), axis=-1)
    return away.argmin(), away.min()


def test_a_faint_star_in_the_wing_of_a_bright_one_is_found(one_pass):
    faint = [30.5, 33.6, 400.0]
    pixels = frame([[30.2, 30.4, 20000.0], faint])
    _, away = nearest(one_pass(pixels), faint[:2])
    assert away > 0.7
    found = UNMIXER(pixels)
    slot, away = nearest(found, faint[:2])
    assert len(found.blob) == len(found.blobs.pixel) == 2
    assert away < 4 * np.sqrt(np.trace(found.targets.covariance[slot]))
    error = found.targets.intensity[slot] - faint[2]
    assert abs(error) < 4 * found.targets.intensity_std[slot] < 60
    assert [Flag(int(flag)) for flag in found.flags] == [Flag.CROWDED] * 2
    assert found.blobs.signal_to_noise[0] > 1000
    assert found.threshold < found.blobs.signal_to_noise[1] < 60


def test_overlapping_blobs_lose_their_bias_and_state_their_errors(one_pass):
    rng = np.random.default_rng(3)
    place = (
        np.stack(np.divmod(np.arange(16), 4), axis=-1) * 18 + 12 + rng.uniform(-0.5, 0.5, (16, 2))
    )
    both = np.concatenate([place, place + np.array([0.0, 5.2])])
    pixels = frame(np.column_stack([both, np.full(32, 3000.0)]))

    def errors(found):
        slots = [nearest(found, one)[0] for one in both]
        assert len(set(slots)) == 32
        away = found.targets.position[slots] - both
        more = found.targets.intensity[slots] - 3000.0
        return (
            away,
            more,
            np.asarray(found.targets.position_std)[slots],
            found.targets.intensity_std[slots],
        )

    _, alone, _, _ = errors(one_pass(pixels))
    away, more, place_std, std = errors(UNMIXER(pixels))
    assert abs(more.mean()) < 0.5 * abs(alone.mean())
    assert np.sqrt(np.mean(more**2)) < np.sqrt(np.mean(alone**2))
    assert abs(more.mean()) < 4 * np.mean(std) / np.sqrt(32)
    # Standard deviations of 64 and of 32 standard normal numbers.
    assert 0.75 < np.sqrt(np.mean((away / place_std) ** 2)) < 1.3
    assert 0.65 < np.sqrt(np.mean((more / std) ** 2)) < 1.4


def test_nothing_changes_in_a_sparse_frame(one_pass):
    pixels = frame([[15.2, 20.1, 900.0], [40.3, 50.6, 500.0], [60.1, 15.8, 3000.0]])
    first, found = one_pass(pixels), UNMIXER(pixels)
    assert len(found.blob) == 3
    for name in ("position", "intensity", "covariance", "score"):
        np.testing.assert_array_equal(getattr(found.targets, name), getattr(first.targets, name))
    np.testing.assert_array_equal(found.flags, first.flags)
    np.testing.assert_array_equal(found.local_level, first.local_level)


@pytest.mark.parametrize("sigma", [1.0, 1.02])
def test_no_stars_are_found_around_a_very_bright_one(one_pass, sigma):
    """With the exact PSF, and with one that is 2% too narrow."""
    pixels = frame([[40.3, 39.8, 1e6]], sigma)
    found = UNMIXER(pixels)
    assert len(found.blob) <= len(one_pass(pixels).blob)
    if sigma == 1.0:
        assert len(found.blob) == 1


def test_the_height_of_bands_does_not_matter_in_a_crowd():
    rng = np.random.default_rng(5)
    truth = np.column_stack([rng.uniform(5, 75, (60, 2)), 1 / rng.uniform(1e-4, 5e-3, 60)])
    pixels = frame(truth)
    found, banded = UNMIXER(pixels), replace(UNMIXER, rows_at_once=13)(pixels)
    assert len(found.blob) > 45
    assert banded.blob.tolist() == found.blob.tolist()
    np.testing.assert_array_equal(banded.blobs.pixel, found.blobs.pixel)
    np.testing.assert_allclose(banded.targets.position, found.targets.position, atol=1e-3)
    np.testing.assert_allclose(banded.targets.intensity, found.targets.intensity, rtol=1e-3)


def test_crowded_fits_refuse_what_they_cannot_take():
    known = FramePrior(min_intensity=1.0, max_intensity=2.0)
    with pytest.raises(DistaxError, match="crowded fits have no bounds of intensities"):
        FrameUnmixer(prior=known, crowded=True)
