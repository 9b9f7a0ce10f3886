import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from distax import DistaxError
from distax.models import create
from distax.models.superresolution.cfgn import ContrastAttention


def test_channels_that_cannot_be_squeezed():
    with pytest.raises(DistaxError, match="channels must be a multiple of 8, got 12"):
        create("cfgn", channels=12, rngs=nnx.Rngs(0))


def test_maps_without_contrast_have_gradients():
    attention = ContrastAttention(8, rngs=nnx.Rngs(0))
    maps = jnp.ones((1, 3, 3, 8))
    assert jnp.isfinite(jax.grad(lambda maps: attention(maps).sum())(maps)).all()
    weights = attention(maps)
    # Each channel's standard deviation is 0 and its mean is 1.
    hidden = attention.squeeze(jnp.ones(8))
    expected = jax.nn.sigmoid(attention.excite(jnp.where(hidden > 0, hidden, 0.05 * hidden)))
    np.testing.assert_allclose(weights, jnp.broadcast_to(expected, maps.shape), rtol=1e-5)
