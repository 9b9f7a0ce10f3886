"""Entry point of `distax`."""

import logging
import signal
import sys
import warnings
from collections.abc import Sequence
from typing import Annotated, Any, Union

from distax.runtime.errors import DistaxError, DistaxWarning, Terminated, first_line
from distax.runtime.signals import plain_sigint

# Options of `train` that go without the group they belong to.
_SHORT = {"--model": "--model.name"}


def main(arguments: Sequence[str] | None = None) -> None:
    """Run a command; exits with 0 only on success."""
    # Orbax and TFDS tell their inner workings there, and every error of theirs a second time.
    logging.getLogger("absl").setLevel(logging.CRITICAL)
    try:
        with warnings.catch_warnings():
            warnings.formatwarning = _format_warning
            with plain_sigint():
                command = _parse(sys.argv[1:] if arguments is None else arguments)
            command.run()
    except DistaxError as error:
        sys.exit(f"distax: {error}")
    except ImportError as error:
        # Such as gcsfs, for which storage is asked as soon as a bucket is named.
        sys.exit(f"distax: a package is missing ({first_line(error)}); install it and try again")
    except Terminated as error:
        print(f"distax: {error}", file=sys.stderr)
        sys.exit(128 + signal.SIGTERM)
    except KeyboardInterrupt as error:
        print(f"distax: {str(error) or 'interrupted'}", file=sys.stderr)
        sys.exit(128 + signal.SIGINT)


def _format_warning(
    message: Warning | str,
    category: type[Warning],
    filename: str,
    lineno: int,
    line: str | None = None,
) -> str:
    """What users should know in one line; what developers should know with its place."""
    if issubclass(category, DistaxWarning):
        return f"distax: {message}\n"
    return f"{filename}:{lineno}: {category.__name__}: {message}\n"


def _spelt_out(argument: str) -> str:
    """An option of `train`, with or without its value, by its full name."""
    name, equals, value = argument.partition("=")
    return _SHORT.get(name, name) + equals + value


def _parse(arguments: Sequence[str]) -> Any:
    """The command with its options, from modules that are imported here: it takes seconds."""
    import tyro
    from tyro.conf import AvoidSubcommands, OmitSubcommandPrefixes, subcommand

    from distax.cli.build_dataset import BuildDataset
    from distax.cli.cache import default_folder, keep_compiled_programs
    from distax.cli.calibrate import Calibrate
    from distax.cli.convert import Convert
    from distax.cli.evaluate import Evaluate
    from distax.cli.export import Export
    from distax.cli.quickstart import Quickstart
    from distax.cli.samples import Samples
    from distax.cli.track import Track
    from distax.cli.train import Train
    from distax.cli.unmix import Unmix

    keep_compiled_programs()
    train = Train()
    if arguments[:1] == ["train"]:
        arguments = [_spelt_out(argument) for argument in arguments]
        train = Train.defaults(arguments)
    # A union made at run time: `train` has the defaults that its own options name.
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
    ]
    return tyro.cli(
        commands,  # type: ignore[arg-type]
        prog="distax",
        description=(
            "Unmix closely-spaced infrared small targets. Compiled programs are kept in "
            f"{default_folder()}, so that a command starts faster the next time; "
            "JAX_COMPILATION_CACHE_DIR names another folder, JAX_ENABLE_COMPILATION_CACHE=0 keeps "
            "none."
        ),
        args=arguments,
        # A measured PSF, which there is or not, would be a pair of subcommands of its own.
        config=(OmitSubcommandPrefixes, AvoidSubcommands),
    )
