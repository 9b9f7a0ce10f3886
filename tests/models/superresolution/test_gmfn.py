import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from distax import DistaxError, Sensor
from distax.models.superresolution.gmfn import Gmfn

SIZES = {"channels": 4, "blocks": 2, "sources": 1}
SENSOR = Sensor(height=5, width=5)


def test_it_trains_every_step():
    model = Gmfn(**SIZES, steps=3, sensor=SENSOR, rngs=nnx.Rngs(0))
    images = 100 * jax.random.uniform(jax.random.key(1), (2, 5, 5))
    grids = jnp.ones((2, 15, 15))
    answers = jax.jit(lambda model: model.answers(images))(model)
    errors = [float(jnp.mean((answer - grids) ** 2)) for answer in answers]
    assert len(set(errors)) == 3
    np.testing.assert_allclose(model.objective(images, grids), np.mean(errors), rtol=1e-5)


def test_feedback_has_no_part_in_one_step():
    model = Gmfn(**SIZES, steps=1, sensor=SENSOR, rngs=nnx.Rngs(0))
    images = jnp.ones((1, 5, 5))
    before = model(images)
    nnx.update(model.feedback, jax.tree.map(jnp.zeros_like, nnx.state(model.feedback)))
    np.testing.assert_array_equal(model(images), before)


def test_more_sources_than_blocks_are_refused():
    with pytest.raises(DistaxError, match="sources must be at most the 2 blocks, got 3"):
        Gmfn(channels=4, blocks=2, sources=3, rngs=nnx.Rngs(0))
