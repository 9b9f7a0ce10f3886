"""The form for TPUs has the value and the gradients of the plain form."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from distax import Sensor
from distax.models import create
from distax.models.unfolding import dista
from distax.models.unfolding.dista_lanes import final_estimate

SENSOR = Sensor(height=5, width=6)


def build(name="dista", channels=32, **options):
    phi = SENSOR.sampling_matrix(3)
    return create(
        name,
        factor=3,
        sensor=SENSOR,
        phi=phi,
        q_init=phi.T,
        stages=2,
        channels=channels,
        hidden=8,
        rngs=nnx.Rngs(0),
        **options,
    )


def images_of(count):
    return jnp.float32(np.random.default_rng(count).uniform(0, 200, (count, 5, 6)))


@pytest.mark.parametrize("name", ["dista", "dista_transform", "dista_threshold"])
@pytest.mark.parametrize(("channels", "count"), [(64, 4), (32, 6), (32, 3), (130, 2)])
def test_estimates_are_those_of_the_plain_form(name, channels, count):
    """Groups of two, three and one samples, and more channels than lanes."""
    model, images = build(name, channels), images_of(count)
    y, x = model.initialise(images)
    found = final_estimate(model.stages, x, y, model.phi[...])
    np.testing.assert_allclose(found, model.iterates(images)[-1], rtol=2e-4, atol=2e-3)


@pytest.mark.parametrize("name", ["dista", "dista_transform", "dista_threshold"])
def test_gradients_are_those_of_the_plain_form(name):
    model, images = build(name), images_of(4)
    grids = jnp.abs(model.iterates(images)[0]) / 50
    graph, params, constants = nnx.split(model, nnx.Param, ...)

    def value(params, run):
        merged = nnx.merge(graph, params, constants)
        y, x = merged.initialise(images)
        x, symmetry = run(merged, x, y)
        return jnp.mean((x - grids) ** 2) + symmetry

    found, wanted = (
        jax.jit(jax.value_and_grad(value), static_argnums=1)(params, run)
        for run in (dista._run_in_lanes, dista._run_unrolled)
    )
    for one, other in zip(jax.tree.leaves(found), jax.tree.leaves(wanted), strict=True):
        scale = float(jnp.max(jnp.abs(other)))
        np.testing.assert_allclose(one, other, rtol=1e-3, atol=1e-4 * scale)


def test_a_tpu_runs_a_loop_over_stages_and_others_do_not():
    model, images = build(), images_of(4)
    graph, state = nnx.split(model)
    traced = jax.jit(lambda state, images: nnx.merge(graph, state)(images)).trace(state, images)
    for platform, loops in (("tpu", 1), ("cuda", 0), ("cpu", 0)):
        text = traced.lower(lowering_platforms=(platform,)).as_text()
        assert text.count("stablehlo.while") == loops
