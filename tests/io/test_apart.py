import numpy as np
import pytest

from distax import DistaxError
from distax.io import apart
from distax.io.apart import decode_apart
from distax.io.faults import translated

PROGRAM = """
import os, sys, time
import numpy as np
{line}
np.savez(sys.argv[-1], np.arange(3), np.array(sys.argv[1]))
"""


def decoded(folder, line=""):
    (folder / "decoder.py").write_text(PROGRAM.replace("{line}", line))
    return decode_apart(folder / "decoder.py", "a b")


def test_arrays_come_back_in_order(tmp_path):
    first, second = decoded(tmp_path)
    np.testing.assert_array_equal(first, np.arange(3))
    assert second == "a b"


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("os.abort()", "its decoder crashed"),
        ("os.kill(os.getpid(), 11)", "its decoder crashed"),
        ("raise ValueError('12 bytes are promised, 3 are there')", "^12 bytes are promised"),
        ("raise KeyError('x')", "KeyError: 'x'"),
        ("np.savez(sys.argv[-1], np.array([{}])); sys.exit()", "allow_pickle=False"),
    ],
)
def test_a_decoder_that_fails_is_told(tmp_path, line, message):
    with pytest.raises(ValueError, match=message):
        decoded(tmp_path, line)


@pytest.mark.parametrize(
    "line",
    [
        "raise OSError(28, 'No space left on device')",
        "raise MemoryError",
        "import no_such_package",
        "sys.exit()",
        "open(sys.argv[-1], 'wb').write(b'PK\x03\x04'); sys.exit()",
    ],
)
def test_what_the_machine_lacks_is_no_damage(tmp_path, line):
    with pytest.raises(OSError, match="decoded"):
        decoded(tmp_path, line)
    with (
        pytest.raises(DistaxError, match=r"a\.mat: cannot be read \(.*decoded"),
        translated("a.mat", "MATLAB"),
    ):
        decoded(tmp_path, line)


def test_modules_beside_the_decoder_are_not_imported(tmp_path):
    (tmp_path / "zipfile.py").write_text("raise SystemExit(3)")
    assert len(decoded(tmp_path)) == 2


def test_a_decoder_is_not_waited_for_without_end(tmp_path, monkeypatch):
    monkeypatch.setattr(apart, "_SECONDS", 0.5)
    with pytest.raises(ValueError, match=r"its decoder took more than 0\.5 s"):
        decoded(tmp_path, "time.sleep(100)")
