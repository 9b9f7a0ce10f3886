"""Mutations of good files: each is read or refused in one line, in bounded time and memory.

Images have a test of their own, `tests/io/test_hostile.py`. `python -m tests.fuzz` tries more.
"""

import pytest

pytest.importorskip("astropy.io.fits")
pytest.importorskip("tifffile")
pytest.importorskip("imagecodecs")

from tests.fuzz.harness import fuzz
from tests.fuzz.kinds import KINDS

NUMBER = {"folders of runs": 30, "folders of runs, mended": 30, "arrays (MATLAB)": 10}
"""Mutations of the kinds whose files take longer to read."""
IMAGES = (
    "PNG",
    "BMP",
    "JPEG",
    "TIFF",
    "NPY and NPZ",
    "FITS",
    "FITS, decoded apart",
    "packed files",
)


@pytest.mark.usefixtures("reads_may_fail")
@pytest.mark.parametrize("name", [name for name in KINDS if name not in IMAGES])
def test_every_mutation_is_read_or_refused(name, tmp_path):
    number = NUMBER.get(name, 100)
    outcome = fuzz(KINDS[name](), tmp_path, range(10**6, 10**6 + number))
    assert outcome.faults == []
    assert outcome.read + outcome.refused == number
