"""The measurements of `distax benchmark`: simulation, training, inference, methods and metric."""

import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import product
from typing import Any

import jax
import numpy as np
from flax import nnx

from distax.benchmarking.figures import Figure, time_calls
from distax.imaging.grid import decode, rasterize
from distax.imaging.scenes import ScenePrior, simulate
from distax.imaging.sensor import Sensor
from distax.metrics import CsoSums
from distax.runtime.batching import inference_batch
from distax.runtime.errors import DistaxError, first_line
from distax.runtime.platforms import default_platform
from distax.runtime.sharding import data_mesh
from distax.training.config import ModelConfig, TrainConfig
from distax.training.setup import build
from distax.training.state import create_model, lower_train_steps
from distax.unmixer import Unmixer

BATCHES = (64, 1024, 8192, 65_536)
_TOLERANCE = 1e-3
"""Largest difference from the CPU's answer, as a share of the brightest node. Accelerators round
factors of products, which costs less than this."""
_METHODS = {"fast": 4096, "refine": 1024, "posterior": 32}
"""Methods of `Unmixer`, with their images on an accelerator; a CPU takes an eighth of them."""
_SCORED = 10_000


@dataclass(frozen=True)
class _Task:
    """A measurement that is still to be made.

    Attributes:
      name, images: as in `Figure`.
      make: prepares the measurement and makes it.
    """

    name: str
    images: int
    make: Callable[[], Figure]


def check_parity() -> float:
    """Compares DISTA-Net on the default device with DISTA-Net on the CPU.

    Returns:
      The largest difference, as a share of the brightest node.

    Raises:
      DistaxError: they differ by more than rounding.
    """
    config = TrainConfig(model=ModelConfig(options={"stages": 2, "channels": 64}))
    graphdef, state = nnx.split(create_model(config))
    images, _ = simulate(jax.random.key(0), 16, config.sensor, config.prior)
    answers = []
    for device in (jax.devices("cpu")[0], jax.devices()[0]):
        arguments = jax.device_put((state, images), device)
        infer = jax.jit(lambda state, images: nnx.merge(graphdef, state)(images))
        answers.append(np.asarray(infer(*arguments)))
    difference = float(np.abs(answers[0] - answers[1]).max() / np.abs(answers[0]).max())
    if difference > _TOLERANCE:
        raise DistaxError(
            f"DISTA-Net on {jax.devices()[0].device_kind} differs from the CPU by "
            f"{difference:.1e} of the brightest node; report this with the versions of JAX and of "
            "the driver"
        )
    return difference


def measure(batches: Sequence[int] = BATCHES, seconds: float = 600.0) -> Iterator[Figure]:
    """Yields measurements, the smaller batches first.

    Args:
      batches: batch sizes of DISTA-Net's inference and training.
      seconds: time after which no further measurement begins. A measurement that would go on for
        more than a fifth of it, judged by the smaller batch before it, is left out too.
    """
    begin, rates = time.perf_counter(), dict[str, float]()
    for task in _tasks(batches):
        spent = time.perf_counter() - begin
        expected = 4 * task.images * rates.get(task.name, 0.0)
        if spent > seconds or expected > seconds / 5:
            yield Figure(task.name, task.images, refused="would take too long")
            continue
        try:
            figure = task.make()
        # JAX's error for a device without enough memory.
        except jax.errors.JaxRuntimeError as error:
            yield Figure(task.name, task.images, refused=first_line(error))
            continue
        if figure.seconds is not None:
            rates[task.name] = figure.seconds / task.images
        yield figure


def _tasks(batches: Sequence[int]) -> Iterator[_Task]:
    on_cpu = default_platform() == "cpu"
    count = 10_000 if on_cpu else 1_000_000
    yield _Task("simulation", count, partial(_simulation, count))
    yield _Task("CSO-mAP", _SCORED, _metric)
    for name, many in _METHODS.items():
        images = many // 8 if on_cpu else many
        yield _Task(name, images, partial(_method, name, images))
    for batch, dtype, window in product(sorted(batches), ("float32", "bfloat16"), (None, 7)):
        options: dict[str, Any] = {"precision": dtype}
        seen = "whole images" if window is None else f"window {window}"
        if window is not None:
            options["model"] = ModelConfig(options={"window": window})
        for what, make in (("inference", _inference), ("training", _training)):
            name = f"DISTA-Net {what}, {dtype}, {seen}"
            yield _Task(name, batch, partial(make, name, batch, options))


def _simulation(count: int) -> Figure:
    prior, sensor = ScenePrior(), Sensor()
    return time_calls(
        "simulation", count, lambda: simulate(jax.random.key(1), count, sensor, prior)
    )


def _metric() -> Figure:
    _, truth = simulate(jax.random.key(1), _SCORED, Sensor(), ScenePrior())
    grids = rasterize(truth, Sensor(), 3)
    found = decode(grids + jax.random.normal(jax.random.key(2), grids.shape))
    score = jax.jit(lambda found, truth: CsoSums.of(found, truth).value())
    return time_calls("CSO-mAP", _SCORED, lambda: score(found, truth))


def _method(name: str, count: int) -> Figure:
    images = np.asarray(simulate(jax.random.key(1), count, Sensor(), ScenePrior())[0])
    unmixer = Unmixer(method=name)
    return time_calls(name, count, lambda: unmixer(images).position, repetitions=2)


def _inference(name: str, batch: int, options: dict[str, Any]) -> Figure:
    config = TrainConfig(**options)
    graphdef, state = nnx.split(create_model(config))
    images, _ = simulate(jax.random.key(1), batch, config.sensor, config.prior)
    part = min(batch, inference_batch())

    @jax.jit
    def infer(state: nnx.State, images: jax.Array) -> jax.Array:
        parts = images.reshape(-1, part, *images.shape[1:])
        return jax.lax.map(nnx.merge(graphdef, state), parts)

    return time_calls(name, batch, lambda: infer(state, images))


def _training(name: str, batch: int, options: dict[str, Any]) -> Figure:
    config = TrainConfig(batch_size=batch, **options)
    setup = build(config, data_mesh(jax.devices()[:1]))
    (batches,) = setup.feed.batches([range(1)])
    state = setup.initial_state()
    steps = setup.train_steps
    compiled = lower_train_steps(steps, state, batches).compile()
    analysis = compiled.cost_analysis() or {}

    def advance() -> jax.Array:
        nonlocal state
        state, losses = compiled(state, batches)
        return losses

    return time_calls(name, batch, advance, flops=analysis.get("flops"))
