from dataclasses import replace

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from flax import nnx

from distax.runtime.sharding import data_mesh
from distax.training.building import abstract_model, create_model
from distax.training.config import ModelConfig
from distax.training.setup import build
from distax.training.state import init_state, merge


def test_merging_puts_arrays_into_an_abstract_model(tiny_config):
    model = create_model(tiny_config)
    state = init_state(model, optax.identity())
    merged = merge(abstract_model(tiny_config), state.params, state.constants)
    jax.tree.map(np.testing.assert_array_equal, nnx.state(merged), nnx.state(model))


@pytest.mark.parametrize("name", ["lamp", "liht", "lista", "tilista"])
def test_arrays_that_start_alike_are_each_its_own(tiny_config, name):
    config = replace(tiny_config, model=ModelConfig(name, options={"window": 3, "layers": 2}))
    setup = build(config, data_mesh(jax.devices()[:1]))
    state = setup.initial_state()
    places = [leaf.unsafe_buffer_pointer() for leaf in jax.tree.leaves(state)]
    assert len(set(places)) == len(places)
    (batches,) = setup.feed.batches([range(1)])
    _, losses = setup.train_steps(state, batches)
    assert jnp.isfinite(losses).all()
