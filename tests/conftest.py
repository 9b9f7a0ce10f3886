"""Eight virtual CPU devices, small deterministic hypothesis runs, and the reference values."""

import os
from importlib.metadata import version

# Also for the processes that tests start. Most of a test's time is spent compiling, so that what
# one has compiled is kept for the others.
os.environ.setdefault("JAX_COMPILATION_CACHE_DIR", os.path.expanduser("~/.cache/distax/tests"))
os.environ["JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS"] = "0"
os.environ["TF_CPP_MIN_LOG_LEVEL"] = "3"
os.environ["JAX_PLATFORMS"] = "cpu"
os.environ["NPROC"] = "16"
# Code that is neither optimised nor split nor fused by XLA's emitters compiles faster, which
# matters more than how it runs. JAX 0.12 does not know the last option, and aborts;
# with 0.11 it was not tried.
os.environ["XLA_FLAGS"] = (
    "--xla_backend_optimization_level=0 --xla_cpu_parallel_codegen_split_count=1 "
    + ("--xla_cpu_use_fusion_emitters=false " if version("jaxlib") < "0.11" else "")
    + os.environ.get("XLA_FLAGS", "")
)

import gc
import sys
import time
import uuid
from collections.abc import Callable, Iterator
from functools import cache
from pathlib import Path

import hypothesis
import jax
import jax.numpy as jnp
import jaxtyping
import numpy as np
import pytest
from flax import nnx

import distax
from distax.models import registry
from distax.runtime import sharding as parallel
from distax.training.config import ModelConfig, OptimizerConfig, TrainConfig
from tests.emulator import BUCKET, Emulator, running

jax.config.update("jax_platforms", "cpu")
jax.config.update("jax_num_cpu_devices", 8)

HERE = Path(__file__).parent
MAPPINGS = Path("/proc/self/maps")
# Half a minute or more each, the longest first. Files go to the processes in this order, so that
# none of these is left to one process at the end, when the others have nothing to do.
LONG = (
    "models/test_contract.py",
    "test_docs.py",
    "test_readme.py",
    "fitting/test_posterior.py",
    "experiments/test_notebooks.py",
    "frames/test_unmixing.py",
    "calibration/test_measured_psf.py",
    "export/test_writing.py",
    "training/test_processes.py",
    "evaluation/test_processes.py",
    "cli/unmix/test_resume.py",
)

hypothesis.settings.register_profile(
    "distax", max_examples=40, deadline=None, derandomize=True, database=None
)
hypothesis.settings.load_profile("distax")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    place = {HERE / name: number for number, name in enumerate(LONG)}
    assert all(path.is_file() for path in place)
    items.sort(key=lambda item: place.get(item.path, len(place)))


def pytest_collection_finish() -> None:
    # What is imported stays, and traces make many objects that live. With Python's own thresholds,
    # the search for garbage takes an eighth of the tests' time.
    gc.freeze()
    gc.set_threshold(100_000, 50, 100)


@pytest.fixture
def reads_may_fail(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Hides reports of exceptions that nothing can catch, which Orbax causes when a read fails.

    Its threads make some of them later, and the garbage collector the others.
    """
    monkeypatch.setattr(sys, "unraisablehook", lambda report: None)
    yield
    time.sleep(0.1)
    gc.collect()


@pytest.fixture(scope="module", autouse=True)
def _compiled_functions_are_dropped() -> Iterator[None]:
    """Each compiled function maps memory, and Linux lets a process have only 65,530 mappings.

    Beyond them the compiler crashes, which the whole suite in one process would reach. Dropping
    them costs every module the time to trace shared ones again, so it waits until half of the
    mappings are in use.
    """
    yield
    if MAPPINGS.is_file() and MAPPINGS.read_bytes().count(b"\n") > 30_000:
        jax.clear_caches()


@pytest.fixture
def any_types() -> Iterator[None]:
    """Lets arguments of every type reach a function, which the tests' type checker would stop."""
    jaxtyping.config.update("jaxtyping_disable", True)
    yield
    jaxtyping.config.update("jaxtyping_disable", False)


@pytest.fixture(scope="module", autouse=True)
def _models_that_a_module_registers_are_its_own() -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(registry, "_MODELS", dict(registry._MODELS))
        yield


@pytest.fixture(autouse=True)
def one_device() -> Iterator[None]:
    """What uses all devices uses one, unless a test says which: eight take eight times as long."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(parallel, "all_devices", lambda: jax.devices()[:1])
        yield


@cache
def _load(name: str) -> dict[str, np.ndarray]:
    with np.load(HERE / "reference" / f"{name}.npz") as file:
        return dict(file)


@pytest.fixture(scope="session")
def reference() -> Callable[[str], dict[str, np.ndarray]]:
    """Arrays of tests/reference/<name>.npz, which were made without distax."""
    return _load


@pytest.fixture(scope="session")
def true_targets() -> Callable[..., distax.Targets]:
    """Targets of a reference file: its rows are (row, column, intensity), zero beyond `count`."""

    def make(arrays: dict[str, np.ndarray], dtype: type = np.float32) -> distax.Targets:
        rows = jnp.asarray(arrays["targets"], dtype)
        mask = np.arange(rows.shape[1]) < arrays["count"][:, None]
        return distax.make_targets(rows[..., :2], rows[..., 2], jnp.asarray(mask))

    return make


@pytest.fixture(scope="session")
def emulator() -> Iterator[Emulator]:
    """A server of buckets, which lasts as long as the tests: clients keep its address."""
    with running() as emulator:
        yield emulator


@pytest.fixture
def place(emulator: Emulator) -> Iterator[str]:
    """The name of an empty folder in its bucket, which is emulator.names("<last part>/")."""
    yield f"gs://{BUCKET}/{uuid.uuid4().hex}"
    emulator.watch = lambda method, path: None


@pytest.fixture(scope="session")
def tiny_config() -> TrainConfig:
    """A training run that takes a second once compiled."""
    return TrainConfig(
        model=ModelConfig(options={"stages": 1, "channels": 4, "hidden": 8}),
        optimizer=OptimizerConfig(learning_rate=3e-3, warmup_steps=2, decay="cosine"),
        steps=6,
        batch_size=8,
        log_every=2,
        eval_every=3,
        eval_images=40,
    )


@pytest.fixture(scope="session")
def tiny_run(tiny_config: TrainConfig, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of that run, finished; not to be changed."""
    from distax.training.loop import train

    run = tmp_path_factory.mktemp("runs") / "tiny"
    train(tiny_config, run, mesh=parallel.data_mesh(jax.devices()[:1]))
    return run


LATER = """
import jax.numpy as jnp
from flax import nnx

from distax.imaging.sensor import Sensor
from distax.models import SequenceModel, register


@register("later")
class Later(SequenceModel):
    reach = 1

    def __init__(self, *, factor: int = 3, sensor: Sensor = Sensor(), rngs: nnx.Rngs):
        super().__init__(factor, sensor)
        self.scale = nnx.Param(jnp.ones(()))

    def __call__(self, images):
        later = self.scale[...] * self.neighbours(images, 1)
        *batch, height, width = later.shape
        nodes = jnp.zeros((*batch, height, self.factor, width, self.factor))
        middle = self.factor // 2
        nodes = nodes.at[..., middle, :, middle].set(later)
        return nodes.reshape(*batch, self.factor * height, self.factor * width)
"""


@pytest.fixture(scope="module")
def later(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """A file with a model of sequences, and weights of it.

    It answers frame f by frame f + 1: the node in the middle of a pixel has the pixel's counts.
    """
    folder = tmp_path_factory.mktemp("later")
    module, file = folder / "later.py", folder / "later.safetensors"
    module.write_text(LATER)
    registry.import_module_file(str(module))
    prior = distax.scenes.ScenePrior(min_targets=2, max_targets=3)
    config = TrainConfig(model=ModelConfig("later", 3), prior=prior, threshold=60.0)
    distax.weights.write(registry.create("later", rngs=nnx.Rngs(0)), config, file)
    return module, file
