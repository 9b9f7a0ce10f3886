"""Program that reads a MATLAB file, for `io.apart.decode_apart`. It imports no distax.

SciPy's reader crashes on some damaged files.
"""

import math
import sys
from io import BytesIO
from pathlib import Path

import numpy as np
from scipy.io import loadmat, whosmat

_MOST_NUMBERS = 2**25
"""Largest size of a matrix. A damaged header may promise more memory than there is."""
_SMALL = 4096
"""Bytes that SciPy may ask for beyond the end of the file."""


class _Whole(BytesIO):
    """A file that is not asked for more bytes than it has, as SciPy would allocate them first."""

    def read(self, size: int | None = -1, /) -> bytes:
        """Returns bytes; raises ValueError if fewer are left."""
        left = len(self.getbuffer()) - self.tell()
        # At the end, SciPy tries to read the start of the next array.
        if size is not None and size > left + _SMALL:
            raise ValueError(f"{size} bytes are promised, {left} are there")
        return super().read(size)


def decode(path: str, decoded: str) -> None:
    """Writes the arrays of a MATLAB file to an NPZ file.

    Raises:
      ValueError: the file is damaged, or holds what is no array of numbers.
    """
    content = Path(path).read_bytes()
    shapes = [shape for _, shape, _ in whosmat(_Whole(content))]
    if any(math.prod(map(int, shape)) > _MOST_NUMBERS for shape in shapes):
        raise ValueError("it promises a larger matrix than any model has")
    found = loadmat(_Whole(content))
    arrays = [np.asarray(value) for name, value in found.items() if not name.startswith("__")]
    if any(array.dtype.hasobject for array in arrays):
        raise ValueError("it holds what is no array of numbers")
    np.savez(decoded, *arrays)


if __name__ == "__main__":
    decode(*sys.argv[1:])
