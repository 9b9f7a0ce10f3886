"""Saving of programs that were compiled ahead of time, and loading on the hardware they are for.

A file is a zip archive. Its member `about.json` describes the devices, the configuration and each
program's arguments and results. The other members are the programs. They are machine code: load
only files of your own.
"""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import jax
import jaxlib
from jax.sharding import Mesh
from jaxlib import xla_client

from distax.compilation.description import (
    ArraySpec,
    Description,
    describe_devices,
    describe_program,
)
from distax.compilation.programs import Compiled
from distax.runtime.archive import ArchiveFormat, read_archive, write_archive
from distax.runtime.errors import DistaxError, first_line
from distax.runtime.settings import from_plain
from distax.training.config import TrainConfig, from_dict

_FORMAT = ArchiveFormat("distax programs 1", "distax compile --save", "compile again")
_SUFFIX = ".bin"


@dataclass(frozen=True, eq=False)
class SavedProgram:
    """A program loaded on its devices. `program(*arguments)` returns a flat list of its results.

    Attributes:
      name: what it computes.
      images: images of all devices in one call.
      arguments: its arguments: the leaves of the tree of arguments, in the order of `jax.tree`.
      used: for each argument, True if the compiler kept it.
      results: its results: the leaves of the tree of results, in the order of `jax.tree`.
      mesh: the devices that it runs on.
      executable: the loaded program.
    """

    name: str
    images: int
    arguments: Sequence[ArraySpec]
    used: Sequence[bool]
    results: Sequence[ArraySpec]
    mesh: Mesh
    executable: Any

    def __call__(self, *arguments: Any) -> list[jax.Array]:
        """Computes the results. Arguments that the original program donates are donated too.

        Raises:
          DistaxError: the arguments are not those that it was compiled for.
        """
        given = jax.tree.leaves(arguments)
        if len(given) != len(self.arguments):
            raise DistaxError(
                f"the saved program takes {len(self.arguments)} arrays, got {len(given)}"
            )
        for spec, array in zip(self.arguments, given, strict=True):
            spec.check(array)
        placed = [
            _raw(jax.device_put(array, spec.sharding(self.mesh)))
            for spec, array, used in zip(self.arguments, given, self.used, strict=True)
            if used
        ]
        parts = self.executable.execute_sharded(placed).disassemble_into_single_device_arrays()
        return [
            jax.make_array_from_single_device_arrays(spec.shape, spec.sharding(self.mesh), part)
            for spec, part in zip(self.results, parts, strict=True)
        ]


@dataclass(frozen=True)
class SavedPrograms:
    """The programs of a file.

    Attributes:
      config: the configuration that they were compiled for.
      programs: the programs by their names.
    """

    config: TrainConfig
    programs: Mapping[str, SavedProgram]


def save_programs(
    path: Path, compiled: Sequence[Compiled], mesh: Mesh, config: TrainConfig
) -> None:
    """Saves compiled programs, each for all devices of a mesh.

    Args:
      path: the file.
      compiled: the programs.
      mesh: the devices that they were compiled for.
      config: the configuration that they were compiled for.

    Raises:
      DistaxError: the file cannot be written.
    """
    about = {
        "versions": {"jax": jax.__version__, "jaxlib": jaxlib.__version__},
        "devices": asdict(describe_devices(mesh)),
        "config": config.to_dict(),
        "programs": {one.name: describe_program(one) for one in compiled},
    }
    write_archive(path, _FORMAT, about, {one.name + _SUFFIX: _binary(one) for one in compiled})


def _binary(compiled: Compiled) -> bytes:
    executable: Any = compiled.program.runtime_executable()
    binary: bytes = executable.serialize()
    return binary


def load_programs(path: Path, mesh: Mesh) -> SavedPrograms:
    """Loads programs on the devices that they were compiled for.

    Args:
      path: a file that `save_programs` or `distax compile --save` wrote.
      mesh: the devices, as `runtime.sharding.data_mesh` makes it.

    Raises:
      DistaxError: the file is not there, damaged or of another kind; the devices are not those of
        the programs; this version of JAX or of the compiler cannot load them.
    """

    def describe(description: dict[str, Any]) -> Description:
        return from_plain(Description, description, str(path))

    description, members = read_archive(
        path, _FORMAT, lambda about: (name + _SUFFIX for name in describe(about).programs)
    )
    about = describe(description)
    config = from_dict(about.config, str(path))
    theirs, ours = about.devices, describe_devices(mesh)
    if theirs != ours:
        found = str(ours)
        if found == str(theirs):
            found = "they are numbered otherwise"
        raise DistaxError(
            f"{path}: runs only where there {theirs}, but here {found}; compile it "
            "for these devices"
        )
    programs = {}
    for name, described in about.programs.items():
        if name + _SUFFIX not in members:
            raise DistaxError(f"{path}: has no program {name!r}; compile it again")
        try:
            executable = _load(members[name + _SUFFIX], mesh)
        # The runtime has no exception of its own for a program that it does not take.
        except Exception as error:
            raise DistaxError(
                f"{path}: compiled with JAX {about.versions.get('jax')}, and JAX {jax.__version__} "
                f"cannot load it ({first_line(error)}); compile it again with this version"
            ) from error
        programs[name] = SavedProgram(
            name,
            described.images,
            described.arguments,
            described.used,
            described.results,
            mesh,
            executable,
        )
    return SavedPrograms(config, programs)


def _load(binary: bytes, mesh: Mesh) -> Any:
    devices = tuple(mesh.devices.flat)
    return devices[0].client.deserialize_executable(
        binary, executable_devices=xla_client.DeviceList(devices)
    )


def _raw(array: jax.Array) -> jax.Array:
    """Returns the raw numbers of a key array, as compiled programs take them."""
    is_key = jax.dtypes.issubdtype(array.dtype, jax.dtypes.prng_key)
    return jax.random.key_data(array) if is_key else array
