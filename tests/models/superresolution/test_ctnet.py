import pytest
from flax import nnx

from distax import DistaxError, Sensor
from distax.models import create


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"channels": 10, "skip_channels": 2}, "channels must be a multiple of 4, got 10"),
        ({"skip_channels": 3}, "channels must be a multiple of 3, got 64"),
        ({"tail_channels": 0}, "tail_channels must be greater than 0"),
        ({"sensor": Sensor(height=7, width=5)}, "at least 7 pixels high and wide, got 7×5"),
    ],
)
def test_sizes_that_cannot_work_are_refused(options, message):
    with pytest.raises(DistaxError, match=message):
        nnx.eval_shape(lambda: create("ctnet", rngs=nnx.Rngs(0), **options))
