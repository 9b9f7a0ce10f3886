import signal
import subprocess
import sys

import pytest

from distax import DistaxError
from distax.compilation import open_topology


@pytest.mark.parametrize(
    ("name", "chips", "slices"), [("v5e:2x2", 4, 1), ("v5e:1x1", 1, 1), ("2xv5e:2x2", 8, 2)]
)
def test_a_topology_has_its_chips(name, chips, slices):
    topology = open_topology(name)
    assert (len(topology.devices), topology.slices) == (chips, slices)
    assert topology.mesh.size == chips


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("banana", r"unknown topology 'banana'; give one such as v5e:2x2"),
        ("v9:2x2", r"unknown chip 'v9': .*known are v4, v5e, v5p, v6e"),
        ("v5e:2x2x2", r"slices of v5e have 2 dimensions"),
        ("v5e:100x100", r"a slice of v5e is at most 16x16, and there are 1 to 256 slices"),
        ("0xv5e:2x2", r"there are 1 to 256 slices"),
        ("1000xv5e:2x2", r"there are 1 to 256 slices"),
        ("v5e:3x5", r"the TPU compiler refuses the topology 'v5e:3x5'"),
    ],
)
def test_an_unknown_topology_is_refused_with_known_ones(name, message):
    with pytest.raises(DistaxError, match=message):
        open_topology(name)


def test_sigterm_ends_the_process_without_a_dump_of_its_stack():
    program = (
        "import os, signal\nfrom distax.compilation import open_topology\n"
        'open_topology("v5e:1x1")\nos.kill(os.getpid(), signal.SIGTERM)'
    )
    result = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    assert result.returncode == -signal.SIGTERM
    assert "SIGTERM" not in result.stderr
