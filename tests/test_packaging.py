import os
import shutil
import subprocess
import sys
import tarfile
import tomllib
import zipfile
from pathlib import Path

import pytest

from distax.runtime.version import __version__
from tests.pages import ROOT

PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())
SOURCES = ("pyproject.toml", "README.md", "LICENSE", "distax", "datasets")


@pytest.fixture(scope="module")
def built(tmp_path_factory):
    """Builds the source distribution, and the wheel from nothing but that; returns their paths."""
    folder = tmp_path_factory.mktemp("packaging")
    checkout = folder / "checkout"
    checkout.mkdir()
    for name in SOURCES:
        if (ROOT / name).is_dir():
            shutil.copytree(ROOT / name, checkout / name, ignore=without_links_and_caches)
        else:
            shutil.copy(ROOT / name, checkout / name)
    sdist = build("sdist", checkout, folder)
    with tarfile.open(sdist) as archive:
        archive.extractall(folder, filter="data")
    wheel = build("wheel", folder / sdist.name.removesuffix(".tar.gz"), folder)
    return sdist, wheel


def without_links_and_caches(folder, names):
    return [name for name in names if name == "__pycache__" or Path(folder, name).is_symlink()]


def build(kind, source, folder):
    """Builds by the project's backend, as `pip wheel --no-build-isolation --no-deps` does."""
    backend = PROJECT["build-system"]["build-backend"]
    code = f"import {backend} as backend, sys; print(backend.build_{kind}(sys.argv[1]))"
    done = run([sys.executable, "-c", code, str(folder)], cwd=source)
    return folder / done.splitlines()[-1]


def run(command, cwd, **environment):
    done = subprocess.run(
        command, cwd=cwd, env=os.environ | environment, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@pytest.fixture(scope="module")
def installed(built, tmp_path_factory):
    """Installs the wheel, without its dependencies, into a folder of its own."""
    folder = tmp_path_factory.mktemp("site")
    with zipfile.ZipFile(built[1]) as wheel:
        wheel.extractall(folder)  # all that installers do with a wheel of pure Python
    return folder


def python(code, installed, cwd):
    """Runs code outside the checkout, with the dependencies but not with the checkout's distax."""
    checkout = {str(ROOT), ""}
    paths = [str(installed), *(path for path in sys.path if path not in checkout)]
    return run([sys.executable, "-c", code], cwd, PYTHONPATH=os.pathsep.join(paths)).strip()


def test_the_list_of_packages_is_that_of_the_folders():
    found = []
    for top in ("distax", "datasets"):
        for path in (ROOT / top).rglob("__init__.py"):
            parts = path.parent.relative_to(ROOT).parts
            if parts[:2] != ("distax", "datasets"):  # a link in some checkouts
                found.append(".".join(parts if top == "distax" else ("distax", *parts)))
    assert PROJECT["tool"]["setuptools"]["packages"] == sorted(found)


def test_the_wheel_holds_every_module_and_data_file(built):
    with zipfile.ZipFile(built[1]) as wheel:
        held = {name for name in wheel.namelist() if ".dist-info/" not in name}
    expected = set()
    for top, prefix in (("distax", ""), ("datasets", "distax/")):
        for path in (ROOT / top).rglob("*"):
            relative = path.relative_to(ROOT).as_posix()
            if path.is_file() and not relative.startswith("distax/datasets/"):
                expected.add(prefix + relative)
    assert held == {name for name in expected if "__pycache__" not in name}
    assert {"distax/py.typed", "distax/datasets/__init__.py"} < held
    assert any(name.endswith(".safetensors") for name in held)
    assert {name.split("/")[0] for name in held} == {"distax"}, "installs more than distax"


def test_every_version_is_that_of_the_package(built):
    assert "version" in PROJECT["project"]["dynamic"]
    assert f"\nversion: {__version__}\n" in (ROOT / "CITATION.cff").read_text()
    assert [path.name for path in built] == [
        f"distax-{__version__}.tar.gz",
        f"distax-{__version__}-py3-none-any.whl",
    ]


def test_the_source_distribution_holds_readme_and_licence(built):
    with tarfile.open(built[0]) as archive:
        held = {name.partition("/")[2] for name in archive.getnames()}
    assert {"pyproject.toml", "README.md", "LICENSE", "distax/py.typed"} <= held


def test_the_extra_all_has_all_but_services_torch_and_libtpu():
    extras = PROJECT["project"]["optional-dependencies"]
    wanted = extras.keys() - {"all", "dev", "docs", "gcs", "test", "torch", "tpu-compile", "wandb"}
    assert extras["all"] == [f"distax[{','.join(sorted(wanted))}]"]


def test_an_install_works_outside_the_checkout(installed, tmp_path):
    code = """
import distax, distax.datasets.storage, distax.weights
from importlib.metadata import entry_points, version
from importlib.resources import files
assert version("distax") == distax.__version__
(script,) = entry_points(group="console_scripts", name="distax")
script.load()
names = [path.name for path in files("distax.weights").iterdir()]
print(distax.__file__, "density.safetensors" in names, distax.Unmixer(method="fast").method)
"""
    assert python(code, installed, tmp_path) == f"{installed}/distax/__init__.py True fast"
