"""Translation of other libraries' exceptions and logs to one line that names the file."""

import logging
import warnings
from collections.abc import Iterator
from contextlib import contextmanager

from distax.runtime.errors import DistaxError, first_line

_ABOUT_CODE = (AttributeError, AssertionError, LookupError, RecursionError, TypeError)
"""Exceptions whose texts tell about the library's code, and nothing about the file."""


@contextmanager
def translated(where: object, kind: str) -> Iterator[None]:
    """Converts every exception of the block to a DistaxError that names the file.

    Damaged files raise exceptions of nearly every type, and decoders add types of their own. So all
    types are converted here, and nowhere else. All warnings in the block are suppressed, so warn
    outside of it.

    Args:
      where: the file, and the image in it.
      kind: the file's format.
    """
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            yield
        except DistaxError:
            raise
        except FileNotFoundError as error:
            raise DistaxError(f"{where}: no such file") from error
        except MemoryError as error:
            raise DistaxError(
                f"{where}: needs more memory than there is, or is a damaged {kind} file"
            ) from error
        except Exception as error:
            if isinstance(error, OSError) and error.strerror:
                raise DistaxError(f"{where}: cannot be read ({error.strerror})") from error
            about_code = isinstance(error, _ABOUT_CODE)
            reason = "" if about_code else f" ({first_line(error)})"
            raise DistaxError(
                f"{where}: a truncated or damaged {kind} file{reason}; copy it again, or export it "
                "anew"
            ) from error


@contextmanager
def logs_raised(library: str) -> Iterator[None]:
    """Raises ValueError for an error that a library logs in the block, and drops its other logs.

    Some libraries only log that a file is damaged, and go on with the rest of it.
    """
    logger, handler = logging.getLogger(library), _Raising(logging.ERROR)
    propagate, logger.propagate = logger.propagate, False
    others, logger.handlers = logger.handlers, [handler]
    try:
        yield
    finally:
        logger.handlers, logger.propagate = others, propagate


class _Raising(logging.Handler):
    """A handler that raises the records it gets."""

    def emit(self, record: logging.LogRecord) -> None:
        """Raises ValueError with the record's message."""
        raise ValueError(record.getMessage())
