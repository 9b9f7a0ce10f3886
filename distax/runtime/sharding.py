"""How arrays lie on devices: one axis, `data`, over all devices of all processes.

Batches are split along it; parameters and the optimiser's state are copied to every device or
split themselves. Functions are written for whole arrays and compiled by `jit`, which puts the
communication in: the mean over a split batch becomes an average over the devices.
"""

import os
from collections.abc import Callable, Sequence
from functools import cache
from typing import TypeVar

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import AxisType, Mesh, NamedSharding, PartitionSpec
from jaxtyping import Array, Bool

from distax.runtime.errors import DistaxError

Tree = TypeVar("Tree")

AXIS = "data"


def all_devices() -> Sequence[jax.Device]:
    """All devices of all processes."""
    return jax.devices()


def in_a_row(devices: Sequence[jax.Device] | None) -> tuple[jax.Device, ...]:
    """Devices in order, those of a process side by side; all there are, unless told which.

    Raises:
      DistaxError: virtual CPU devices with too few threads.
    """
    chosen = sorted(devices or all_devices(), key=lambda device: (device.process_index, device.id))
    here = sum(device.process_index == jax.process_index() for device in chosen)
    if chosen[0].platform == "cpu" and here > 1 and _cpu_threads() < 2 * here:
        raise DistaxError(
            f"{here} virtual CPU devices need at least {2 * here} threads, or they may wait for "
            f"one another for ever; set the environment variable NPROC={2 * here} beforehand"
        )
    return tuple(chosen)


def _cpu_threads() -> int:
    """What XLA takes as the number of a CPU's threads."""
    return int(os.environ.get("NPROC") or os.cpu_count() or 1)


def data_mesh(devices: Sequence[jax.Device] | None = None) -> Mesh:
    """A mesh of devices in a row; all there are, unless told which.

    Raises:
      DistaxError: as `in_a_row`.
    """
    return Mesh(np.array(in_a_row(devices)), (AXIS,), axis_types=(AxisType.Auto,))


def copied(mesh: Mesh) -> NamedSharding:
    """The whole array on every device."""
    return NamedSharding(mesh, PartitionSpec())


def split(mesh: Mesh, axis: int = 0) -> NamedSharding:
    """An equal part of the array's `axis` on each device."""
    return NamedSharding(mesh, PartitionSpec(*[None] * axis, AXIS))


def state_shardings(state: Tree, mesh: Mesh, divided: bool) -> Tree:
    """Where the arrays of a training state lie.

    Args:
      state: the state, or its shapes.
      mesh: the devices.
      divided: split each array along its longest axis that the devices divide, if there is one;
        otherwise every device has a copy.
    """

    def sharding(leaf: jax.Array | jax.ShapeDtypeStruct) -> NamedSharding:
        divisible = [axis for axis, size in enumerate(leaf.shape) if size % mesh.size == 0]
        if not (divided and divisible):
            return copied(mesh)
        return split(mesh, max(divisible, key=lambda axis: leaf.shape[axis]))

    return jax.tree.map(sharding, state)


def placed(shapes: Tree, mesh: Mesh, divided: bool) -> Tree:
    """The shapes of a training state with where its arrays lie; see `state_shardings`."""
    return jax.tree.map(
        lambda leaf, where: jax.ShapeDtypeStruct(leaf.shape, leaf.dtype, sharding=where),
        shapes,
        state_shardings(shapes, mesh, divided),
    )


def check_divisible(batch_size: int, mesh: Mesh) -> None:
    """Raise DistaxError for a batch that the devices cannot share equally."""
    devices = mesh.size
    if batch_size % devices:
        below = batch_size // devices * devices
        nearest = f"{below} or {below + devices}" if below else f"{devices}"
        raise DistaxError(
            f"a batch of {batch_size} cannot be shared equally by {devices} devices; the nearest "
            f"batch_size they can share is {nearest}"
        )


def shared(array: np.ndarray, mesh: Mesh) -> jax.Array:
    """An array that every process has whole, copied to all devices."""
    return jax.make_array_from_callback(array.shape, copied(mesh), lambda index: array[index])


def own_rows(count: int, mesh: Mesh) -> slice:
    """The rows of a batch of `count` that lie on this process's devices."""
    indices = split(mesh).addressable_devices_indices_map((count,)).values()
    parts = [index[0].indices(count) for index in indices if index is not None]
    return slice(min(start for start, *_ in parts), max(stop for _, stop, _ in parts))


def whole(tree: Tree, mesh: Mesh) -> Tree:
    """Arrays that may be split over devices and processes, whole, as NumPy arrays."""
    return jax.tree.map(np.asarray, _to_every_device(mesh)(tree))


@cache
def _to_every_device(mesh: Mesh) -> Callable[[Tree], Tree]:
    return jax.jit(lambda tree: tree, out_shardings=copied(mesh))


def on_any_process(flag: bool, mesh: Mesh) -> Bool[Array | np.ndarray, ""]:
    """Whether a flag is set on any process: an array to be read later, the same on all."""
    if jax.process_count() == 1:
        return np.asarray(flag)
    flags = jax.make_array_from_callback((mesh.size,), split(mesh), lambda _: np.array([flag]))
    return _any(mesh)(flags)


@cache
def _any(mesh: Mesh) -> Callable[[Bool[Array, " devices"]], Bool[Array, ""]]:
    return jax.jit(jnp.any, out_shardings=copied(mesh))
