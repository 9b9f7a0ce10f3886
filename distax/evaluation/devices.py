"""Sums over images that are divided over devices, by `pmap`.

With `pmap` each device runs the same program on its own images, and the only communication is the
sum at the end. Under `jit` with sharded arrays the compiler would decide how to divide each
operation, and could do it otherwise for another number of devices. Then the results would agree up
to rounding only.
"""

from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import lru_cache, partial
from typing import Any, Generic, TypeVar

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Int

from distax.runtime.sharding import ordered_devices

Sums = TypeVar("Sums")

_AXIS = "devices"
IMAGES_A_CALL = 2048
"""Images that a device sums in one call. The sums are tens of megabytes, and adding two of them
takes as long as computing the sums of a thousand images. More images a call need more memory."""


class Scorer(ABC, Generic[Sums]):
    """Computes a device's sums over its images. Scorers that compare equal are compiled once."""

    @abstractmethod
    def __call__(self, arrays: Any, rows: Any, index: Int[Array, " rows"]) -> Sums:
        """Computes the sums over the rows, without padding.

        Args:
          arrays: arrays that are replicated on all devices, such as a model's.
          rows: the device's rows.
          index: number of each row among all rows; −1 for padding.
        """


class Rows(ABC):
    """Rows that are read a part at a time, so that they need not fit in memory."""

    @abstractmethod
    def __len__(self) -> int:
        """Returns the number of rows."""

    @abstractmethod
    def read(self, start: int, stop: int) -> Any:
        """Reads a tree of NumPy arrays, with the rows from `start` to `stop` on their first axis.

        Ranges come in rising order, but the last row may be asked for again.
        """


@dataclass(frozen=True)
class HeldRows(Rows):
    """Rows in memory: a tree of NumPy arrays of equal length."""

    tree: Any

    def __len__(self) -> int:
        return len(jax.tree.leaves(self.tree)[0])

    def read(self, start: int, stop: int) -> Any:
        return jax.tree.map(lambda leaf: leaf[start:stop], self.tree)


def sum_over_devices(
    scorer: Scorer[Sums],
    arrays: Any,
    rows: Any,
    batch: int,
    devices: Sequence[jax.Device] | None,
    rows_a_call: int | None = None,
    advance: Callable[[int], object] | None = None,
) -> Sums:
    """Computes the sums over all rows, each row once.

    The devices take equal shares, a few thousand rows at a time, and the last shares are padded.
    Each process reads the rows of its own devices only, and holds those of one time.
    The result is the same to the last bit on any number of devices and processes: row i always
    comes at place i mod `batch` of its batch, and the sums themselves are exact.

    Args:
      scorer: computes a device's sums.
      arrays: arrays to replicate on all devices.
      rows: `Rows`, or a tree of arrays with rows along their first axis.
      batch: number of rows of which each device's share is a multiple.
      devices: the devices. Default: all devices of all processes.
      rows_a_call: rows that a device sums in one call, before they are rounded to whole batches.
        Default: `IMAGES_A_CALL`.
      advance: called with the number of rows that are done after each call but the last.

    Raises:
      DistaxError: there are more virtual CPU devices than the CPU's threads can serve.
    """
    devices = ordered_devices(devices)
    if not isinstance(rows, Rows):
        rows = HeldRows(jax.tree.map(np.asarray, rows))
    length = len(rows)
    calls = -(-length // ((rows_a_call or IMAGES_A_CALL) * len(devices)))
    share = -(-length // (calls * len(devices) * batch)) * batch
    run = _compile(scorer, devices)
    sums: Sums | None = None
    for start in range(0, length, share * len(devices)):
        part = run(arrays, *_local_shares(rows, start, share, devices))
        if sums is None:
            sums = part
            continue
        if advance is not None:
            # The devices work on this part while the host waits for the ones before.
            jax.block_until_ready(sums)
            advance(start)
        sums = jax.tree.map(jnp.add, sums, part)
    assert sums is not None
    return sums


def _local_shares(
    rows: Rows, start: int, share: int, devices: Sequence[jax.Device]
) -> tuple[Any, Int[np.ndarray, "local share"]]:
    """Takes `share` rows for each of this process's devices, and their numbers; −1 for padding.

    The first row of the first device of all processes is row `start`.
    """
    local = [i for i, device in enumerate(devices) if device.process_index == jax.process_index()]
    index = start + share * np.array(local)[:, None] + np.arange(share)
    # Rows beyond the last are padding, for which the last stands in.
    inside = np.minimum(index, len(rows) - 1)
    numbers = np.where(index < len(rows), index, -1)
    first = int(inside.min())
    tree = rows.read(first, int(inside.max()) + 1)
    return jax.tree.map(lambda leaf: leaf[inside - first], tree), numbers.astype(np.int32)


# Bounded, because each entry holds compiled code.
@lru_cache(maxsize=8)
def _compile(scorer: Scorer[Sums], devices: tuple[jax.Device, ...]) -> Any:
    return jax.pmap(
        partial(sum_on_one_device, scorer, _AXIS),
        axis_name=_AXIS,
        in_axes=(None, 0, 0),
        out_axes=None,
        devices=devices,
    )


def sum_on_one_device(
    scorer: Scorer[Sums],
    axis: str | tuple[str, ...],
    arrays: Any,
    rows: Any,
    index: Int[Array, " share"],
) -> Sums:
    """Computes a device's sums, and adds those of all devices along mapped axes."""
    summed: Sums = jax.lax.psum(scorer(arrays, rows, index), axis)
    return summed
