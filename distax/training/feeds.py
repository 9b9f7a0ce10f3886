"""Where training batches come from: every batch is a function of the step alone.

So a run resumes at any step without a saved iterator: the step is the position in the data. The
batches are the same however many devices share them, and however many steps are asked for at once.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache, partial
from itertools import islice
from typing import Any, Protocol, SupportsIndex, TypeVar, runtime_checkable

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import Mesh
from jaxtyping import Array, Float, Int, Key, PRNGKeyArray

from distax.imaging.scenes import ScenePrior, sample_each, scene_keys
from distax.imaging.sensor import Sensor, expose, render
from distax.imaging.targets import Targets
from distax.runtime.errors import DistaxError
from distax.runtime.sharding import local_rows, sharded

Batch = tuple[Float[Array, "B height width"], Targets]
Batches = tuple[Float[Array, "steps B height width"], Targets]
"""The batches of successive steps, the rows of each split over the devices."""

Rows = TypeVar("Rows")


@runtime_checkable
class Feed(Protocol):
    """A source of training batches."""

    def batches(self, spans: Sequence[range]) -> Iterator[Batches]:
        """The batches of each span of steps; the spans follow each other without a gap."""


@dataclass(frozen=True)
class SimulatedFeed:
    """New scenes at every step, simulated on the devices: `scenes.simulate` of the step's key."""

    key: PRNGKeyArray
    batch_size: int
    sensor: Sensor
    prior: ScenePrior
    mesh: Mesh

    def batches(self, spans: Sequence[range]) -> Iterator[Batches]:
        """See `Feed`."""
        for span in spans:
            steps = np.arange(span.start, span.stop)
            yield _simulate(self.key, steps, self.batch_size, self.sensor, self.prior, self.mesh)


@partial(jax.jit, static_argnames=("batch_size", "sensor", "prior", "mesh"))
def _simulate(
    key: PRNGKeyArray,
    steps: Int[Array, " steps"],
    batch_size: int,
    sensor: Sensor,
    prior: ScenePrior,
    mesh: Mesh,
) -> Batches:
    step_keys = jax.vmap(lambda step: jax.random.split(jax.random.fold_in(key, step)))(steps)
    rows = sharded(mesh, axis=1)

    def place(keys: Key[Array, "steps B"]) -> Targets:
        targets = sample_each(keys.ravel(), prior)
        return jax.tree.map(lambda leaf: leaf.reshape(*keys.shape, *leaf.shape[1:]), targets)

    # Each device places its own scenes: their loop would otherwise wait for all devices each turn.
    targets = jax.shard_map(
        place, mesh=mesh, in_specs=rows.spec, out_specs=rows.spec, check_vma=False
    )(jax.vmap(lambda key: scene_keys(key, batch_size))(step_keys[:, 0]))
    frames = jax.vmap(lambda key, images: expose(key, images, sensor))(
        step_keys[:, 1], render(targets, sensor)
    )
    return jax.lax.with_sharding_constraint((frames, targets), rows)


@partial(jax.jit, static_argnums=2)
def epoch_order(key: PRNGKeyArray, epoch: int | Int[Array, ""], size: int) -> Int[Array, " size"]:
    """The order in which an epoch visits a dataset of `size` images."""
    return jax.random.permutation(jax.random.fold_in(key, epoch), size)


@dataclass(frozen=True, eq=False)
class MemoryFeed:
    """A dataset held on every device, in a new order each epoch.

    The `size mod batch_size` images left over at an epoch's end are others in the next.
    """

    images: Float[Array, "N height width"]
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
    """The batches that start at certain places of certain orders."""
    epochs, starts = where
    chosen = jnp.stack(orders)[epochs[:, None], starts[:, None] + jnp.arange(batch_size)]
    chosen = jax.lax.with_sharding_constraint(chosen, sharded(mesh, axis=1))
    return jax.tree.map(lambda leaf: leaf[chosen], data)


@dataclass(frozen=True, eq=False)
class StreamFeed:
    """A dataset read from disk through Grain, in the same order as `MemoryFeed`.

    Each process reads the rows that lie on its own devices.

    Attributes:
      source: the dataset's records by index.
      to_example: turns a record into an image and its targets.
    """

    source: Sequence[Any]
    to_example: Callable[[Any], tuple[np.ndarray, Targets]]
    key: PRNGKeyArray
    batch_size: int
    mesh: Mesh

    def __post_init__(self) -> None:
        _check_size(len(self.source), self.batch_size)

    def batches(self, spans: Sequence[range]) -> Iterator[Batches]:
        """See `Feed`."""
        import grain

        rows = local_rows(self.batch_size, self.mesh)
        records = _Shuffled(self.source, self.key, self.batch_size, rows)
        dataset = grain.MapDataset.source(records).map(self.to_example).batch(records.rows)
        batches = iter(dataset[spans[0].start :].to_iter_dataset())
        for span in spans:
            yield jax.tree.map(self._stack, *islice(batches, len(span)))

    def _stack(self, *batches: np.ndarray) -> Array:
        """One array on all devices from this process's rows of successive batches."""
        rows = np.stack(batches)
        shape = len(batches), self.batch_size, *rows.shape[2:]
        return jax.make_array_from_process_local_data(sharded(self.mesh, axis=1), rows, shape)


class _Shuffled:
    """Some rows of a dataset's batches, epoch after epoch, as one long sequence."""

    def __init__(self, source: Sequence[Any], key: PRNGKeyArray, batch_size: int, rows: slice):
        self.source, self.batch_size = source, batch_size
        self.first, self.rows = rows.start, rows.stop - rows.start
        # Readers run ahead of each other by less than an epoch.
        self.order = lru_cache(maxsize=2)(
            lambda epoch: np.asarray(epoch_order(key, epoch, len(source)))
        )

    def __len__(self) -> int:
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
