"""Matrix products that decide positions are computed in full float32."""

from collections.abc import Iterator

import jax
import jax.numpy as jnp
import pytest
from flax import nnx
from jax.extend.core import ClosedJaxpr, Jaxpr

from distax import Sensor
from distax.fitting import posterior
from distax.fitting.patch import cut_rows
from distax.fitting.population import SEARCH
from distax.fitting.prior import starting_scenes
from distax.fitting.sampler import Effort, draw_noise
from distax.imaging.scenes import ScenePrior
from distax.models import create
from distax.models.unfolding.base import gradient_step
from distax.runtime.numerics import exact_products

IMAGES = jax.ShapeDtypeStruct((2, 11, 11), jnp.float32)
HIGHEST = (jax.lax.Precision.HIGHEST, jax.lax.Precision.HIGHEST)


def detect(name, **options):
    model = nnx.eval_shape(lambda: create(name, sensor=Sensor(), rngs=nnx.Rngs(0), **options))
    graph, state = nnx.split(model)
    return lambda state, images: nnx.merge(graph, state).detect(images), (state, IMAGES)


def sample():
    prior, sensor = ScenePrior(), Sensor()
    noise = draw_noise(jax.random.key(0), 2, Effort(levels=1, moves=1))
    pool = starting_scenes(prior, 2, SEARCH.pool)
    windows = jax.eval_shape(lambda images: cut_rows(images, sensor, 5), IMAGES)

    def sampled(rows):
        return posterior._sample(
            rows,
            noise,
            pool,
            sensor.psf,
            prior,
            summarise=lambda position, intensity: (position, intensity),
            devices=tuple(jax.local_devices()[:1]),
        )

    return sampled, ((windows, jnp.ones(2), None),)


def descend():
    shapes = [(2, 9), (2, 4), (4, 9), ()]
    return gradient_step, [jax.ShapeDtypeStruct(shape, jnp.float32) for shape in shapes]


def precisions(jaxpr: Jaxpr) -> Iterator[object]:
    """Yields the precision of every matrix product, also of those in loops and branches."""
    for equation in jaxpr.eqns:
        if equation.primitive.name == "dot_general":
            yield equation.params["precision"]
        for inner in jax.tree.leaves(
            list(equation.params.values()), is_leaf=lambda x: isinstance(x, ClosedJaxpr | Jaxpr)
        ):
            if isinstance(inner, ClosedJaxpr | Jaxpr):
                yield from precisions(getattr(inner, "jaxpr", inner))


@pytest.mark.parametrize(
    "decider",
    [
        lambda: detect("density", width=8, blocks=1, spacing=0.2),
        lambda: detect("fista", iterations=2),
        lambda: detect("nnls", iterations=2),
        sample,
        descend,
    ],
    ids=["density", "fista", "nnls", "posterior", "gradient_step"],
)
def test_products_that_decide_positions_are_exact(decider):
    function, arguments = decider()
    found = list(precisions(jax.make_jaxpr(function)(*arguments).jaxpr))
    assert found
    assert set(found) == {HIGHEST}


def test_others_are_as_the_device_likes_them():
    square = jnp.ones((2, 2))
    assert list(precisions(jax.make_jaxpr(jnp.matmul)(square, square).jaxpr)) == [None]
    exact = jax.make_jaxpr(exact_products(jnp.matmul))(square, square)
    assert list(precisions(exact.jaxpr)) == [HIGHEST]
