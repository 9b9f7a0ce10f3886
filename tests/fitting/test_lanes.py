import jax.numpy as jnp
import numpy as np

from distax.fitting.lanes import LANES, join, split


def test_portions_keep_the_lanes_in_their_order():
    lanes = jnp.arange(2.0 * 3 * 2 * LANES).reshape(2, 3, -1)
    chunks = split(lanes)
    assert len(chunks) == 2  # on a CPU, where the tests run
    np.testing.assert_array_equal(chunks[1], lanes[..., LANES:])
    np.testing.assert_array_equal(join(chunks), lanes)
