import numpy as np
import pytest

from distax.calibration.limits import find_limits

RNG = np.random.default_rng(0)
LIGHT = RNG.exponential(40.0, (20, 11, 11)) + 5


@pytest.mark.parametrize(
    ("counts", "bits", "well", "white"),
    [
        (np.minimum(np.round(LIGHT), 255), 8, 255.0, 255),
        (np.minimum(np.round(LIGHT), 120), 8, 120.0, 120),
        (np.minimum(np.round(100 * LIGHT), 4095), 12, 4095.0, 4095),
        (np.minimum(np.round(100 * LIGHT), 5000), 16, 5000.0, 5000),
        (np.round(1000 * LIGHT[:5]), 19, None, 2**19 - 1),
        (np.round(LIGHT[LIGHT < 250]).reshape(1, 1, -1), 8, None, 255),
        (np.minimum(LIGHT, 90.5), None, 90.5, 90.5),
        (LIGHT, None, None, np.inf),
        (np.round(LIGHT) - 20, None, None, np.inf),
        (np.full((5, 11, 11), 2.0), 8, None, 255),
    ],
)
def test_rounding_and_clipping_are_seen(counts, bits, well, white):
    limits = find_limits(counts.astype(np.float32))
    assert (limits.bit_depth, limits.saturation) == (bits, well)
    assert (limits.digital, limits.white) == (bits is not None, white)


def test_pixels_that_are_nan_say_nothing():
    counts = np.round(LIGHT).clip(0, 200).astype(np.float32)
    counts[:, 0] = np.nan
    assert find_limits(counts).saturation == 200.0
