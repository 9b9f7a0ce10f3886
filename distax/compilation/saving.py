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
from jax.sharding import Mesh, NamedSharding, PartitionSpec
from jaxlib import xla_client
from jaxtyping import Array, Float

from distax.compilation.programs import STEPS, Compiled
from distax.runtime.archive import ArchiveFormat, read_archive, write_archive
from distax.runtime.errors import DistaxError, first_line
from distax.runtime.settings import STRICT, from_plain
from distax.runtime.sharding import AXES
from distax.training.config import TrainConfig, from_dict
from distax.training.feeds import Batches
from distax.training.state import TrainState
from distax.training.steps import CompiledSteps

_FORMAT = ArchiveFormat("distax programs 1", "distax compile --save", "compile again")
_SUFFIX = ".bin"


@dataclass(frozen=True)
class _Devices:
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
class _Program:
    """Description of a program in the file; the attributes are those of `SavedProgram`."""

    images: int
    arguments: tuple[ArraySpec, ...]
    used: tuple[bool, ...]
    results: tuple[ArraySpec, ...]

    __pydantic_config__ = STRICT

    def __post_init__(self) -> None:
        if len(self.used) != len(self.arguments):
            raise DistaxError("used must have one value for each of the arguments")


@dataclass(frozen=True)
class _About:
    """Description in the file.

    Attributes:
      format: name and version of the format.
      versions: versions of JAX and jaxlib that compiled the programs.
      devices: the devices that they were compiled for.
      config: the configuration as `TrainConfig.to_dict` makes it.
      programs: descriptions of the programs by name.
    """

    format: str
    versions: dict[str, str]
    devices: _Devices
    config: dict[str, Any]
    programs: dict[str, _Program]

    __pydantic_config__ = STRICT


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
        "devices": asdict(_describe(mesh)),
        "config": config.to_dict(),
        "programs": {one.name: _about(one) for one in compiled},
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
    description, members = read_archive(path, _FORMAT)
    about = from_plain(_About, description, str(path))
    config = from_dict(about.config, str(path))
    theirs, ours = about.devices, _describe(mesh)
    if theirs != ours:
        found = _in_words(ours)
        if found == _in_words(theirs):
            found = "they are numbered otherwise"
        raise DistaxError(
            f"{path}: runs only where there {_in_words(theirs)}, but here {found}; compile it "
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


# Fields of a configuration that no program depends on.
_FREE = {"seed", "data", "trackers", "threshold", "log_every", "eval_every", "eval_images"}


def saved_steps(saved: SavedPrograms, config: TrainConfig) -> dict[int, CompiledSteps]:
    """Returns the saved training steps by the number of steps in a call, for `training.loop.train`.

    Args:
      saved: the programs.
      config: the configuration of the run.

    Raises:
      DistaxError: there are no training steps, or they are those of another configuration.
    """
    if STEPS not in saved.programs:
        raise DistaxError("the saved programs have no training steps; compile with --what train")
    theirs, ours = saved.config.to_dict(), config.to_dict()
    differing = [key for key in ours if key not in _FREE and ours[key] != theirs[key]]
    if differing:
        raise DistaxError(
            "the saved programs were compiled for another configuration (differs in "
            f"{', '.join(differing)}); compile them for this one"
        )
    program = saved.programs[STEPS]
    # Batches come last, with the steps along their first axis.
    return {program.arguments[-1].shape[0]: _SavedSteps(program)}


@dataclass(frozen=True)
class _SavedSteps:
    """Training steps that were saved; see `training.steps.CompiledSteps`."""

    program: SavedProgram

    def __call__(
        self, state: TrainState, batches: Batches
    ) -> tuple[TrainState, Float[Array, " steps"]]:
        after: tuple[TrainState, Array] = jax.tree.unflatten(
            jax.tree.structure((state, 0)), self.program(state, batches)
        )
        return after

    def as_text(self) -> str:
        """Returns the program's text."""
        text: str = self.program.executable.get_hlo_text()
        return text

    def cost_analysis(self) -> dict[str, float]:
        """Returns XLA's own counts by name."""
        counts: dict[str, float] = self.program.executable.cost_analysis()
        return counts


def _load(binary: bytes, mesh: Mesh) -> Any:
    devices = tuple(mesh.devices.flat)
    return devices[0].client.deserialize_executable(
        binary, executable_devices=xla_client.DeviceList(devices)
    )


def _describe(mesh: Mesh) -> _Devices:
    devices = list(mesh.devices.flat)
    replicas, each = (mesh.shape[axis] for axis in AXES)
    return _Devices(
        devices[0].platform,
        devices[0].device_kind,
        (replicas, each),
        tuple(device.id for device in devices),
    )


def _in_words(devices: _Devices) -> str:
    replicas, each = devices.mesh
    slices = f" in {replicas} slices" if replicas > 1 else ""
    count = replicas * each
    number = "is 1 device" if count == 1 else f"are {count} devices"
    return f"{number} of kind {devices.kind}{slices}"


def _about(compiled: Compiled) -> dict[str, Any]:
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


def _raw(array: jax.Array) -> jax.Array:
    """Returns the raw numbers of a key array, as compiled programs take them."""
    is_key = jax.dtypes.issubdtype(array.dtype, jax.dtypes.prng_key)
    return jax.random.key_data(array) if is_key else array
