"""The platform that a program is lowered for decides its form, not the host that lowers it."""

import re
from functools import partial

import jax
import jax.numpy as jnp
import pytest
from flax import nnx

from distax import Sensor
from distax.evaluation.assessment import ModelScorer
from distax.fitting.refine import refine
from distax.imaging.scenes import ScenePrior, simulate
from distax.models import create
from distax.runtime.platforms import default_platform, evaluate_by_platform
from distax.runtime.sharding import data_mesh
from distax.training.config import ModelConfig, TrainConfig
from distax.training.setup import build

IMAGES = jax.ShapeDtypeStruct((4, 11, 11), jnp.float32)
PLATFORMS = ("cpu", "cuda", "tpu")


def train_step():
    model = ModelConfig("espcn", options={"window": 5})
    setup = build(TrainConfig(model=model, batch_size=4), data_mesh(jax.devices()[:1]))
    batches = jax.eval_shape(lambda: next(setup.feed.batches([range(1)])))
    steps = setup.train_steps
    return partial(steps.func, **steps.keywords), (setup.abstract_state, batches)


def detect(name, **options):
    model = nnx.eval_shape(lambda: create(name, sensor=Sensor(), rngs=nnx.Rngs(0), **options))
    graphdef, state = nnx.split(model)
    return lambda state, images: nnx.merge(graphdef, state).detect(images), (state, IMAGES)


def evaluation():
    model = nnx.eval_shape(lambda: create("espcn", sensor=Sensor(), rngs=nnx.Rngs(0)))
    graphdef, state = nnx.split(model)
    scorer = ModelScorer(Sensor(), None, graphdef, 2)
    rows = jax.eval_shape(lambda: simulate(jax.random.key(0), 4, Sensor(), ScenePrior()))
    threshold = jax.ShapeDtypeStruct((), jnp.float32)
    return scorer, ((state, threshold), rows, jax.ShapeDtypeStruct((4,), jnp.int32))


def fit():
    return partial(refine, sensor=Sensor(), prior=ScenePrior(max_targets=2)), (IMAGES,)


PATHS = {
    "train": train_step,
    "density": partial(detect, "density", width=8, blocks=1),
    "espcn": partial(detect, "espcn"),
    "evaluate": evaluation,
    "refine": fit,
}


OF_LIBRARIES = {"density", "evaluate"}
"""Paths with matrix decompositions, which JAX itself lowers in another way for each platform."""


def lowered(function, arguments):
    traced = jax.jit(function).trace(*arguments)
    return {name: traced.lower(lowering_platforms=(name,)).as_text() for name in PLATFORMS}


def operations(text):
    return sorted(re.findall(r"stablehlo\.\w+", text))


@pytest.mark.parametrize("path", PATHS)
def test_accelerators_compute_alike_and_the_host_decides_nothing(path, monkeypatch):
    function, arguments = PATHS[path]()
    programs = lowered(function, arguments)
    if path not in OF_LIBRARIES:
        assert operations(programs["cuda"]) == operations(programs["tpu"])
    monkeypatch.setattr(jax, "default_backend", lambda: "tpu")
    monkeypatch.setattr(jax, "device_count", lambda: 64)
    function, arguments = PATHS[path]()
    again = lowered(lambda *arguments: function(*arguments), arguments)
    for name in PLATFORMS:
        assert operations(programs[name]) == operations(again[name])


def test_value_and_gradient_have_the_form_of_their_platform():
    def usual(x):
        return jnp.sum(x**2)

    def other(x):
        return jnp.sum(jnp.sin(x))

    def chosen(x):
        return 3.0 * evaluate_by_platform(usual, {"tpu": other}, x)

    x = jnp.array([0.5, 2.0])
    assert float(jax.jit(chosen)(x)) == pytest.approx(3 * 4.25)
    assert jax.grad(chosen)(x).tolist() == [3.0, 12.0]
    for function in (chosen, jax.grad(chosen)):
        programs = lowered(function, (x,))
        waves = r"stablehlo\.(?:sine|cosine)"
        assert re.search(waves, programs["tpu"])
        assert not re.search(waves, programs["cpu"] + programs["cuda"])


def test_the_default_platform_is_that_of_the_default_device():
    assert default_platform() == "cpu"
    with jax.default_device(jax.devices("cpu")[1]):
        assert default_platform() == "cpu"
