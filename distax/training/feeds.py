"""Where training batches come from: every batch is a function of the step alone.

So a run resumes at any step without a saved iterator: the step is the position in the data.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache, partial
from typing import Any, Protocol, SupportsIndex, TypeVar, runtime_checkable

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int, PRNGKeyArray

from distax.errors import DistaxError
from distax.scenes import PlacementLaw, simulate
from distax.sensor import Sensor
from distax.targets import Targets

Batch = tuple[Float[Array, "B height width"], Targets]
Rows = TypeVar("Rows")


@runtime_checkable
class Feed(Protocol):
    """A source of training batches."""

    def batches(self, start: int) -> Iterator[Batch]:
        """The batches of steps `start`, `start + 1`, … without end."""


@dataclass(frozen=True)
class SimulatedFeed:
    """New scenes at every step, simulated on the device."""

    key: PRNGKeyArray
    batch_size: int
    sensor: Sensor
    law: PlacementLaw

    def batches(self, start: int) -> Iterator[Batch]:
        """See `Feed`."""
        step = start
        while True:
            key = jax.random.fold_in(self.key, step)
            yield simulate(key, self.batch_size, self.sensor, self.law)
            step += 1


@partial(jax.jit, static_argnums=2)
def epoch_order(key: PRNGKeyArray, epoch: int | Int[Array, ""], size: int) -> Int[Array, " size"]:
    """The order in which an epoch visits a dataset of `size` images."""
    return jax.random.permutation(jax.random.fold_in(key, epoch), size)


@dataclass(frozen=True, eq=False)
class MemoryFeed:
    """A dataset held on the device, in a new order each epoch.

    The `size mod batch_size` images left over at an epoch's end are others in the next.
    """

    images: Float[Array, "N height width"]
    targets: Targets
    key: PRNGKeyArray
    batch_size: int

    def __post_init__(self) -> None:
        _check_size(len(self.images), self.batch_size)

    def batches(self, start: int) -> Iterator[Batch]:
        """See `Feed`."""
        size, step = len(self.images), start
        while True:
            epoch, position = divmod(step, size // self.batch_size)
            order = epoch_order(self.key, epoch, size)
            while position < size // self.batch_size:
                yield _gather((self.images, self.targets), order, position, self.batch_size)
                position, step = position + 1, step + 1


@partial(jax.jit, static_argnums=3)
def _gather(data: Rows, order: Array, position: int | Int[Array, ""], batch_size: int) -> Rows:
    chosen = jax.lax.dynamic_slice_in_dim(order, position * batch_size, batch_size)
    return jax.tree.map(lambda leaf: leaf[chosen], data)


@dataclass(frozen=True, eq=False)
class StreamFeed:
    """A dataset read from disk through Grain, in the same order as `MemoryFeed`.

    Attributes:
      source: the dataset's records by index.
      to_example: turns a record into an image and its targets.
    """

    source: Sequence[Any]
    to_example: Callable[[Any], tuple[np.ndarray, Targets]]
    key: PRNGKeyArray
    batch_size: int

    def __post_init__(self) -> None:
        _check_size(len(self.source), self.batch_size)

    def batches(self, start: int) -> Iterator[Batch]:
        """See `Feed`."""
        import grain

        records = _Shuffled(self.source, self.key, self.batch_size)
        dataset = grain.MapDataset.source(records).map(self.to_example).batch(self.batch_size)
        for batch in dataset[start:].to_iter_dataset():
            yield jax.tree.map(jnp.asarray, batch)


class _Shuffled:
    """A dataset's epochs one after the other, each in its own order, as one long sequence."""

    def __init__(self, source: Sequence[Any], key: PRNGKeyArray, batch_size: int):
        self.source = source
        self.used = len(source) // batch_size * batch_size
        # Readers run ahead of each other by less than an epoch.
        self.order = lru_cache(maxsize=2)(
            lambda epoch: np.asarray(epoch_order(key, epoch, len(source)))
        )

    def __len__(self) -> int:
        return 2**40 // self.used * self.used

    def __getitem__(self, index: SupportsIndex) -> Any:
        epoch, position = divmod(index.__index__(), self.used)
        return self.source[int(self.order(epoch)[position])]


def _check_size(size: int, batch_size: int) -> None:
    if size < batch_size:
        raise DistaxError(
            f"a batch of {batch_size} needs at least as many images, the dataset has {size}; "
            "lower batch_size"
        )
