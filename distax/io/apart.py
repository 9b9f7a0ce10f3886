"""Decoding in a separate process, for libraries that crash on damaged files."""

import errno
import subprocess
import sys
import tempfile
import zipfile
from pathlib import Path

import numpy as np

_SECONDS = 120
"""Longest time of a decoder."""
_OF_MACHINE = ("OSError", "MemoryError", "ModuleNotFoundError", "ImportError")
"""Exceptions that tell nothing about the file."""


def decode_apart(program: Path, *arguments: str) -> list[np.ndarray]:
    """Runs a decoder in a separate process, so that a crash ends only that process.

    Args:
      program: Python file that takes the arguments and the path of an NPZ file, to which it writes
        the decoded arrays.
      arguments: the arguments.

    Returns:
      The arrays in the order in which they were written.

    Raises:
      ValueError: the decoder crashed, failed or took too long.
      OSError: the disk or the memory did not suffice, or a package is missing.
    """
    with tempfile.TemporaryDirectory() as folder:
        decoded = Path(folder, "decoded.npz")
        # -P: modules beside the program must not stand in for installed ones of the same name.
        command = [sys.executable, "-P", str(program), *arguments, str(decoded)]
        try:
            subprocess.run(command, check=True, capture_output=True, text=True, timeout=_SECONDS)
            # NumPy leaves a file open that is no archive.
            with decoded.open("rb") as file, np.load(file, allow_pickle=False) as arrays:
                return list(arrays.values())
        except (OSError, zipfile.BadZipFile) as error:
            raise _of_machine(f"what was decoded cannot be read back ({error})") from error
        except subprocess.CalledProcessError as error:
            last = (error.stderr.splitlines() or ["its decoder crashed"])[-1]
            if any(last.startswith(name) for name in _OF_MACHINE):
                raise _of_machine(f"the file could not be decoded ({last})") from None
            raise ValueError(last.removeprefix("ValueError: ")) from None
        except subprocess.TimeoutExpired:
            raise ValueError(f"its decoder took more than {_SECONDS} s") from None


def _of_machine(reason: str) -> OSError:
    """Makes an error that `faults.translated` takes for one of the system, not of the file."""
    return OSError(errno.EIO, reason)
