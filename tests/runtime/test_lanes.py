import jax.numpy as jnp
import numpy as np

from distax.runtime.batching import LANES, map_lanes


def test_portions_keep_the_lanes_in_their_order():
    lanes = jnp.arange(2.0 * 3 * 2 * LANES).reshape(2, 3, -1)
    seen = []

    def double(chunk):
        seen.append(chunk.shape[-1])
        return 2 * chunk[0]

    np.testing.assert_array_equal(map_lanes(double, lanes), 2 * lanes[0])
    assert LANES in seen  # on a CPU, where the tests run
