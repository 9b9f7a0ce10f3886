"""Entry point of the command `distax`."""

import errno
import logging
import os
import signal
import sys
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from inspect import iscoroutine

from distax.cli.parsing import parse
from distax.runtime.errors import DistaxError, DistaxWarning, Terminated, first_line
from distax.runtime.memory import lack_of_memory
from distax.runtime.signals import ending_soon, plain_sigint
from distax.runtime.terminal import line_of, patient_streams, tell

_usual_hook = sys.unraisablehook


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
    # When a write fails, Orbax raises its error and closes the event loop of all writes. Others may
    # fail later, even when the command has ended, and asyncio reports each with a traceback. Those
    # that never began are reported with a warning.
    logging.getLogger("asyncio").setLevel(logging.CRITICAL)
    warnings.filterwarnings("ignore", "coroutine .* was never awaited", RuntimeWarning)
    sys.unraisablehook = _report_unraisable
    try:
        with patient_streams(), _warnings_in_one_line():
            with plain_sigint():
                command = parse(sys.argv[1:] if arguments is None else arguments)
            with ending_soon(partial(tell, "interrupted")):
                command.run()
    except DistaxError as error:
        sys.exit(f"distax: {line_of(error)}")
    except BrokenPipeError:
        # The reader, such as `head`, has what it wanted.
        sys.exit(128 + signal.SIGPIPE)
    except OSError as error:
        sys.exit(f"distax: {_told(error)}")
    except ImportError as error:
        # An optional package, such as gcsfs when a path names a bucket.
        sys.exit(f"distax: a package is missing ({first_line(error)}); install it and try again")
    except Terminated as error:
        tell(error)
        sys.exit(128 + signal.SIGTERM)
    except KeyboardInterrupt as error:
        tell(str(error) or "interrupted")
        sys.exit(128 + signal.SIGINT)
    except Exception as error:
        line = lack_of_memory(error) or _lack_of_platform(error)
        if line is None:
            raise
        sys.exit(f"distax: {line_of(line)}")


def _report_unraisable(found: "sys.UnraisableHookArgs") -> None:
    """Reports an exception that nothing can catch, unless Orbax gave up the read or write of it."""
    error = found.exc_value
    is_late = isinstance(error, RuntimeError) and str(error) == "Event loop is closed"
    is_given_up = iscoroutine(found.object) and "orbax" in found.object.cr_code.co_filename
    if not (is_late or is_given_up):
        _usual_hook(found)


def _lack_of_platform(error: Exception) -> str | None:
    """Returns the line for the user if JAX cannot use its platform, and otherwise None."""
    if not (isinstance(error, RuntimeError) and "Unable to initialize backend" in str(error)):
        return None
    remedy = "set the variable JAX_PLATFORMS to cpu, or remove it"
    return f"JAX has no device ({first_line(error)}); {remedy}"


def _is_folder_gone() -> bool:
    """Returns True if the current folder was deleted."""
    try:
        os.getcwd()
    except FileNotFoundError:
        return True
    return False


def _told(error: OSError) -> str:
    """Returns the line about a failure of a file, or of the output, which has no name."""
    reason = line_of(error.strerror or error)
    if error.filename is not None:
        return f"{line_of(error.filename)}: {reason}"
    if error.errno == errno.ENOENT and _is_folder_gone():
        return "the current folder does not exist any more; change to another one"
    full = error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
    failed = "the output cannot be written" if full else "a file cannot be read or written"
    return f"{reason}: {failed}"


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
        return f"distax: {line_of(message)}\n"
    return f"{filename}:{lineno}: {category.__name__}: {message}\n"
