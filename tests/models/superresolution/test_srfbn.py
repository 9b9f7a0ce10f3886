import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx

from distax.models.layers.resampling import upsample
from distax.models.superresolution.srfbn import Srfbn


def test_what_is_learned_is_added_to_the_interpolated_image():
    model = Srfbn(channels=4, groups=1, rngs=nnx.Rngs(0))
    nnx.update(model, jax.tree.map(jnp.zeros_like, nnx.state(model, nnx.Param)))
    images = 100 * jax.random.uniform(jax.random.key(1), (2, 11, 11))
    expected = upsample(images[..., None], 3, "bilinear")[..., 0]
    np.testing.assert_allclose(model(images), expected, rtol=0, atol=1e-4)
