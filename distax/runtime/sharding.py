"""Sharding of arrays over the devices of all processes: mesh axes `replica` and `data`.

Training here is data-parallel, and the models are small enough for each device to compute all of
one. So the batch is sharded along both axes, and there is no axis for parts of a model. The axis
`data` has the devices of one slice of a TPU, with fast links between them. The axis `replica` has
the slices, which a slower network joins; its size is 1 on other hardware.

An array is in one of three states:

- replicated: every device holds all of it. This is the default for parameters and the optimiser's
  state.
- sharded: each device holds an equal part along one axis. Batches are; parameters and the
  optimiser's state can be, to save memory (see `state_shardings`).
- gathered: it was sharded or replicated, and is now one NumPy array in each process.

Functions are written for the whole array and compiled by `jit`, which inserts the communication
that the shardings ask for. The mean of a loss over a sharded batch, for example, becomes a sum over
devices, and its gradient an all-reduce.

Several processes run the same program in step (see `distax.runtime.processes`). Each process drives
its own devices and holds only their parts of a sharded array. NumPy cannot read an array of which
parts are missing, so the array is gathered first. Each function that communicates must be called by
all processes in the same order; a process that skips one leaves the others waiting.
"""

import os
from collections import Counter
from collections.abc import Callable, Sequence
from functools import cache
from typing import Any, TypeVar

import jax
import jax.numpy as jnp
import numpy as np
from jax.flatten_util import ravel_pytree
from jax.sharding import AxisType, Mesh, NamedSharding, PartitionSpec
from jaxtyping import Array, Bool

from distax.runtime.errors import DistaxError

Tree = TypeVar("Tree")
Result = TypeVar("Result")

REPLICA, DATA = "replica", "data"
AXES = (REPLICA, DATA)
"""Names of the mesh axes: slices, and the devices of a slice."""


def all_devices() -> Sequence[jax.Device]:
    """Lists all devices of all processes."""
    return jax.devices()


def ordered_devices(devices: Sequence[jax.Device] | None = None) -> tuple[jax.Device, ...]:
    """Orders devices by slice, then by process and then by number.

    The order must be the same in all processes. With the devices of a process side by side, its
    rows of a batch are one slice (see `local_rows`).

    Args:
      devices: the devices in any order. Default: all devices of all processes.

    Raises:
      DistaxError: there are more virtual CPU devices than the CPU's threads can serve.
    """
    ordered = sorted(
        devices or all_devices(),
        key=lambda device: (_slice_of(device), device.process_index, device.id),
    )
    local = sum(device.process_index == jax.process_index() for device in ordered)
    # A collective blocks one thread of each virtual device until all devices take part. The work
    # that comes before it needs threads of the same pool, hence two for each device.
    if ordered[0].platform == "cpu" and local > 1 and _cpu_threads() < 2 * local:
        raise DistaxError(
            f"{local} virtual CPU devices need at least {2 * local} threads, or they may wait for "
            f"one another for ever; set the environment variable NPROC={2 * local} beforehand"
        )
    return tuple(ordered)


def _slice_of(device: jax.Device) -> int:
    """Returns the number of a TPU's slice; 0 for other devices."""
    return getattr(device, "slice_index", None) or 0


def _cpu_threads() -> int:
    """Reads the number of threads that XLA uses on a CPU."""
    return int(os.environ.get("NPROC") or os.cpu_count() or 1)


def data_mesh(devices: Sequence[jax.Device] | None = None) -> Mesh:
    """Makes the mesh with the axes `replica` over slices and `data` within them.

    The axes are of type Auto: `jit` chooses the shardings that are not given.

    Args:
      devices: the devices in any order, equally many of each slice. Default: all devices of all
        processes.

    Raises:
      DistaxError: the slices have unequal numbers of devices, or as `ordered_devices`.
    """
    ordered = ordered_devices(devices)
    of_slice = Counter(map(_slice_of, ordered))
    if len(set(of_slice.values())) > 1:
        sizes = ", ".join(f"{count} of slice {number}" for number, count in of_slice.items())
        raise DistaxError(f"the slices must have equally many devices, got {sizes}")
    return make_mesh(ordered, replicas=len(of_slice))


def make_mesh(devices: Sequence[jax.Device], replicas: int = 1) -> Mesh:
    """Makes the mesh of devices in their order, with `replicas` groups of successive devices."""
    grid = np.array(devices).reshape(replicas, -1)
    return Mesh(grid, AXES, axis_types=(AxisType.Auto, AxisType.Auto))


def platform(mesh: Mesh) -> str:
    """Names the platform of the mesh's devices: "cpu", "gpu" or "tpu".

    It differs from `jax.default_backend()` if the mesh has devices of another platform.
    """
    name: str = mesh.devices.flat[0].platform
    return name


def replicated(mesh: Mesh) -> NamedSharding:
    """Makes the sharding with all of an array on every device."""
    return NamedSharding(mesh, PartitionSpec())


def sharded(mesh: Mesh, axis: int = 0) -> NamedSharding:
    """Makes the sharding with an equal part of an array's `axis` on each device."""
    return NamedSharding(mesh, PartitionSpec(*[None] * axis, AXES))


def mean_over_devices(tree: Tree, mesh: Mesh) -> Tree:
    """Averages each device's float32 arrays over all devices, inside `shard_map`.

    With several slices the average is hierarchical: within each slice every device sums a part of
    the arrays, then the network between slices sums these parts, and at last they are shared within
    each slice. So the slow network carries each number once for each slice.
    """
    if mesh.shape[REPLICA] == 1:
        return jax.lax.pmean(tree, DATA)
    vector, unravel = ravel_pytree(tree)
    padded = jnp.pad(vector, (0, -len(vector) % mesh.shape[DATA]))
    part = jax.lax.psum_scatter(padded, DATA, tiled=True)
    total = jax.lax.all_gather(jax.lax.psum(part, REPLICA), DATA, tiled=True)
    averaged: Tree = unravel(total[: len(vector)] / mesh.size)
    return averaged


def divide_rows(
    function: Callable[..., Result], devices: Sequence[jax.Device], rows: Tree, *shared: Any
) -> Result:
    """Applies a function to equal shares of rows, each on its own device, without communication.

    Args:
      function: treats every row on its own; it is called with a device's rows and `shared`.
      devices: the devices.
      rows: a tree of arrays with rows along their first axis, a multiple of the devices.
      shared: trees of arrays that every device gets whole.

    Returns:
      The results, with rows along their first axis.
    """
    of_share = jax.shard_map(
        function,
        mesh=make_mesh(devices),
        in_specs=(PartitionSpec(AXES), *[PartitionSpec()] * len(shared)),
        out_specs=PartitionSpec(AXES),
        check_vma=False,
    )
    return of_share(rows, *shared)


def state_shardings(state: Tree, mesh: Mesh, shard: bool) -> Tree:
    """Chooses a sharding for each array of a training state.

    Sharding the state is ZeRO's idea (Rajbhandari et al. 2020, arXiv 1910.02054): each device
    stores a part of the parameters and of Adam's moments, and `jit` gathers the parameters where a
    step needs them. It saves memory and costs that communication, which stays within a slice. Every
    divisible axis saves the same memory; taking the longest is only a fixed choice. Arrays without
    a divisible axis, such as scalars, are small and stay replicated.

    Args:
      state: the state, or its shapes.
      mesh: the devices.
      shard: True to shard each array along its longest axis whose size is a multiple of the
        number of devices, if there is one; False to replicate all arrays.
    """

    def sharding(leaf: jax.Array | jax.ShapeDtypeStruct) -> NamedSharding:
        devices = mesh.shape[DATA]
        divisible = [axis for axis, size in enumerate(leaf.shape) if size % devices == 0]
        if not (shard and divisible):
            return replicated(mesh)
        longest = max(divisible, key=lambda axis: leaf.shape[axis])
        return NamedSharding(mesh, PartitionSpec(*[None] * longest, DATA))

    return jax.tree.map(sharding, state)


def with_shardings(shapes: Tree, mesh: Mesh, shard: bool) -> Tree:
    """Adds shardings to the shapes of a training state; see `state_shardings`."""
    return jax.tree.map(
        lambda leaf, sharding: jax.ShapeDtypeStruct(leaf.shape, leaf.dtype, sharding=sharding),
        shapes,
        state_shardings(shapes, mesh, shard),
    )


def check_divisible(batch_size: int, mesh: Mesh) -> None:
    """Raises DistaxError if a batch cannot be divided equally over the devices."""
    devices = mesh.size
    if batch_size % devices:
        below = batch_size // devices * devices
        nearest = f"{below} or {below + devices}" if below else f"{devices}"
        raise DistaxError(
            f"a batch of {batch_size} cannot be shared equally by {devices} devices; the nearest "
            f"batch_size they can share is {nearest}"
        )


def replicate(array: np.ndarray, mesh: Mesh) -> jax.Array:
    """Copies an array to all devices; every process must hold the same array.

    `jax.device_put` would also compare the array across processes, which costs a broadcast.
    """
    return jax.make_array_from_callback(array.shape, replicated(mesh), lambda index: array[index])


def local_rows(count: int, mesh: Mesh) -> slice:
    """Finds the rows on this process's devices when `count` rows are sharded."""
    indices = sharded(mesh).addressable_devices_indices_map((count,)).values()
    parts = [index[0].indices(count) for index in indices if index is not None]
    return slice(min(start for start, *_ in parts), max(stop for _, stop, _ in parts))


def gathered(tree: Tree, mesh: Mesh) -> Tree:
    """Gathers arrays into whole NumPy arrays in every process; all processes must call it."""
    return jax.tree.map(np.asarray, _replicate_function(mesh)(tree))


@cache
def _replicate_function(mesh: Mesh) -> Callable[[Tree], Tree]:
    return jax.jit(lambda tree: tree, out_shardings=replicated(mesh))


def on_any_process(flag: bool, mesh: Mesh) -> Bool[Array | np.ndarray, ""]:
    """Reduces a flag over processes: True if it is set on any; all processes must call it.

    The result is an array, so that a caller can read it later and need not wait for the devices.
    """
    if jax.process_count() == 1:
        return np.asarray(flag)
    flags = jax.make_array_from_callback((mesh.size,), sharded(mesh), lambda _: np.array([flag]))
    return _any_function(mesh)(flags)


@cache
def _any_function(mesh: Mesh) -> Callable[[Bool[Array, " devices"]], Bool[Array, ""]]:
    return jax.jit(jnp.any, out_shardings=replicated(mesh))
