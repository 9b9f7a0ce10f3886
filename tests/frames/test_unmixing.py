"""Unmixing of frames with at most two targets per blob and small windows, which compile fast."""

import math
from dataclasses import replace

import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from distax import DistaxError, DistaxWarning, Sensor, make_targets, render
from distax.fitting.candidates import Search
from distax.fitting.estimators import Fast, FastFit, Posterior, Refine
from distax.fitting.refine import refine_rows_together
from distax.fitting.sampler import QUICK
from distax.frames import Flag, FramePrior, FrameUnmixer
from distax.frames.blobs import detection_threshold
from distax.imaging.scenes import ScenePrior
from distax.models import create

SHAPE = (90, 110)
CAMERA = Sensor(saturation=900.0, bit_depth=None)
PRIOR = FramePrior(max_targets=2, cluster=1.0)
UNMIXER = FrameUnmixer(sensor=CAMERA, prior=PRIOR)
# Row, column, intensity: a star, two close targets, two neighbouring blobs, one at the edge, one
# that clips.
TRUTH = np.array(
    [
        [20.3, 30.2, 400.0],
        [40.1, 60.4, 600.0],
        [40.4, 59.8, 500.0],
        [70.2, 20.1, 500.0],
        [70.4, 23.2, 400.0],
        [0.2, 80.1, 600.0],
        [60.1, 90.0, 3000.0],
    ]
)


@pytest.fixture(scope="module")
def pixels():
    sensor = Sensor(height=SHAPE[0], width=SHAPE[1])
    targets = make_targets(jnp.float32(TRUTH[:, :2]), jnp.float32(TRUTH[:, 2]))
    row, column = np.indices(SHAPE)
    noise = 2.0 * np.random.default_rng(5).standard_normal(SHAPE)
    frame = np.asarray(render(targets, sensor)) + 100 + 0.05 * row + 0.02 * column + noise
    frame = np.minimum(frame, CAMERA.saturation)
    frame[21, 31] = np.nan
    frame[8:10, 8] = np.inf
    return frame


@pytest.fixture(scope="module")
def found(pixels):
    return UNMIXER(pixels)


def nearest(found):
    """Returns the slot of the nearest found target to each true one, and its distance."""
    distance = np.linalg.norm(found.targets.position - TRUTH[:, None, :2], axis=-1)
    return distance.argmin(axis=1), distance.min(axis=1)


def test_every_target_is_found_once_within_its_error(found):
    slots, distance = nearest(found)
    assert sorted(slots) == list(range(len(TRUTH))) == list(range(len(found.blob)))
    spread = np.sqrt(np.trace(found.targets.covariance, axis1=1, axis2=2))[slots]
    assert (distance < 3.5 * spread).all()
    assert (spread[:6] < 0.05).all()
    error = found.targets.intensity[slots] - TRUTH[:, 2]
    assert (np.abs(error) < 4 * found.targets.intensity_std[slots]).all()
    assert len(found.blobs.pixel) == 6
    assert (np.diff(found.blobs.signal_to_noise) <= 0).all()
    # So small a frame has one box along its rows, whose gradient only the windows show.
    slope = 0.05 * (found.blobs.pixel[:, 0] - (SHAPE[0] - 1) / 2)
    np.testing.assert_allclose(found.local_level, slope, atol=1.0)


def test_flags_mark_crowded_border_and_clipped_targets(found):
    slots, _ = nearest(found)
    flags = [Flag(int(flag)) & ~Flag.UNSURE for flag in found.flags[slots]]
    crowded = Flag.CROWDED
    assert flags == [Flag(0), Flag(0), Flag(0), crowded, crowded, Flag.BORDER, Flag.CLIPPED]
    assert (Flag.CLIPPED | Flag.BORDER).names == ("clipped", "border")


def test_the_height_of_bands_does_not_matter(pixels, found):
    banded = replace(UNMIXER, rows_at_once=13)(pixels)
    assert banded.blob.tolist() == found.blob.tolist()
    assert banded.flags.tolist() == found.flags.tolist()
    np.testing.assert_array_equal(banded.blobs.pixel, found.blobs.pixel)
    np.testing.assert_allclose(banded.targets.position, found.targets.position, atol=1e-4)
    np.testing.assert_allclose(banded.targets.intensity, found.targets.intensity, rtol=1e-3)


def test_the_unit_of_counts_does_not_matter(pixels, found):
    """A frame in other units has the same targets."""
    scaled = replace(CAMERA, saturation=900e-6)
    other = replace(UNMIXER, sensor=scaled)(1e-6 * pixels)
    # Where two counts explain a blob alike, rounding decides how sure the chosen one is.
    assert (other.flags & ~Flag.UNSURE).tolist() == (found.flags & ~Flag.UNSURE).tolist()
    moved = np.abs(other.targets.position - found.targets.position)
    assert np.median(moved) < 1e-4
    assert (moved < found.targets.position_std).all()
    np.testing.assert_allclose(other.targets.intensity, 1e-6 * found.targets.intensity, rtol=0.02)


def test_a_large_pedestal_does_not_matter(pixels, found):
    """Float32 would round the level by more than the noise."""
    raised = replace(CAMERA, saturation=900.0 + 2.0**30)
    other = replace(UNMIXER, sensor=raised)(pixels + 2.0**30)
    np.testing.assert_array_equal(other.blobs.pixel, found.blobs.pixel)
    np.testing.assert_allclose(other.targets.position, found.targets.position, atol=1e-3)
    np.testing.assert_allclose(other.targets.intensity, found.targets.intensity, rtol=1e-3)


def test_a_frame_whose_numbers_do_not_hold_its_noise_is_refused(pixels):
    """The few pixels that round to another number would pass for blobs."""
    stored = (pixels + 2.0**30).astype(np.float32)
    with pytest.raises(DistaxError, match=r"32 bits are 128 .* level of 1.07374e\+09, .*float64"):
        FrameUnmixer()(stored)


def test_a_star_in_a_wrong_psf_is_unsure(pixels):
    wide = render(
        make_targets(jnp.float32([[45.0, 55.2]]), jnp.float32([5000.0])),
        Sensor(height=SHAPE[0], width=SHAPE[1], sigma=1.0),
    )
    frame = 100 + 2.0 * np.random.default_rng(1).standard_normal(SHAPE) + np.asarray(wide)
    found = UNMIXER(frame)
    assert len(found.blob) > 0
    assert (found.flags & Flag.UNSURE).all()


def test_a_frame_may_be_a_list(pixels, any_types):
    small = np.where(np.isfinite(pixels), pixels, 100.0)[:, :60]
    listed, array = UNMIXER(small.tolist()), UNMIXER(small)
    np.testing.assert_array_equal(listed.targets.position, array.targets.position)
    for wrong in ("frame", [[1.0], [1.0, 2.0]], None):
        with pytest.raises(DistaxError, match="frame: "):
            UNMIXER(wrong)


def test_an_empty_frame_has_no_blobs(pixels):
    noise = np.random.default_rng(2).standard_normal(SHAPE)
    found = UNMIXER(noise)
    assert len(found.blob) == len(found.blobs.pixel) == 0
    assert found.threshold == detection_threshold(0.01, SHAPE[0] * SHAPE[1], 0.5)
    with pytest.warns(DistaxWarning, match=r"noise is 1\.01 counts, .* make it 0\.1: "):
        known = replace(UNMIXER, sensor=replace(CAMERA, read_noise=0.1))(noise)
    assert len(known.blobs.pixel) > 100


def test_the_shot_noise_of_the_background_makes_no_blobs():
    """A calibrated sensor has a known gain and read noise."""
    noisy = np.random.default_rng(4).normal(1000.0, math.sqrt(2.0**2 + 1000.0), SHAPE)
    camera = Sensor(saturation=None, bit_depth=None, read_noise=2.0, gain=1.0)
    assert len(replace(UNMIXER, sensor=camera)(noisy).blobs.pixel) == 0


def test_known_intensities_decide_the_count():
    """Two targets are too close to resolve, so that only their flux shows that there are two."""
    place = jnp.float32([[45.0, 55.0], [45.05, 55.3]])
    targets = make_targets(place, jnp.float32([235.0, 235.0]))
    ideal = np.asarray(render(targets, Sensor(height=SHAPE[0], width=SHAPE[1])))
    frame = 100 + 12.0 * np.random.default_rng(1).standard_normal(SHAPE) + ideal
    known = replace(PRIOR, min_intensity=220.0, max_intensity=250.0)
    counts = [len(replace(UNMIXER, prior=prior)(frame).blob) for prior in (PRIOR, known)]
    assert counts == [1, 2]


@pytest.mark.parametrize(
    ("frame", "message"),
    [
        (np.zeros((40, 40, 3)), r"of shape \(40, 40, 3\) is no frame"),
        (np.zeros((5, 40)), "5×40 px are too few"),
        (np.zeros((0, 40)), "0×40 px are too few"),
        (np.full((40, 40), 7.0), "does not vary .it reads 7.*read noise"),
        (np.full((40, 40), 900.0), "the background itself is saturated"),
        (np.full((40, 40), np.nan), "NaN or infinite"),
    ],
)
def test_invalid_frames_are_refused(frame, message):
    with pytest.raises(DistaxError, match=message):
        UNMIXER(frame)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"method": "quick"}, "unknown method for frames 'quick'"),
        ({"box": 3}, "box must be at least 16"),
        ({"false_blobs": 0.0}, "false_blobs must be greater"),
        ({"false_blobs": np.inf}, "false_blobs must be a finite number, got inf"),
        ({"method": 3}, "method must be of type str or WindowEstimator or None, got 3"),
        ({"method": Refine}, "got the class Refine; make an instance of it"),
        ({"method": Fast(create("density", width=8, blocks=1, rngs=nnx.Rngs(0)))}, "got a Fast"),
        ({"sensor": 5}, "sensor must be of type Sensor, got 5"),
        ({"prior": ScenePrior()}, "prior must be of type FramePrior, got a ScenePrior"),
        ({"box": 16.5}, "box must be a whole number, got 16.5"),
        ({"rows_at_once": 0.5}, "rows_at_once must be a whole number, got 0.5"),
    ],
)
def test_invalid_options_are_refused(options, message, any_types):
    with pytest.raises(DistaxError, match=message):
        FrameUnmixer(**options)


def test_the_posterior_takes_frames_too(pixels, found):
    sampled = replace(UNMIXER, method=Posterior(replace(QUICK, levels=2)))(pixels)
    assert len(sampled.blob) == len(found.blob)
    slots, distance = nearest(sampled)
    assert len(set(slots)) == len(TRUTH)
    assert (distance < 0.15).all()


def test_compiled_programs_are_shared_between_frames(pixels, found):
    """Another noise, saturation or number of blobs compiles no new program."""
    before = refine_rows_together._cache_size()
    assert before
    replace(UNMIXER, sensor=replace(CAMERA, saturation=800.0, read_noise=2.0))(pixels[:64, :64])
    assert refine_rows_together._cache_size() == before


def test_a_sensor_that_does_not_explain_the_blobs_is_warned_of():
    rng = np.random.default_rng(7)
    # So close together that no blob is isolated and shows the width of the PSF.
    place = np.stack(np.meshgrid(np.arange(10, 35, 5), np.arange(10, 35, 5)), axis=-1)
    place = place.reshape(-1, 2) + rng.uniform(-0.5, 0.5, (25, 2))
    targets = make_targets(jnp.float32(place), jnp.full(25, 600.0))
    wide = Sensor(height=SHAPE[0], width=SHAPE[1], sigma=0.6)
    frame = np.asarray(render(targets, wide)) + 100 + 2.0 * rng.standard_normal(SHAPE)
    with pytest.warns(DistaxWarning, match=r"the median misfit of 2\d blobs is .* check the sens"):
        UNMIXER(frame)


def test_the_network_answers_bright_blobs_and_the_fit_faint_ones(pixels):
    # Targets have 10 to 60% of a blob's flux, so a target's peak is fainter than the blob's.
    known = FramePrior(max_targets=2, cluster=1.0, min_share=0.1, max_share=0.6)
    search = Search(pool=32, starts=2)
    fit = Refine(search)
    network = FastFit(search=search, refine=fit)
    noisy = pixels + 40.0 * np.random.default_rng(6).standard_normal(SHAPE)
    by_network, by_fit = (
        FrameUnmixer(sensor=CAMERA, prior=known, method=method)(noisy) for method in (network, fit)
    )
    np.testing.assert_array_equal(by_network.blob, by_fit.blob)
    moved = np.any(by_network.targets.position != by_fit.targets.position, axis=-1)
    signal = by_fit.blobs.signal_to_noise[by_fit.blob]
    assert moved[signal > 20].all()
    assert not moved[signal < 9].any()
    assert (signal > 20).any()
    assert (signal < 9).any()


def test_the_default_method_is_fast_in_the_range_of_its_network():
    assert FrameUnmixer(prior=FramePrior(min_share=0.15)).estimator.name == "fast"
    assert FrameUnmixer().estimator.name == "refine"
    wide = Sensor(sigma=2.0, saturation=None, bit_depth=None)
    assert FrameUnmixer(sensor=wide, prior=FramePrior(min_share=0.15)).estimator.name == "refine"


def test_fast_refuses_what_its_network_does_not_know():
    with pytest.raises(DistaxError, match=r"prior's max_intensity to its min_intensity is 50"):
        FrameUnmixer(method="fast")
