"""Frames without noise are refused if they vary, and frames with noise of any kind are not."""

import numpy as np
import pytest
from scipy.ndimage import gaussian_filter, zoom

from distax import DistaxError, Sensor
from distax.frames import FrameUnmixer
from distax.frames.detection import measure_detection
from distax.frames.sky import measure_sky
from distax.frames.smoothness import is_smooth

CAMERA = Sensor(saturation=None, bit_depth=None)
ROW, COLUMN = np.indices((40, 200)).astype(float)


@pytest.mark.parametrize(
    "ramp",
    [
        100 + 0.5 * ROW,
        (100 + 0.3 * ROW + 0.7 * COLUMN).astype(np.float32),
        100 + 3 * COLUMN,
        100 + 2 * ROW + COLUMN,
        1e-3 * ROW,
        1e4 + 1e3 * np.sin(ROW / 10) + COLUMN**2,
    ],
)
def test_a_ramp_has_no_answer(ramp):
    with pytest.raises(DistaxError, match=r"varies smoothly about .* state the read noise"):
        FrameUnmixer(sensor=CAMERA)(ramp)


def test_a_ramp_that_the_background_follows_has_no_targets():
    row, column = np.indices((96, 120))
    sky = measure_sky(np.rint(100 + 0.3 * row + 0.1 * column), 64, CAMERA)
    assert measure_detection(sky, 0.01, 0.5).kind == "gaussian"
    assert len(FrameUnmixer(sensor=CAMERA)(np.rint(100 + 0.3 * row + 0.1 * column)).blob) == 0
    # Exact steps leave nothing above the background in the middle of each box.
    exact = 100.0 + 2 * np.indices((64, 128))[1]
    with pytest.raises(DistaxError, match="varies smoothly"):
        measure_sky(exact, 64, CAMERA)


def test_a_stated_noise_takes_ramps():
    known = Sensor(saturation=None, bit_depth=None, read_noise=1.0)
    assert np.isfinite(measure_sky(100 + 3 * COLUMN, 64, known).pixels[:]).all()


@pytest.mark.parametrize("kind", [np.float32, np.float64])
def test_a_vignette_is_smooth_only_without_noise(kind):
    row, column = np.indices((96, 128)) - np.array([48, 64])[:, None, None]
    vignette = 5e4 * np.cos(np.hypot(row, column) / 120) ** 4
    spread = float(np.std(vignette))
    assert is_smooth(vignette.astype(kind), spread, False)
    stars = vignette.copy()
    stars[10:90:20, 10:120:20] += 1e3
    assert is_smooth(stars.astype(kind), spread, False)
    # One part in 50,000, far less than neighbours differ.
    noise = np.random.default_rng(3).standard_normal(row.shape)
    assert np.abs(np.diff(vignette)).max() > 100
    assert not is_smooth((vignette + noise).astype(kind), spread, False)
    assert not is_smooth((vignette + 5 * gaussian_filter(noise, 1.0)).astype(kind), spread, False)


def test_noise_is_not_smooth():
    noise = 3 * np.random.default_rng(1).standard_normal((96, 96))
    ramp = 50.0 * np.indices((96, 96))[1]
    for frame in (
        noise,
        ramp + noise,
        gaussian_filter(noise, 2.0),
        zoom(noise[:24, :24], 4, order=3),
    ):
        assert not is_smooth(frame, float(np.std(frame - ramp * (frame.max() > 1e3))), False)
    quiet = np.rint(100.1 + 0.2 * noise / 3)
    assert not is_smooth(quiet, 0.3, True)
    assert not is_smooth(np.rint(ramp + noise / 6), 0.5, True)
    stars = np.full((96, 96), 7.0)
    stars[20:24, 20:24] += 50.0
    assert not is_smooth(stars, 0.0, True)
