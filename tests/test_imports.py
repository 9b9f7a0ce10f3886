import subprocess
import sys

import pytest

import distax
from distax.runtime.optional import OPTIONAL

# `jax.export` imports flatbuffers, which is light.
HEAVY = sorted({*OPTIONAL, "orbax", "scipy", "tensorflow", "tensorflow_datasets"} - {"flatbuffers"})
LIGHT = sorted(set(distax.__all__) - {"__version__"})


def run(code):
    """Runs Python code in a process of its own and returns what it printed."""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


def test_importing_every_public_name_loads_no_heavy_package():
    code = f"""
import sys
import distax, distax.interop.grokcso, distax.io.frames
for name in {LIGHT}:
    getattr(distax, name)
print([name for name in {HEAVY} if name in sys.modules])
"""
    assert run(code) == "[]"


def test_importing_distax_loads_no_jax():
    assert run("import sys, distax; print('jax' in sys.modules)") == "False"


@pytest.mark.parametrize("command", ["", "train", "unmix"])
def test_help_needs_no_extra(command):
    code = f"""
import sys
class Hidden:
    def find_spec(name, path=None, target=None):
        if name.partition(".")[0] in {list(OPTIONAL)}:
            raise ModuleNotFoundError(name)
sys.meta_path.insert(0, Hidden)
from distax.cli.main import main
main([*{command.split()}, "--help"])
"""
    assert f"usage: distax {command}".strip() in run(code)
