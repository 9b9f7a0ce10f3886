"""Sources of training batches, in which every batch is a function of the step alone.

The step is the position in the data, so a run can resume at any step without a saved iterator. The
batches depend neither on the number of devices nor on the number of steps fetched at once.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache, partial
from itertools import islice
from typing import Any, Protocol, SupportsIndex, TypeVar, runtime_checkable

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import Mesh, PartitionSpec
from jaxtyping import Array, Float, Int, Key, PRNGKeyArray

from distax.imaging.forward import render
from distax.imaging.motion import MotionPrior, sample_frames, sample_sequences
from distax.imaging.scenes import ScenePrior, sample_each, scene_keys
from distax.imaging.sensor import Sensor, expose
from distax.imaging.targets import Targets
from distax.runtime.errors import DistaxError
from distax.runtime.optional import require
from distax.runtime.sharding import local_rows, sharded

Batch = tuple[Float[Array, "B *row"], Targets]
Batches = tuple[Float[Array, "steps B *row"], Targets]
"""The batches of successive steps; the rows of each are sharded over the devices.

A row is an image `[height, width]`, or a sequence `[frames, height, width]`.
"""

Rows = TypeVar("Rows")


@runtime_checkable
class Feed(Protocol):
    """A source of training batches."""

    def batches(self, spans: Sequence[range]) -> Iterator[Batches]:
        """Yields the batches of each span of steps; each span starts where the last one ends."""


@dataclass(frozen=True)
class SimulatedFeed:
    """New scenes at every step, simulated on the devices.

    The batch of a step is `scenes.simulate` of a key derived from `key` and the step.

    Attributes:
      key: determines all batches.
      batch_size: images or sequences a step.
      sensor: the sensor that takes the images.
      prior: the prior of the scenes; that of a motion gives sequences.
      mesh: the devices.
      single_frames: True to take one random frame of each sequence.
    """

    key: PRNGKeyArray
    batch_size: int
    sensor: Sensor
    prior: ScenePrior | MotionPrior
    mesh: Mesh
    single_frames: bool = False

    def batches(self, spans: Sequence[range]) -> Iterator[Batches]:
        """See `Feed`."""
        for span in spans:
            steps = np.arange(span.start, span.stop)
            yield simulated_batches(
                self.key,
                steps,
                self.batch_size,
                self.sensor,
                self.prior,
                self.mesh,
                self.single_frames,
            )


@partial(jax.jit, static_argnames=("batch_size", "mesh", "single_frames"))
def simulated_batches(
    key: PRNGKeyArray,
    steps: Int[Array, " steps"],
    batch_size: int,
    sensor: Sensor,
    prior: ScenePrior | MotionPrior,
    mesh: Mesh,
    single_frames: bool = False,
) -> Batches:
    """Simulates the batches of successive steps; see `SimulatedFeed`."""
    step_keys = jax.vmap(lambda step: jax.random.split(jax.random.fold_in(key, step)))(steps)
    rows = sharded(mesh, axis=1)

    def sample_local(keys: Key[Array, "steps B"], prior: ScenePrior | MotionPrior) -> Targets:
        if isinstance(prior, ScenePrior):
            targets = sample_each(keys.ravel(), prior, sensor.shape)
        else:
            sample_moving = sample_frames if single_frames else sample_sequences
            targets = sample_moving(keys.ravel(), prior, sensor.shape)
        return jax.tree.map(lambda leaf: leaf.reshape(*keys.shape, *leaf.shape[1:]), targets)

    # Scenes are sampled by rejection, in a loop that runs until every scene is accepted. Under
    # plain jit the loop's condition would cover the scenes of all devices, so the devices would
    # communicate in each iteration. With shard_map each device runs its own loop to its own end.
    # The scenes are the same, because each is a function of its own key. check_vma is off because
    # it refuses a loop whose carry starts as constants and then differs between devices.
    targets = jax.shard_map(
        sample_local,
        mesh=mesh,
        in_specs=(rows.spec, PartitionSpec()),
        out_specs=rows.spec,
        check_vma=False,
    )(jax.vmap(lambda key: scene_keys(key, batch_size))(step_keys[:, 0]), prior)
    frames = jax.vmap(lambda key, images: expose(key, images, sensor))(
        step_keys[:, 1], render(targets, sensor)
    )
    return jax.lax.with_sharding_constraint((frames, targets), rows)


@partial(jax.jit, static_argnums=2)
def epoch_order(key: PRNGKeyArray, epoch: int | Int[Array, ""], size: int) -> Int[Array, " size"]:
    """Draws the order in which an epoch visits a dataset of `size` images."""
    return jax.random.permutation(jax.random.fold_in(key, epoch), size)


@dataclass(frozen=True, eq=False)
class MemoryFeed:
    """A dataset replicated on every device and visited in a new order each epoch.

    An epoch leaves out `size mod batch_size` images, different ones each time.

    Attributes:
      images: all images, or all sequences.
      targets: their targets.
      key: determines the orders.
      batch_size: images or sequences a step.
      mesh: the devices.
    """

    images: Float[Array, "N *row"]
    targets: Targets
    key: PRNGKeyArray
    batch_size: int
    mesh: Mesh

    def __post_init__(self) -> None:
        _check_size(len(self.images), self.batch_size)

    def batches(self, spans: Sequence[range]) -> Iterator[Batches]:
        """See `Feed`."""
        size = len(self.images)
        order = lru_cache(maxsize=2)(lambda epoch: epoch_order(self.key, epoch, size))
        for span in spans:
            epochs, positions = np.divmod(np.asarray(span), size // self.batch_size)
            orders = [order(epoch) for epoch in range(epochs[0], epochs[-1] + 1)]
            where = epochs - epochs[0], positions * self.batch_size
            yield _gather((self.images, self.targets), orders, where, self.batch_size, self.mesh)


@partial(jax.jit, static_argnames=("batch_size", "mesh"))
def _gather(
    data: Rows,
    orders: list[Int[Array, " N"]],
    where: tuple[Int[Array, " steps"], Int[Array, " steps"]],
    batch_size: int,
    mesh: Mesh,
) -> Rows:
    """Gathers rows into sharded batches.

    Args:
      data: arrays with all rows of the dataset.
      orders: the orders of successive epochs.
      where: for each step, the index of its epoch in `orders` and the batch's first position there.
      batch_size: rows a batch.
      mesh: the devices.
    """
    epochs, starts = where
    chosen = jnp.stack(orders)[epochs[:, None], starts[:, None] + jnp.arange(batch_size)]
    chosen = jax.lax.with_sharding_constraint(chosen, sharded(mesh, axis=1))
    return jax.tree.map(lambda leaf: leaf[chosen], data)


@dataclass(frozen=True, eq=False)
class StreamFeed:
    """A dataset read from disk through Grain, in the same order as `MemoryFeed`.

    Each process reads only the rows for its own devices.

    Attributes:
      source: the dataset's records by index.
      to_example: turns a record into an image and its targets.
      key: determines the orders.
      batch_size: images per step, of all processes together.
      mesh: the devices.
    """

    source: Sequence[Any]
    to_example: Callable[[Any], tuple[np.ndarray, Targets]]
    key: PRNGKeyArray
    batch_size: int
    mesh: Mesh

    def __post_init__(self) -> None:
        require("grain", "streamed datasets")
        _check_size(len(self.source), self.batch_size)

    def batches(self, spans: Sequence[range]) -> Iterator[Batches]:
        """See `Feed`."""
        import grain

        rows = local_rows(self.batch_size, self.mesh)
        records = _ShuffledRows(self.source, self.key, self.batch_size, rows)
        dataset = grain.MapDataset.source(records).map(self.to_example).batch(records.rows)
        batches = iter(dataset[spans[0].start :].to_iter_dataset())
        for span in spans:
            yield jax.tree.map(self._stack, *islice(batches, len(span)))

    def _stack(self, *batches: np.ndarray) -> Array:
        """Makes a sharded array of all processes from this process's rows of successive batches."""
        rows = np.stack(batches)
        shape = len(batches), self.batch_size, *rows.shape[2:]
        return jax.make_array_from_process_local_data(sharded(self.mesh, axis=1), rows, shape)


class _ShuffledRows:
    """This process's rows of all batches, as one long sequence, epoch after epoch."""

    def __init__(self, source: Sequence[Any], key: PRNGKeyArray, batch_size: int, rows: slice):
        self.source, self.batch_size = source, batch_size
        self.first, self.rows = rows.start, rows.stop - rows.start
        # Two orders are enough: Grain's readers are less than an epoch apart.
        self.order = lru_cache(maxsize=2)(
            lambda epoch: np.asarray(epoch_order(key, epoch, len(source)))
        )

    def __len__(self) -> int:
        # Practically endless, and a multiple of the rows per batch.
        return 2**40 // self.rows * self.rows

    def __getitem__(self, index: SupportsIndex) -> Any:
        step, row = divmod(index.__index__(), self.rows)
        epoch, batch = divmod(step, len(self.source) // self.batch_size)
        position = batch * self.batch_size + self.first + row
        return self.source[int(self.order(epoch)[position])]


def _check_size(size: int, batch_size: int) -> None:
    if size < batch_size:
        raise DistaxError(
            f"a batch of {batch_size} needs at least as many images, the dataset has {size}; "
            "lower batch_size"
        )
