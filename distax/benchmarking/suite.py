"""The measurements of `distax benchmark`: simulation, training, inference, methods and metric."""

import os
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import partial
from itertools import product
from typing import get_args

import jax
import numpy as np

from distax.benchmarking.figures import DISTAX, Figure
from distax.benchmarking.networks import WINDOW, Network, prepare_inference, prepare_training
from distax.benchmarking.timing import Candidate, jax_candidate, time_in_turn
from distax.benchmarking.torch_process import COMPILED, EAGER, TorchProcess
from distax.costs import find_peak
from distax.imaging.grid import decode, rasterize
from distax.imaging.scenes import ScenePrior, simulate
from distax.imaging.sensor import Sensor
from distax.metrics import CsoSums
from distax.models.layers.precision import Precision
from distax.runtime.platforms import default_platform
from distax.unmixer import Unmixer

BATCHES = (64, 1024, 8192, 65_536)
_METHODS = {"fast": (1024, 131_072), "refine": (1024, 131_072), "posterior": (16, 1024)}
"""Methods of `Unmixer`, with their images on a CPU and on an accelerator."""
_SCORED = 10_000
_LARGEST_TORCH_BATCH = 1024
"""Larger batches are not faster in PyTorch, and need more memory than most devices have."""
_LONGEST = 0.1
"""Share of the whole time that a measurement may take."""
_CALLS = 4
"""Calls of a measurement that takes long: a first one and three rounds."""


@dataclass(frozen=True)
class Task:
    """A measurement that is still to be made.

    Attributes:
      name, images, flops: as in `Figure`.
      makers: by library, functions that prepare what is timed.
    """

    name: str
    images: int
    makers: dict[str, Callable[[], Candidate]]
    flops: float | None = None


def measure(
    torch: TorchProcess | None = None, batches: Sequence[int] = BATCHES, seconds: float = 600.0
) -> Iterator[Figure]:
    """Yields measurements: the smallest batch, then inference and training with the larger ones.

    Args:
      torch: the process that computes with PyTorch; None to leave PyTorch out.
      batches: batch sizes of DISTA-Net's inference and training.
      seconds: time after which no further measurement begins. A measurement that would go on for
        more than a tenth of it, or would not fit into the memory, judged by the smaller batch
        before it, is left out too.
    """
    begin, device = time.perf_counter(), jax.devices()[0]
    before = dict[tuple[str, str], Figure]()
    for task in _tasks(torch, batches):
        figures, makers = dict[str, Figure](), dict[str, Callable[[], Candidate]]()
        for library, make in task.makers.items():
            figure = Figure(
                task.name,
                task.images,
                library,
                flops=task.flops,
                peak_flops=find_peak(device.device_kind),
            )
            smaller = before.get((task.name, library))
            remaining = seconds - (time.perf_counter() - begin)
            reason = _reason_against(task.images, smaller, seconds, remaining)
            if reason:
                yield replace(figure, refused=reason)
            else:
                figures[library], makers[library] = figure, make
        for figure in time_in_turn(figures, makers):
            before[figure.name, figure.library] = figure
            yield figure


def _reason_against(
    images: int, smaller: Figure | None, seconds: float, remaining: float
) -> str | None:
    """Returns the reason why a measurement is left out, judged by that of a smaller batch."""
    if remaining <= 0:
        return "the time is up"
    if smaller is None:
        return None
    if smaller.seconds is None or smaller.first_seconds is None:
        return "the smaller batch was not measured"
    scale = images / smaller.images
    expected = smaller.first_seconds + (_CALLS * scale - 1) * smaller.seconds
    if expected > min(_LONGEST * seconds, remaining):
        return f"would take about {expected:,.0f} s"
    memory, limit = scale * (smaller.program_bytes or 0), _memory_limit()
    if limit is not None and memory > limit:
        return f"would need about {memory / 1e9:,.0f} GB of memory; there are {limit / 1e9:,.0f} GB"
    return None


def _memory_limit() -> int | None:
    """Returns the bytes of memory of the default device; None if it is not known."""
    stats = jax.local_devices()[0].memory_stats() or {}
    if "bytes_limit" in stats:
        return int(stats["bytes_limit"])
    if default_platform() == "cpu" and "SC_PHYS_PAGES" in os.sysconf_names:
        return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    return None


def _tasks(torch: TorchProcess | None, batches: Sequence[int]) -> Iterator[Task]:
    on_cpu = default_platform() == "cpu"
    count = 10_000 if on_cpu else 1_000_000
    yield Task("simulation", count, {DISTAX: partial(_simulation, count)})
    yield Task("CSO-mAP", _SCORED, {DISTAX: _metric})
    for name, sizes in _METHODS.items():
        images = sizes[0] if on_cpu else sizes[1]
        yield Task(name, images, {DISTAX: partial(_method, name, images)})
    smallest, *larger = sorted(set(batches))
    # Inference of large batches compiles nothing anew, so it comes before their training.
    rows = [(smallest, "inference"), (smallest, "training")]
    rows += [(batch, what) for what in ("inference", "training") for batch in larger]
    for (batch, what), precision, window in product(rows, get_args(Precision), (None, WINDOW)):
        # PyTorch's compiler takes a minute for each network.
        compiled = batch == smallest and precision == "float32"
        yield _network_task(what, Network(batch, precision, window), torch, compiled)


def _network_task(what: str, network: Network, torch: TorchProcess | None, compiled: bool) -> Task:
    prepare = {"inference": prepare_inference, "training": prepare_training}[what]
    makers: dict[str, Callable[[], Candidate]] = {DISTAX: partial(prepare, network)}
    if torch and network.window is None and network.batch <= _LARGEST_TORCH_BATCH:
        makers[EAGER] = partial(torch.prepare, what, network, False)
        if compiled:
            makers[COMPILED] = partial(torch.prepare, what, network, True)
    seen = "whole images" if network.window is None else f"window {network.window}"
    name = f"DISTA-Net {what}, {network.precision}, {seen}"
    return Task(name, network.batch, makers, network.count_flops(what == "training"))


def _simulation(count: int) -> Candidate:
    prior, sensor = ScenePrior(), Sensor()
    return jax_candidate(lambda: simulate(jax.random.key(1), count, sensor, prior))


def _metric() -> Candidate:
    _, truth = simulate(jax.random.key(1), _SCORED, Sensor(), ScenePrior())
    grids = rasterize(truth, Sensor(), 3)
    found = decode(grids + jax.random.normal(jax.random.key(2), grids.shape))
    score = jax.jit(lambda found, truth: CsoSums.of(found, truth).value())
    return jax_candidate(lambda: score(found, truth))


def _method(name: str, count: int) -> Candidate:
    images = np.asarray(simulate(jax.random.key(1), count, Sensor(), ScenePrior())[0])
    unmixer = Unmixer(method=name)
    return jax_candidate(lambda: unmixer(images).position)
