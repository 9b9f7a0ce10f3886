import subprocess
import sys

HEAVY = [
    *("astropy", "grain", "matplotlib", "orbax", "photutils"),
    *("scipy", "tensorflow", "tensorflow_datasets", "torch"),
]


def test_importing_the_core_loads_no_heavy_package():
    code = f"""
import sys
import distax, distax.interop.grokcso, distax.io.frames
print([name for name in {HEAVY} if name in sys.modules])
"""
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert run.stdout.strip() == "[]"
