import jax
import numpy as np
import pytest
from flax import nnx

from distax import DistaxError
from distax.models import create
from distax.models.keys import Limit, parameter_rngs


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


def test_a_model_that_takes_too_many_keys_is_refused_in_time():
    with pytest.raises(DistaxError, match="more than 3,000 arrays"):
        nnx.eval_shape(lambda: create("ista_net", stages=10**9, rngs=parameter_rngs(0)))
    with pytest.raises(DistaxError, match=r"^no more$"):
        create("srcnn", rngs=parameter_rngs(0, Limit(5, "no more")))
    create("srcnn", rngs=parameter_rngs(0, Limit(6, "no more")))
