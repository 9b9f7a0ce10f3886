"""Entry point of the command `distax`."""

import logging
import signal
import sys
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Union

from distax.runtime.buckets import as_path
from distax.runtime.errors import DistaxError, DistaxWarning, Terminated, first_line
from distax.runtime.signals import plain_sigint
from distax.runtime.terminal import patient_streams, printable, tell

if TYPE_CHECKING:
    from tyro.constructors import ConstructorRegistry

_SHORT = {"--model": "--model.name"}
"""Short names of options of `train`, with the full names that tyro knows."""


def main(arguments: Sequence[str] | None = None) -> None:
    """Runs a command line and exits with status 0 only on success.

    An error in the input is one line on standard error and status 1. SIGINT gives status 130,
    SIGTERM 143.

    Args:
      arguments: words after `distax`. Default: those of the process.
    """
    # Orbax and TFDS log internals through absl, and repeat every error that they also raise.
    logging.getLogger("absl").setLevel(logging.CRITICAL)
    # Without credentials, gcsfs logs for every object that it cannot learn the bucket's type.
    logging.getLogger("gcsfs").setLevel(logging.CRITICAL)
    try:
        with patient_streams(), _warnings_in_one_line():
            with plain_sigint():
                command = _parse(sys.argv[1:] if arguments is None else arguments)
            command.run()
    except DistaxError as error:
        sys.exit(f"distax: {printable(error)}")
    except BrokenPipeError:
        # The reader, such as `head`, has what it wanted.
        sys.exit(128 + signal.SIGPIPE)
    except OSError as error:
        sys.exit(f"distax: {printable(error.strerror or error)}: the output cannot be written")
    except ImportError as error:
        # An optional package, such as gcsfs when a path names a bucket.
        sys.exit(f"distax: a package is missing ({first_line(error)}); install it and try again")
    except Terminated as error:
        tell(error)
        sys.exit(128 + signal.SIGTERM)
    except KeyboardInterrupt as error:
        tell(str(error) or "interrupted")
        sys.exit(128 + signal.SIGINT)


@contextmanager
def _warnings_in_one_line() -> Iterator[None]:
    """Prints distax's warnings as one line each within the block."""
    usual = warnings.formatwarning
    warnings.formatwarning = _format_warning
    try:
        yield
    finally:
        warnings.formatwarning = usual


def _format_warning(
    message: Warning | str,
    category: type[Warning],
    filename: str,
    lineno: int,
    line: str | None = None,
) -> str:
    """Formats a warning of distax in one line, and any other with its file and line number."""
    if issubclass(category, DistaxWarning):
        return f"distax: {printable(message)}\n"
    return f"{filename}:{lineno}: {category.__name__}: {message}\n"


def _full_name(argument: str) -> str:
    """Returns an option of `train` under its full name; a value after `=` stays."""
    name, equals, value = argument.partition("=")
    return _SHORT.get(name, name) + equals + value


def _to_path(word: str) -> Path:
    """Returns the path that a word names, or ends the command with the error in one line."""
    try:
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


def _parse(arguments: Sequence[str]) -> Any:
    """Parses a command line into the command's dataclass.

    Imports the commands here and not at the top: JAX takes seconds, and until then Ctrl-C must end
    the process at once.
    """
    import tyro
    from tyro.conf import AvoidSubcommands, OmitSubcommandPrefixes, subcommand

    from distax.cli.benchmark import Benchmark
    from distax.cli.build_dataset import BuildDataset
    from distax.cli.cache import default_folder, keep_compiled_programs
    from distax.cli.calibrate import Calibrate
    from distax.cli.compile import Compile
    from distax.cli.convert import Convert
    from distax.cli.evaluate import Evaluate
    from distax.cli.export import Export
    from distax.cli.quickstart import Quickstart
    from distax.cli.samples import Samples
    from distax.cli.track import Track
    from distax.cli.train import Train
    from distax.cli.unmix import Unmix
    from distax.runtime.platforms import quiet_tpu_compiler

    quiet_tpu_compiler()
    keep_compiled_programs()
    train = Train()
    if arguments[:1] == ["train"]:
        arguments = [_full_name(argument) for argument in arguments]
        train = Train.defaults(arguments)
    # Made at run time: the defaults of `train` come from the file or run that its options name.
    commands = Union[  # noqa: UP007
        Annotated[Quickstart, subcommand("quickstart")],
        Annotated[Samples, subcommand("samples")],
        Annotated[BuildDataset, subcommand("build-dataset")],
        Annotated[Train, subcommand("train", default=train)],
        Annotated[Evaluate, subcommand("evaluate")],
        Annotated[Unmix, subcommand("unmix")],
        Annotated[Calibrate, subcommand("calibrate")],
        Annotated[Track, subcommand("track")],
        Annotated[Convert, subcommand("convert")],
        Annotated[Export, subcommand("export")],
        Annotated[Compile, subcommand("compile")],
        Annotated[Benchmark, subcommand("benchmark")],
    ]
    return tyro.cli(
        commands,  # type: ignore[arg-type]
        prog="distax",
        description=(
            "Find the targets in images of closely spaced infrared point sources. Compiled "
            f"programs are kept in {default_folder()} for later commands; set "
            "JAX_COMPILATION_CACHE_DIR to use another folder, or JAX_ENABLE_COMPILATION_CACHE=0 to "
            "keep none."
        ),
        args=arguments,
        registry=_rules(),
        # Without AvoidSubcommands, the optional measured PSF of a sensor becomes two subcommands.
        config=(OmitSubcommandPrefixes, AvoidSubcommands),
    )
