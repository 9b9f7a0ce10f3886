"""Sums over images that are spread over devices, by `pmap`."""

from abc import ABC, abstractmethod
from collections.abc import Sequence
from functools import lru_cache, partial, reduce
from typing import Any, Generic, TypeVar

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool

from distax.runtime.sharding import ordered_devices

Sums = TypeVar("Sums")

_AXIS = "devices"
# Images whose sums a device makes at once: the sums are tens of megabytes, which takes as long to
# add as they take to count a thousand images.
_IMAGES = 2048


class Judge(ABC, Generic[Sums]):
    """What each device does with its images. Judges that compare equal are compiled once."""

    @abstractmethod
    def __call__(self, arrays: Any, rows: Any, valid: Bool[Array, " rows"]) -> Sums:
        """Sums over the valid rows, given arrays that all devices have."""


def sum_over_devices(
    judge: Judge[Sums], arrays: Any, rows: Any, batch: int, devices: Sequence[jax.Device] | None
) -> Sums:
    """Sums over all rows of a tree of arrays, every row counted once.

    The devices take equal shares, a few thousand rows at a time, the last ones padded. Row i is
    always the (i mod `batch`)-th of its batch, and sums are exact, so that the result is the same
    to the last bit on any number of devices and processes.

    Args:
      judge: what a device does.
      arrays: replicated on all devices.
      rows: arrays with rows along their first axis, whole on every process.
      batch: a device's share is a multiple of this many rows.
      devices: of all processes; all there are, unless told which.

    Raises:
      DistaxError: virtual CPU devices with too few threads.
    """
    devices = ordered_devices(devices)
    rows = jax.tree.map(np.asarray, rows)
    length = len(jax.tree.leaves(rows)[0])
    calls = -(-length // (_IMAGES * len(devices)))
    share = -(-length // (calls * len(devices) * batch)) * batch
    run = _across(judge, devices)
    parts = (
        run(arrays, *_shares(rows, start, share, devices))
        for start in range(0, length, share * len(devices))
    )
    return reduce(partial(jax.tree.map, jnp.add), parts)


def _shares(
    rows: Any, start: int, share: int, devices: Sequence[jax.Device]
) -> tuple[Any, Bool[np.ndarray, "local share"]]:
    """`share` rows for each of this process's devices, from `start` on, and which are real."""
    here = [i for i, device in enumerate(devices) if device.process_index == jax.process_index()]
    index = start + share * np.array(here)[:, None] + np.arange(share)
    length = len(jax.tree.leaves(rows)[0])
    inside = np.minimum(index, length - 1)
    return jax.tree.map(lambda leaf: leaf[inside], rows), index < length


# A few: each holds compiled code.
@lru_cache(maxsize=8)
def _across(judge: Judge[Sums], devices: tuple[jax.Device, ...]) -> Any:
    def on_one_device(arrays: Any, rows: Any, valid: Bool[Array, " share"]) -> Sums:
        return jax.lax.psum(judge(arrays, rows, valid), _AXIS)

    return jax.pmap(
        on_one_device, axis_name=_AXIS, in_axes=(None, 0, 0), out_axes=None, devices=devices
    )
