"""Flat areas of frames: what is left out, and what is not."""

import numpy as np
import pytest

from distax import DistaxError, DistaxWarning, Sensor
from distax.frames import FramePrior, FrameUnmixer
from distax.frames.flat import WithoutFlat, survey
from distax.frames.sky import measure_sky
from distax.imaging.sensor import ROUNDING_VARIANCE

CAMERA = Sensor(saturation=None, bit_depth=None)
SHAPE = (150, 80)
FIRST = 101
"""First row below a saturated sky."""


@pytest.fixture(scope="module")
def half_saturated():
    """A saturated sky above ground of noise 3, with one target in it."""
    frame = 90 + 3 * np.random.default_rng(2).standard_normal(SHAPE)
    frame[119:122, 39:42] += [[8, 34, 8], [34, 149, 34], [8, 34, 8]]  # 320 counts
    frame[:FIRST] = 255
    return np.clip(np.rint(frame), 0, 255)


def test_a_saturated_sky_is_left_out_and_said_so(half_saturated):
    seen = survey(half_saturated)
    assert seen.whole
    assert not seen.constant
    assert seen.flat == (255.0,)
    # The rim of two rows below it is left out as well.
    assert seen.extent == (0, FIRST + 1, 0, SHAPE[1] - 1)
    assert seen.share == pytest.approx((FIRST + 2) / SHAPE[0])
    known = np.isfinite(WithoutFlat(half_saturated, seen.flat)[:])
    assert not known[: FIRST + 2].any()
    assert known[FIRST + 2 :].all()
    part = WithoutFlat(half_saturated, seen.flat)[95:110]
    np.testing.assert_array_equal(np.isfinite(part), known[95:110])


def test_the_rest_of_a_partly_flat_frame_is_unmixed(half_saturated):
    unmixer = FrameUnmixer(sensor=CAMERA, prior=FramePrior(max_targets=2, cluster=1.0))
    line = r"69% of the frame is flat and was left out: it reads 255, within rows 0 to 102"
    with pytest.warns(DistaxWarning, match=line) as caught:
        found = unmixer(half_saturated)
    assert len(caught) == 1
    assert found.blobs.pixel.tolist() == [[120, 40]]
    np.testing.assert_allclose(found.targets.position, [[120, 40]], atol=0.1)
    # The flat boxes have the noise of their neighbours.
    np.testing.assert_allclose(found.background.noise, 3.0, rtol=0.1)


def test_few_photons_and_clipped_stars_are_no_flat_areas():
    random = np.random.default_rng(3)
    dark = random.poisson(0.005, (128, 128)).astype(float)
    assert (dark == 0).mean() > 0.99
    assert survey(dark).flat == ()
    star = 50 + random.standard_normal((128, 128))
    star[40:52, 40:52] = 255
    assert survey(star).flat == ()


def test_whole_numbers_that_hardly_vary_have_the_noise_of_rounding():
    frame = np.rint(100.1 + 0.2 * np.random.default_rng(4).standard_normal((64, 64)))
    assert 0 < (frame != 100).mean() < 0.05
    sky = measure_sky(frame, 64, CAMERA)
    assert sky.least == ROUNDING_VARIANCE**0.5
    assert sky.whole


def test_a_frame_that_does_not_vary_is_refused():
    with pytest.raises(DistaxError, match="does not vary"):
        measure_sky(np.full((64, 64), 7.5), 64, CAMERA)
    row, column = np.indices((64, 64))
    spot = 50 * np.exp(-((row - 30) ** 2 + (column - 30) ** 2) / 40)
    stars = 7.5 + np.where(np.hypot(row - 30, column - 30) < 17, spot, 0.0)
    with pytest.raises(DistaxError, match=r"^8\d% of the frame is flat, .* state the read noise$"):
        measure_sky(stars, 64, CAMERA)
    # With a stated noise a simulated frame may be flat between its targets.
    frame = np.full((64, 64), 7.5)
    frame[20:24, 20:24] += np.arange(16).reshape(4, 4)
    known = Sensor(saturation=None, bit_depth=None, read_noise=1.0)
    assert np.isfinite(measure_sky(frame, 64, known).pixels[:]).all()


def test_the_line_says_that_a_rim_is_left_out_too(half_saturated):
    assert "within rows 0 to 102 and columns 0 to 79 with a rim of 2 px," in (
        survey(half_saturated).line
    )
