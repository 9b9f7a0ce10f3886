"""Names of images in error lines and in warnings about them."""

import warnings
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

from distax.runtime.errors import DistaxError, DistaxWarning


def is_writable_name(path: Path) -> bool:
    """Returns False for a file name that is not UTF-8, as no output can contain it."""
    try:
        str(path).encode()
    except UnicodeEncodeError:
        return False
    return True


def check_name(path: Path) -> None:
    """Raises DistaxError for a file name that is not UTF-8."""
    if not is_writable_name(path):
        raise DistaxError(
            f"{path}: the name is not UTF-8, so no output can contain it; rename the file"
        )


def name_image(path: Path, number: int, message: object) -> str:
    """Returns a line with file and image in front, unless the line names the file."""
    line = str(message)
    named = line.startswith(f"{path}: ") or f" of {path} " in line
    return line if named else f"{path}: image {number}, {line}"


@contextmanager
def naming_warnings(path: Path, number: int) -> Iterator[None]:
    """Names an image in distax's warnings of the block.

    Python shows equal warnings only once, so those of later images would be lost without a name.
    """
    with ExitStack() as after, warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always", DistaxWarning)
        after.callback(_warn_again, path, number, caught)
        yield


def _warn_again(path: Path, number: int, caught: list[warnings.WarningMessage]) -> None:
    for one in caught:
        if isinstance(one.message, DistaxWarning):
            warnings.warn(name_image(path, number, one.message), DistaxWarning, stacklevel=2)
        else:
            warnings.warn_explicit(one.message, one.category, one.filename, one.lineno)
