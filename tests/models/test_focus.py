import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from distax import DistaxError
from distax.models import create
from distax.models.focus import Focus


class Told(Focus):
    """FOCUS that answers what it was told."""

    def __call__(self, images):
        return self.answer


def test_the_objective_is_the_originals(reference):
    arrays = reference("zoo_more/focus_loss")
    images = jnp.asarray(arrays["images"].reshape(-1, 11, 11), float)
    found, grids = (arrays[name].reshape(-1, 33, 33) for name in ("prediction", "label"))
    error, energy, sparsity, total = arrays["losses"]
    terms = Focus.terms(jnp.asarray(found), images, jnp.asarray(grids))
    np.testing.assert_allclose(terms, (error, 10 * energy, 100 * sparsity), rtol=1e-5)
    model = Told(rngs=nnx.Rngs(0))
    model.answer = nnx.data(jnp.asarray(found))
    np.testing.assert_allclose(model.objective(images, jnp.asarray(grids)), total, rtol=1e-5)


def test_a_negative_weight_is_refused():
    with pytest.raises(DistaxError, match="energy_weight"):
        create("focus", energy_weight=-0.1, rngs=nnx.Rngs(0))
