"""Descriptions of programs that were compiled ahead of time, as their file holds them."""

from dataclasses import dataclass
from typing import Any

import jax
from jax.sharding import Mesh, NamedSharding, PartitionSpec

from distax.compilation.programs import Compiled
from distax.runtime.errors import DistaxError
from distax.runtime.settings import STRICT
from distax.runtime.sharding import AXES


@dataclass(frozen=True)
class Devices:
    """The devices that programs run on.

    Attributes:
      platform: JAX's name of their platform.
      kind: JAX's name of their kind.
      mesh: how many there are along each of the mesh's two axes.
      ids: JAX's number of each device, in the order of the mesh.
    """

    platform: str
    kind: str
    mesh: tuple[int, int]
    ids: tuple[int, ...]

    __pydantic_config__ = STRICT

    def __str__(self) -> str:
        replicas, each = self.mesh
        slices = f" in {replicas} slices" if replicas > 1 else ""
        count = replicas * each
        number = "is 1 device" if count == 1 else f"are {count} devices"
        return f"{number} of kind {self.kind}{slices}"


@dataclass(frozen=True)
class ArraySpec:
    """An argument or a result of a program.

    Attributes:
      name: its place in the tree of arguments or results.
      shape: its shape.
      dtype: name of its type.
      spec: for each axis of the array, the mesh axes that divide it: None, a name or names.
    """

    name: str
    shape: tuple[int, ...]
    dtype: str
    spec: tuple[str | tuple[str, ...] | None, ...]

    __pydantic_config__ = STRICT

    def sharding(self, mesh: Mesh) -> NamedSharding:
        """Returns its sharding over a mesh."""
        return NamedSharding(mesh, PartitionSpec(*self.spec))

    def check(self, array: Any) -> None:
        """Raises DistaxError if an array has another shape or type."""
        if (array.shape, str(array.dtype)) != (self.shape, self.dtype):
            raise DistaxError(
                f"the saved program takes {self.dtype}{list(self.shape)} as {self.name}, got "
                f"{array.dtype}{list(array.shape)}; compile it for these arguments"
            )


@dataclass(frozen=True)
class ProgramDescription:
    """Description of a program; the attributes are those of `saving.SavedProgram`."""

    images: int
    arguments: tuple[ArraySpec, ...]
    used: tuple[bool, ...]
    results: tuple[ArraySpec, ...]

    __pydantic_config__ = STRICT

    def __post_init__(self) -> None:
        if len(self.used) != len(self.arguments):
            raise DistaxError("used must have one value for each of the arguments")


@dataclass(frozen=True)
class Description:
    """Description of the programs in a file.

    Attributes:
      format: name and version of the format.
      versions: versions of JAX and jaxlib that compiled the programs.
      devices: the devices that they were compiled for.
      config: the configuration as `TrainConfig.to_dict` makes it.
      programs: descriptions of the programs by name.
    """

    format: str
    versions: dict[str, str]
    devices: Devices
    config: dict[str, Any]
    programs: dict[str, ProgramDescription]

    __pydantic_config__ = STRICT


def describe_devices(mesh: Mesh) -> Devices:
    """Describes the devices of a mesh."""
    devices = list(mesh.devices.flat)
    replicas, each = (mesh.shape[axis] for axis in AXES)
    return Devices(
        devices[0].platform,
        devices[0].device_kind,
        (replicas, each),
        tuple(device.id for device in devices),
    )


def describe_program(compiled: Compiled) -> dict[str, Any]:
    """Describes a compiled program as plain values, from which `ProgramDescription` is made."""
    program = compiled.program
    arguments = jax.tree_util.tree_leaves_with_path(program.args_info)
    # JAX gives None for an argument that the compiler dropped.
    structure: Any = jax.tree.structure(program.args_info)
    placed = structure.flatten_up_to(program.input_shardings)
    results = jax.tree_util.tree_leaves_with_path(program.out_info)
    return {
        "images": compiled.images,
        "arguments": [
            _plain(path, leaf, sharding)
            for (path, leaf), sharding in zip(arguments, placed, strict=True)
        ],
        "used": [sharding is not None for sharding in placed],
        "results": [_plain(path, leaf, leaf.sharding) for path, leaf in results],
    }


def _plain(path: Any, leaf: Any, sharding: NamedSharding | None) -> dict[str, Any]:
    return {
        "name": jax.tree_util.keystr(path, simple=True, separator="/"),
        "shape": list(leaf.shape),
        "dtype": str(leaf.dtype),
        "spec": [] if sharding is None else list(sharding.spec),
    }
