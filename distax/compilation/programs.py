"""Compilation of the programs of `train`, `evaluate` and `unmix` for absent chips."""

import math
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
from flax import nnx
from jax.experimental.compilation_cache import compilation_cache
from jax.sharding import PartitionSpec
from jaxtyping import PRNGKeyArray

from distax.compilation.methods import Method
from distax.compilation.topology import Topology
from distax.evaluation.assessment import ModelScorer
from distax.evaluation.devices import IMAGES_A_CALL, Scorer, Sums, sum_on_one_device
from distax.evaluation.sequence_results import SequenceProtocol
from distax.evaluation.sequence_sums import SequenceModelScorer
from distax.evaluation.sequences import FRAMES_A_CALL, check_answered
from distax.imaging import motion, scenes
from distax.models import Model, SequenceModel
from distax.runtime.batching import inference_batch, sequence_batch
from distax.runtime.errors import DistaxError, first_line
from distax.runtime.sharding import AXES, replicated, sharded
from distax.training.building import abstract_model
from distax.training.config import TrainConfig
from distax.training.data import simulation
from distax.training.feeds import simulated_batches
from distax.training.optimizer import make_optimizer
from distax.training.setup import check_trainable
from distax.training.state import abstract_state
from distax.training.steps import lower_train_steps, make_train_steps, steps_a_dispatch

_PLATFORM = "tpu"
STEPS = "steps"
"""Name of the program of the training steps."""


@dataclass(frozen=True)
class Compiled:
    """A compiled program.

    Attributes:
      name: what it computes.
      program: the program.
      text: its text.
      images: images of all chips in one call, or sequences.
      seconds: time to trace, lower and compile it.
    """

    name: str
    program: jax.stages.Compiled
    text: str
    images: int
    seconds: float


def compile_training(
    config: TrainConfig, topology: Topology, images_per_chip: int | None = None
) -> list[Compiled]:
    """Compiles the programs of `train`: the simulation of scenes, and the steps on them.

    Args:
      config: the run's configuration. With a dataset on disk only the steps are compiled.
      topology: the chips.
      images_per_chip: images, or sequences, that each chip takes in a step. Default: the
        configuration's batch_size, so that all chips together take a multiple of it.

    Raises:
      DistaxError: the model cannot be trained (see `training.setup.check_trainable`); a chip's
        memory cannot hold a program's arguments; the compiler refuses a program.
    """
    mesh = topology.mesh
    batch = (images_per_chip or config.batch_size) * mesh.size
    config = replace(config, batch_size=batch)
    model = abstract_model(config)
    check_trainable(model, config.model.name, config.prior, config.threshold)
    optimizer = make_optimizer(config.optimizer, config.steps)
    state = abstract_state(model, optimizer, mesh, config.shard_state)
    steps = steps_a_dispatch(config, _PLATFORM)
    key = jax.eval_shape(lambda: jax.random.key(0))
    feed = partial(
        simulated_batches, batch_size=batch, sensor=config.sensor, mesh=mesh, **simulation(config)
    )
    rows = sharded(mesh, axis=1)
    batches = _placed(jax.eval_shape(feed, key, jnp.arange(steps)), rows)
    numbers = jax.ShapeDtypeStruct((steps,), jnp.int32)
    arguments = _placed((key, numbers), replicated(mesh))
    train_steps = make_train_steps(model, optimizer, mesh, config.shard_state)
    scenes = [] if config.data.dataset else [("scenes", jax.jit(feed).lower, arguments)]
    programs: list[tuple[str, Any, Any]] = [
        *scenes,
        (STEPS, partial(lower_train_steps, train_steps), (state, batches)),
    ]
    for _, _, taken in programs:
        _check_room(taken, topology)
    return [_compile(*program, steps * batch) for program in programs]


def compile_evaluation(
    config: TrainConfig, topology: Topology, images_per_chip: int | None = None
) -> list[Compiled]:
    """Compiles the function that `evaluate` maps over the devices.

    `evaluate` uses `pmap`, which cannot be compiled for absent devices. This uses `shard_map`.

    Args:
      config: the configuration of the model and of the scenes.
      topology: the chips.
      images_per_chip: images, or sequences, that each chip takes in a call, rounded up to whole
        batches. Default: 2048 images, or sequences of 512 frames in all.

    Raises:
      DistaxError: the configuration does not suit its model, or SeqCSIST's protocol does not; the
        compiler refuses the program.
    """
    model = abstract_model(config)
    if isinstance(model, SequenceModel):
        length, protocol = config.motion.frames, SequenceProtocol()
        check_answered(model, length, protocol)
        usual = max(FRAMES_A_CALL // length, 1)
        batch, images = _whole(sequence_batch(length, _PLATFORM), images_per_chip or usual)
        sequences = SequenceModelScorer(config.sensor, None, protocol, nnx.graphdef(model), batch)
        draw = partial(motion.simulate, sensor=config.sensor, prior=config.motion_prior)
        return [_compile_sums(sequences, model, draw, images, topology)]
    batch, images = _whole(inference_batch(_PLATFORM), images_per_chip or IMAGES_A_CALL)
    scorer = ModelScorer(config.sensor, None, nnx.graphdef(model), batch)
    draw = partial(scenes.simulate, sensor=config.sensor, prior=config.prior)
    return [_compile_sums(scorer, model, draw, images, topology)]


def _compile_sums(
    scorer: Scorer[Sums],
    model: Model,
    draw: Callable[[PRNGKeyArray, int], Any],
    images: int,
    topology: Topology,
) -> Compiled:
    """Compiles the sums of a scorer over the images of all chips.

    Args:
      scorer: computes a chip's sums.
      model: the model, which may be abstract.
      draw: function of a key and a number of images, which simulates these and their targets.
      images: images of each chip.
      topology: the chips.
    """
    mesh = topology.mesh
    total = images * mesh.size
    rows = jax.eval_shape(lambda key: draw(key, total), jax.random.key(0))
    index = jax.ShapeDtypeStruct((total,), jnp.int32)
    arrays = nnx.state(model), jax.ShapeDtypeStruct((), jnp.float32)
    everywhere = PartitionSpec()
    body = jax.shard_map(
        partial(sum_on_one_device, scorer, AXES),
        mesh=mesh,
        in_specs=(everywhere, PartitionSpec(AXES), PartitionSpec(AXES)),
        out_specs=everywhere,
        check_vma=False,
    )
    arguments = (
        _placed(arrays, replicated(mesh)),
        *_placed((rows, index), sharded(mesh)),
    )
    _check_room(arguments, topology)
    return _compile("evaluation", jax.jit(body).lower, arguments, total)


def _whole(batch: int, images: int) -> tuple[int, int]:
    """Returns the images of a batch, and those of a chip rounded up to whole batches."""
    batch = min(batch, images)
    return batch, -(-images // batch) * batch


def compile_unmixing(
    method: Method,
    shape: tuple[int, int],
    topology: Topology,
    images_per_chip: int | None = None,
) -> list[Compiled]:
    """Compiles a method of `unmix`. Each chip unmixes its own images.

    Args:
      method: the method; see `compilation.methods`.
      shape: the images' height and width.
      topology: the chips.
      images_per_chip: images that each chip takes in a call. Default: as many as fill an
        accelerator.

    Raises:
      DistaxError: the compiler refuses the program.
    """
    mesh = topology.mesh
    total = (images_per_chip or inference_batch(_PLATFORM)) * mesh.size
    of_chip = PartitionSpec(AXES)
    find, arrays = method
    specs = PartitionSpec(), of_chip
    body = jax.shard_map(find, mesh=mesh, in_specs=specs, out_specs=of_chip, check_vma=False)
    images = _placed(jax.ShapeDtypeStruct((total, *shape), jnp.float32), sharded(mesh))
    taken = _placed(arrays, replicated(mesh)), images
    _check_room(taken, topology)
    return [_compile("method", jax.jit(body).lower, taken, total)]


def _placed(shapes: Any, sharding: jax.sharding.NamedSharding) -> Any:
    """Gives a sharding to shapes."""
    return jax.tree.map(
        lambda leaf: jax.ShapeDtypeStruct(leaf.shape, leaf.dtype, sharding=sharding), shapes
    )


def _compile(
    name: str, lower: Callable[..., jax.stages.Lowered], arguments: tuple[Any, ...], images: int
) -> Compiled:
    """Compiles a function that can be lowered, for the devices of its arguments."""
    start = time.perf_counter()
    try:
        with without_cache():
            program = lower(*arguments).compile()
    except (jax.errors.JaxRuntimeError, NotImplementedError) as error:
        raise DistaxError(
            f"the TPU compiler refuses the program of {name}: {first_line(error)}"
        ) from error
    seconds = time.perf_counter() - start
    return Compiled(name, program, program.as_text() or "", images, seconds)


def _check_room(arguments: Any, topology: Topology) -> None:
    """Raises DistaxError if arguments alone exceed a chip's memory, before hours of compilation."""
    shapes = [(leaf, leaf.sharding.shard_shape(leaf.shape)) for leaf in jax.tree.leaves(arguments)]
    needed = sum(math.prod(shape) * leaf.dtype.itemsize for leaf, shape in shapes)
    chip = topology.chip
    if needed > chip.memory_bytes:
        raise DistaxError(
            f"does not fit: a chip of {chip.name} has {chip.memory_bytes / 1e9:.1f} GB, and the "
            f"arguments of a program take {needed / 1e9:.1f} GB; give fewer images to each chip"
        )


@contextmanager
def without_cache() -> Iterator[None]:
    """Disables JAX's cache of compiled programs, which cannot load programs for absent chips."""
    before = jax.config.jax_enable_compilation_cache  # type: ignore[attr-defined]
    jax.config.update("jax_enable_compilation_cache", False)
    compilation_cache.reset_cache()
    try:
        yield
    finally:
        jax.config.update("jax_enable_compilation_cache", before)
        compilation_cache.reset_cache()
