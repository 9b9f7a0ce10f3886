import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from distax import DistaxError, Sensor
from distax.models import create
from distax.models.superresolution.fenet import NormalizedConv


def test_only_the_direction_of_the_kernel_counts():
    conv = NormalizedConv(2, 3, rngs=nnx.Rngs(0))
    maps = jnp.arange(50.0).reshape(1, 5, 5, 2)
    expected = conv(maps)
    conv.direction[...] = 7 * conv.direction[...]
    np.testing.assert_allclose(conv(maps), expected, rtol=0, atol=1e-4)
    conv.norm[...] = conv.norm[...] * jnp.array([1.0, 2.0, 0.0])
    np.testing.assert_allclose(conv(maps), expected * jnp.array([1.0, 2.0, 0.0]), rtol=0, atol=1e-4)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"channels": 9, "groups": 3}, "channels must be a multiple of 2, got 9"),
        ({"groups": 5}, "channels must be a multiple of 5, got 64"),
        ({"sensor": Sensor(height=3, width=9)}, "at least 4 pixels high and wide, got 3×9"),
    ],
)
def test_sizes_that_cannot_work_are_refused(options, message):
    with pytest.raises(DistaxError, match=message):
        nnx.eval_shape(lambda: create("fenet", rngs=nnx.Rngs(0), **options))
