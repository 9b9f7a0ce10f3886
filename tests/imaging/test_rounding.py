import numpy as np
import pytest

from distax import DistaxError, Sensor
from distax.imaging.rounding import check_level, lossy_step


@pytest.mark.parametrize(
    ("level", "dtype", "whole", "step"),
    [
        (1e8, np.float32, False, 8.0),
        (-1e8, np.float32, False, 8.0),
        (1e8, np.float64, False, 2.0**-26),
        (1e8, np.int32, True, 0.0),
        (1e8, np.float32, True, 8.0),
        (2.0**23, np.float32, True, 0.0),
        (1000.0, np.float16, False, 0.5),
    ],
)
def test_numbers_are_as_far_apart_as_their_type_makes_them(level, dtype, whole, step):
    assert lossy_step(level, dtype, whole) == step


def test_a_background_must_leave_room_for_the_noise():
    check_level(Sensor(background=1e7, read_noise=3.0, saturation=None, bit_depth=None))
    check_level(Sensor(background=2.0**23, saturation=None, bit_depth=32))
    with pytest.raises(DistaxError, match="32 bits 8 counts apart, more than the noise of 3: sub"):
        check_level(Sensor(background=1e8, read_noise=3.0, saturation=None, bit_depth=None))
    with pytest.raises(DistaxError, match=r"32 bits 2 counts apart, .* the noise of 0\.289"):
        check_level(Sensor(background=2e7, saturation=None, bit_depth=32))
