import shutil
from pathlib import Path

import pytest

from distax.datasets import csist100k

LAYOUT = Path(__file__).parents[2] / "reference" / "csist100k_layout"
SIMULATED = "simulated_seed3_1040_30_20"


@pytest.fixture(scope="session")
def layout():
    """A small tree in the form of the published files."""
    return LAYOUT


@pytest.fixture
def tree(tmp_path):
    """A copy of that tree to damage."""
    return Path(shutil.copytree(LAYOUT, tmp_path / "tree"))


@pytest.fixture(scope="session")
def released_dir(tmp_path_factory):
    """A data directory in which that tree is built."""
    data_dir = tmp_path_factory.mktemp("released")
    csist100k.build("released", data_dir, LAYOUT)
    return data_dir


@pytest.fixture(scope="session")
def simulated_dir(tmp_path_factory):
    """A data directory in which SIMULATED is built; its training split spans two batches."""
    data_dir = tmp_path_factory.mktemp("simulated")
    csist100k.build(SIMULATED, data_dir)
    return data_dir


@pytest.fixture(scope="session")
def simulated_name():
    return SIMULATED
