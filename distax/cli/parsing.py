"""Parsing of command lines."""

import sys
from collections.abc import Sequence
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Union

from distax.runtime.buckets import as_path
from distax.runtime.errors import DistaxError, unknown
from distax.runtime.terminal import printable

if TYPE_CHECKING:
    from tyro.constructors import ConstructorRegistry

_COMMANDS = {
    "quickstart": "Quickstart",
    "samples": "Samples",
    "build-dataset": "BuildDataset",
    "train": "Train",
    "evaluate": "Evaluate",
    "unmix": "Unmix",
    "calibrate": "Calibrate",
    "track": "Track",
    "convert": "Convert",
    "export": "Export",
    "compile": "Compile",
    "benchmark": "Benchmark",
}
"""Commands by name, and the classes of their options in modules of the same names."""
_SHORT = {"--model": "--model.name"}
"""Short names of options of `train`, with the full names that tyro knows."""


def parse(arguments: Sequence[str]) -> Any:
    """Parses a command line into the command's dataclass.

    Imports tyro and the commands here and not at the top: JAX takes seconds, and until then Ctrl-C
    must end the process at once. Of a known command only its own module is imported, and its errors
    are about its own options.

    Args:
      arguments: words after `distax`.

    Raises:
      DistaxError: the command is unknown.
      SystemExit: the help was asked for, or an option is wrong.
    """
    import tyro
    from tyro.conf import AvoidSubcommands, OmitSubcommandPrefixes

    from distax.cli.cache import keep_compiled_programs
    from distax.runtime.platforms import quiet_tpu_compiler

    quiet_tpu_compiler()
    keep_compiled_programs()
    name = arguments[0] if arguments else "--help"
    if name not in _COMMANDS and not name.startswith("-"):
        raise unknown("command", name, _COMMANDS)
    # Without AvoidSubcommands, the optional measured PSF of a sensor becomes two subcommands.
    shared: dict[str, Any] = {
        "registry": _rules(),
        "config": (OmitSubcommandPrefixes, AvoidSubcommands),
    }
    if name not in _COMMANDS:
        return tyro.cli(_all(), prog="distax", description=_description(), args=arguments, **shared)
    command, words = _load(name), list(arguments[1:])
    if name == "train":
        words = list(map(_full_name, words))
        # The defaults of `train` come from the file or run that its options name.
        shared["default"] = command.defaults(words)
    return tyro.cli(command, prog=f"distax {name}", args=words, **shared)


def _load(name: str) -> Any:
    """Imports the class of a command."""
    module = "distax.cli." + name.replace("-", "_")
    return getattr(import_module(module), _COMMANDS[name])


def _all() -> Any:
    """Returns the type of all commands, for their list in the help."""
    from tyro.conf import subcommand

    return Union[tuple(Annotated[_load(name), subcommand(name)] for name in _COMMANDS)]  # noqa: UP007


def _description() -> str:
    from distax.cli.cache import default_folder

    return (
        "Find the targets in images of closely spaced infrared point sources. Compiled programs "
        f"are kept in {default_folder()} for later commands; set JAX_COMPILATION_CACHE_DIR to use "
        "another folder, or JAX_ENABLE_COMPILATION_CACHE=0 to keep none."
    )


def _full_name(argument: str) -> str:
    """Returns an option of `train` under its full name; a value after `=` stays."""
    name, equals, value = argument.partition("=")
    return _SHORT.get(name, name) + equals + value


def _to_path(word: str) -> Path:
    """Returns the path that a word names, or ends the command with the error in one line."""
    try:
        if not word:
            raise DistaxError("a path is empty; the present folder is '.'")
        return as_path(word)
    except DistaxError as error:
        # The parser would print an error of its own, with the word's usage.
        sys.exit(f"distax: {printable(error)}")


def _rules() -> "ConstructorRegistry":
    """Returns the rule by which the parser makes a path of a word, on disk or in a bucket."""
    from tyro.constructors import ConstructorRegistry, PrimitiveConstructorSpec, PrimitiveTypeInfo

    rules = ConstructorRegistry()

    @rules.primitive_rule
    def path_rule(about: PrimitiveTypeInfo) -> PrimitiveConstructorSpec[Path] | None:
        if about.type is not Path:
            return None
        return PrimitiveConstructorSpec(
            nargs=1,
            metavar="PATH",
            instance_from_str=lambda words: _to_path(words[0]),
            is_instance=lambda value: isinstance(value, Path),
            str_from_instance=lambda path: [str(path)],
        )

    return rules
