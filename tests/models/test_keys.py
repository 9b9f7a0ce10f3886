import jax
import numpy as np
from flax import nnx

from distax.models import create
from distax.models.keys import parameter_rngs


def test_parameters_are_those_of_flax_keys():
    ours, theirs = (
        nnx.state(create("srcnn", rngs=rngs)) for rngs in (parameter_rngs(3), nnx.Rngs(3))
    )
    jax.tree.map(np.testing.assert_array_equal, ours, theirs)
    first = parameter_rngs(3)
    assert (jax.random.key_data(first.params()) != jax.random.key_data(first.params())).any()


def test_keys_are_not_counted_under_a_trace():
    def three_keys():
        rngs = parameter_rngs(0)
        return [rngs.params() for _ in range(3)]

    primitives = {str(equation.primitive) for equation in jax.make_jaxpr(three_keys)().eqns}
    assert "random_fold_in" in primitives
    assert "add" not in primitives
