"""Estimators under one protocol, and what they compile."""

from collections.abc import Iterator
from dataclasses import FrozenInstanceError, replace

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from distax import DistaxError, Sensor, Unmixer, frames
from distax.fitting.candidates import Search
from distax.fitting.estimators import Fast, FastFit, Grid, Posterior, Refine
from distax.fitting.network import ModeNetwork
from distax.fitting.refine import refine_rows
from distax.fitting.sampler import Effort
from distax.imaging.scenes import ScenePrior, simulate
from distax.metrics import assign
from distax.models import create
from distax.models.keys import parameter_rngs

SENSOR = Sensor(read_noise=2.0)
# Unlike those of other tests, whose starting scenes are kept.
PRIOR = ScenePrior(max_targets=1, min_intensity=219.5)
OTHER = Sensor(sigma=np.float32(0.52), saturation=np.int64(200), read_noise=1.5, background=3.0)
OTHER_PRIOR = ScenePrior(
    max_targets=1, min_intensity=jnp.array(200.0), max_intensity=300.0, separation=0.6
)
# It gives the mixture of the fits' own Gaussians.
NETWORK = ModeNetwork(width=8, blocks=1, rngs=nnx.Rngs(0))
_LOWERED = "/jax/core/compile/jaxpr_to_mlir_module_duration"


@pytest.fixture
def lowered() -> Iterator[list[str]]:
    """List of the programs that JAX has lowered so far."""
    seen: list[str] = []

    def listen(event: str, duration: float, **_: object) -> None:
        if event == _LOWERED:
            seen.append(event)

    jax.monitoring.register_event_duration_secs_listener(listen)
    yield seen
    jax.monitoring.unregister_event_duration_listener(listen)


@pytest.mark.parametrize(
    "method", [Refine(), FastFit(NETWORK), Posterior(Effort(levels=2, moves=2))]
)
def test_another_sensor_or_prior_compiles_nothing_again(method, lowered):
    scenes = [
        simulate(jax.random.key(2), 5, sensor, prior)
        for sensor, prior in ((SENSOR, PRIOR), (OTHER, OTHER_PRIOR))
    ]
    method(np.asarray(scenes[0][0]), SENSOR, PRIOR)
    before = len(lowered)
    assert before > 0
    found = method(np.asarray(scenes[1][0]), OTHER, OTHER_PRIOR)
    assert len(lowered) == before
    # And the answers are those of the other sensor.
    assert float(np.median(assign(found, scenes[1][1]).distance[found.mask])) < 0.05


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: Posterior(seed=2**70), r"seed must be from 0 to 2\*\*32 - 1, got"),
        (lambda: Posterior(seed=1.5), "seed must be a whole number, got 1.5"),
        (lambda: Posterior(effort=5), "effort must be of type Effort, got 5"),
        (lambda: Posterior(refine=Posterior()), "refine must be of type Refine, got a Posterior"),
        (lambda: Refine(5), "search must be of type Search, got 5"),
        (lambda: Fast(5), "model must be of type Model, got 5"),
        (lambda: Grid(5), "model must be of type GridModel, got 5"),
    ],
)
def test_settings_of_other_types_are_refused_at_once(make, message, any_types):
    with pytest.raises(DistaxError, match=message):
        make()


def test_another_threshold_compiles_nothing_again(lowered):
    images = np.zeros((1, 11, 11), np.float32)
    images[0, 5, 5] = 250.0
    model = create("fista", iterations=8, rngs=parameter_rngs(0))
    (first,) = Grid(model, 1.0)(images, SENSOR, PRIOR).count
    before = len(lowered)
    found = Grid(model, 1e9)(images, SENSOR, PRIOR)
    assert len(lowered) == before
    assert (first > 0, found.mask.any()) == (True, False)


def test_another_number_of_images_compiles_nothing_again(lowered):
    images = np.asarray(simulate(jax.random.key(3), 40, SENSOR, PRIOR)[0])
    whole = Refine()(images, SENSOR, PRIOR)
    before = len(lowered)
    for number in (1, 7, 33):
        part = Refine()(images[:number], SENSOR, PRIOR)
        jax.tree.map(lambda a, b, n=number: np.testing.assert_array_equal(a, b[:n]), part, whole)
    assert len(lowered) == before


def test_another_camera_of_frames_compiles_no_fit_again():
    rng = np.random.default_rng(0)
    pixels = rng.normal(100, 2, (64, 64)).astype(np.float32)
    pixels[30:33, 30:33] += [[20, 60, 20], [60, 300, 60], [20, 60, 20]]
    prior = frames.FramePrior(max_targets=1)
    camera = Sensor(saturation=None, bit_depth=None)
    first = frames.FrameUnmixer(sensor=camera, prior=prior)(pixels)
    before = refine_rows._cache_size()
    second = frames.FrameUnmixer(sensor=replace(camera, sigma=0.55), prior=prior)(1.5 * pixels)
    assert refine_rows._cache_size() == before
    assert len(first.blobs.pixel) == len(second.blobs.pixel) == 1


def test_an_unmixer_gives_the_answers_of_its_estimator():
    images = np.asarray(simulate(jax.random.key(3), 5, SENSOR, PRIOR)[0])
    direct = Refine()(images, SENSOR, PRIOR)
    named = Unmixer(method="refine", sensor=SENSOR, prior=PRIOR)(images)
    given = Unmixer(method=Refine(), sensor=SENSOR, prior=PRIOR)(images)
    for found in (named, given):
        jax.tree.map(np.testing.assert_array_equal, found, direct)


def test_estimators_are_immutable_settings():
    assert Refine() == Refine(Search())
    with pytest.raises(FrozenInstanceError):
        Refine().search = Search(starts=2)
    solver = create("nnls", rngs=parameter_rngs(0))
    assert [estimator.name for estimator in (Refine(), Posterior(), Grid(solver))] == [
        "refine",
        "posterior",
        "grid",
    ]
    assert Fast.name == "fast"
    assert not Grid(solver).fits
    assert Refine().fits
