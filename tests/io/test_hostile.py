"""Mutations of good images: each is read or refused in one line, in bounded time and memory."""

import time
import tracemalloc
import warnings

import pytest

pytest.importorskip("astropy.io.fits")
pytest.importorskip("tifffile")
pytest.importorskip("imagecodecs")

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from distax import DistaxError, DistaxWarning
from distax.io.frames import open_frames
from distax.io.reading import Reading
from tests.fuzz.changes import BYTE_KINDS, VALUES, changed
from tests.fuzz.images import APART, GOOD

READING = Reading(max_bytes=10**7)
MOST_SECONDS, MOST_BYTES = 5.0, 5 * 10**7
"""Bounds of one file: processor time, and memory of a few times `max_bytes`."""
PLACE = st.floats(0, 1, exclude_max=True).map(lambda share: share**2)  # headers are at the start
CHANGES = st.lists(
    st.tuples(
        st.sampled_from(BYTE_KINDS),
        PLACE,
        PLACE,
        st.sampled_from(VALUES) | st.binary(min_size=1, max_size=4),
    ),
    min_size=1,
    max_size=4,
)


def read_all(path):
    """Reads every pixel of the first frames of a file, or returns the line that refuses it."""
    try:
        with open_frames(path, READING) as frames:
            for number in range(min(len(frames), 4)):
                frame = frames[number]
                assert frame.pixels[:].shape == frame.shape
    except DistaxError as error:
        line = str(error)
        assert line.startswith(f"{path}: ")
        assert "\n" not in line
        return line
    return None


def check(folder, name, content):
    path = folder / name
    path.write_bytes(content)
    tracemalloc.start()
    start = time.process_time()
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", DistaxWarning)
            read_all(path)
        assert time.process_time() - start < MOST_SECONDS
        assert tracemalloc.get_traced_memory()[1] < MOST_BYTES
    finally:
        tracemalloc.stop()


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("hostile")
    for name, content in GOOD.items():  # also imports the libraries, whose time is not measured
        (folder / name).write_bytes(content)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", DistaxWarning)
            assert read_all(folder / name) is None, name
    return folder


@pytest.mark.parametrize("name", GOOD)
@settings(
    max_examples=25,
    derandomize=True,
    deadline=None,
    database=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
@given(changes=CHANGES)
def test_mutations_are_read_or_refused_in_one_line(folder, name, changes):
    check(folder, name, changed(GOOD[name], changes))


@pytest.mark.parametrize("name", APART)
def test_decoders_that_crash_end_no_more_than_their_own_process(folder, name):
    content = APART[name]
    (folder / name).write_bytes(content)
    assert read_all(folder / name) is None
    # Behind the two headers and the descriptor of the first tile.
    start = len(content) - 2880
    garbage = bytearray(content)
    garbage[start + 60 : start + 400] = bytes(range(170)) * 2
    (folder / name).write_bytes(garbage)
    read_all(folder / name)  # may also give pixels: nothing in the file tells that they are wrong


@pytest.mark.parametrize("keyword", ["ZTILE1", "ZTILE2", "ZNAXIS1", "ZNAXIS2", "NAXIS2"])
def test_tiles_that_do_not_suit_the_image_are_refused_before_they_are_decoded(folder, keyword):
    for name in ("hcompress.fits", "rice.fits"):
        content = (GOOD | APART)[name]
        place = content.index(f"{keyword:8}= ".encode(), 2880)
        card = content[place : place + 80]
        # A tile may be larger than the image, which then is its only one.
        for number in (7, 0, -1, *([] if keyword.startswith("ZTILE") else (10**9, 10**15))):
            other = f"{keyword:8}= {number:>20}".encode().ljust(80)
            (folder / name).write_bytes(content.replace(card, other))
            assert read_all(folder / name) is not None, (name, number)


def test_an_hcompress_tile_of_another_size_is_refused(folder):
    content = bytearray(APART["hcompress.fits"])
    place = content.index(b"\xdd\x99")  # the mark of its stream, before its height and width
    content[place + 5] += 1
    (folder / "a.fits").write_bytes(content)
    assert "holds (25, 30) pixels, but its place in the image has (24, 30)" in read_all(
        folder / "a.fits"
    )
