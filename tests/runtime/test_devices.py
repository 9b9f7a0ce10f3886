import subprocess
import sys
from pathlib import Path

import pytest

from distax import DistaxError
from distax.runtime.devices import is_device
from distax.runtime.files import write_text

WRITES = """
from pathlib import Path
from distax.runtime.files import write_text
print("before")
write_text(Path("{place}"), "text\\n")
print("after")
"""


@pytest.mark.parametrize("place", ["/dev/stdout", "/dev/fd/1", "link"])
def test_standard_output_in_a_file_goes_on(place, tmp_path):
    (tmp_path / "link").symlink_to("/dev/stdout")
    log = tmp_path / "log"
    log.write_text("precious\n")
    with log.open("a") as output:
        code = WRITES.format(place=place)
        subprocess.run([sys.executable, "-c", code], stdout=output, cwd=tmp_path, check=True)
    assert log.read_text() == "precious\nbefore\ntext\nafter\n"


def test_a_number_that_is_not_open_is_an_error():
    with pytest.raises(DistaxError, match="/dev/fd/999: cannot be written"):
        write_text(Path("/dev/fd/999"), "")


def test_files_and_new_files_are_no_devices(tmp_path):
    (tmp_path / "1").touch()
    (tmp_path / "link").symlink_to("1")
    assert not any(is_device(tmp_path / name) for name in ("1", "2", "link"))
    assert is_device(Path("/dev/null"))
