import ast
import re
import sys
import tomllib

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import distax
from distax import DistaxError
from distax.cli.main import main
from distax.cli.unmix.tables import check_table_path
from distax.datasets import csist100k
from distax.datasets.annotated import read_annotation, read_png
from distax.export import archive, export, load
from distax.frames import FrameUnmixer
from distax.imaging.targets import make_targets
from distax.io.images import read_images
from distax.io.sensor_file import write_sensor
from distax.io.writing import write_image
from distax.runtime.buckets import as_path
from distax.runtime.optional import OPTIONAL, require
from distax.runtime.sharding import data_mesh
from distax.training.feeds import StreamFeed
from distax.training.trackers import open_trackers
from distax.viz.ellipses import draw_ellipses
from distax.viz.figures import check_figure_path, draw_unmixing
from distax.viz.report import page
from tests.pages import ROOT

IMAGES = np.zeros((1, 11, 11), np.float32)
FITS = b"SIMPLE  = ".ljust(80)
TARGETS = make_targets(jnp.full((1, 1, 2), 5.0), jnp.full((1, 1), 200.0))


@pytest.fixture
def hide(monkeypatch):
    """Hides packages as if they were not installed."""

    def hide(*packages):
        for package in packages:
            monkeypatch.setitem(sys.modules, package, None)

    return hide


def test_a_missing_package_is_named_with_its_extra(hide):
    hide("PIL")
    expected = "PNG and TIFF files need pillow, which is not installed: run pip install "
    with pytest.raises(DistaxError) as caught:
        require("PIL", "PNG and TIFF files")
    assert str(caught.value) == expected + "'distax[files]'"
    with pytest.raises(DistaxError) as caught:
        require("PIL", "PNG and TIFF files", otherwise="convert them to NPY")
    assert str(caught.value) == expected + "'distax[files]', or convert them to NPY"


def test_an_installed_package_is_not_imported(monkeypatch):
    monkeypatch.delitem(sys.modules, "photutils", raising=False)
    require("photutils", "frames")
    assert "photutils" not in sys.modules


def stream_feed():
    return StreamFeed([0], csist100k.record_to_example, jax.random.key(0), 1, data_mesh())


def write(folder, name, content):
    (folder / name).write_bytes(content)
    return folder / name


USES = {
    "astropy: a FITS file read": lambda path: read_images(write(path, "a.fits", FITS)),
    "astropy: a FITS file written": lambda path: write_image(path / "a.fits", IMAGES[0]),
    "astropy: a table": lambda path: check_table_path(path / "a.ecsv"),
    "photutils: a frame": lambda path: FrameUnmixer()(np.ones((32, 32), np.float32)),
    "PIL: an image file": lambda path: read_images(write(path, "a.png", b"\x89PNG\r\n\x1a\n")),
    "tifffile: a TIFF file": lambda path: read_images(write(path, "a.tif", b"II*\0")),
    "imagecodecs: a TIFF file": lambda path: read_images(write(path, "a.tif", b"II*\0")),
    "PIL: an image of the dataset": lambda path: read_png(path / "a.png", (11, 11)),
    "PIL: samples": lambda path: main(["samples", "--out", str(path / "samples")]),
    "defusedxml: an annotation": lambda path: read_annotation(path / "a.xml"),
    "array_record: building": lambda path: csist100k.build("simulated", path),
    "array_record: reading": lambda path: csist100k.open_split("simulated", "train", path),
    "flatbuffers: writing": lambda path: export(distax.Unmixer(method="refine"), path / "a"),
    "gcsfs: a run in a bucket": lambda path: main(["train", "--run-dir", "gs://bucket/run"]),
    "gcsfs: an image in a bucket": lambda path: read_images(as_path("gs://bucket/a.npy")),
    "gcsfs: a file in a bucket": lambda path: main(
        ["unmix", "a.png", "--json", "gs://bucket/a.json"]
    ),
    "grain: a stream": lambda path: stream_feed(),
    "tensorboardX: a run's log": lambda path: open_trackers(["tensorboard"], path, 0),
    "matplotlib: the name of a figure": lambda path: check_figure_path(path / "a.png"),
    "matplotlib: a figure": lambda path: draw_unmixing(
        path / "a.png", IMAGES, TARGETS, distax.Sensor(), ["a"]
    ),
    "matplotlib: ellipses": lambda path: draw_ellipses(None, TARGETS.position[0], None),
    "matplotlib: the quickstart": lambda path: main(["quickstart", "--run-dir", str(path)]),
    "jinja2: unmix --report": lambda path: main(["unmix", "a.png", "--report", "a.html"]),
    "jinja2: a report": lambda path: page("a", {}, []),
    "wandb: a run's figures": lambda path: open_trackers(["wandb"], path, 0),
    "tomlkit: a sensor file": lambda path: write_sensor(path / "a.toml", distax.Sensor()),
    "torch: a checkpoint": lambda path: distax.interop.grokcso.read_arrays(path / "a.pth"),
}


@pytest.mark.parametrize("use", USES)
def test_every_use_says_which_extra_it_needs(use, hide, tmp_path):
    package = use.partition(":")[0]
    distribution, extra = OPTIONAL[package]
    hide(package)
    with pytest.raises((DistaxError, SystemExit)) as caught:
        USES[use](tmp_path)
    message = rf"need {distribution}, which is not installed: run pip install 'distax\[{extra}\]'"
    assert re.search(message, str(caught.value))


def test_an_exported_method_is_not_read_without_its_format(hide, tmp_path):
    archive.write(tmp_path / "a", {}, b"")
    hide("flatbuffers")
    with pytest.raises(DistaxError, match=r"exported methods need flatbuffers"):
        load(tmp_path / "a")


def test_optional_packages_are_those_of_the_extras():
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    names = re.compile(r"[\w.-]+")
    required = {names.match(line)[0] for line in project["dependencies"]}
    for distribution, extra in OPTIONAL.values():
        declared = {names.match(line)[0] for line in project["optional-dependencies"][extra]}
        assert distribution in declared
        assert distribution not in required


# A process of its own runs them, which is started only where PyTorch or astropy is installed.
PROGRAMS = {"torch_dista.py", "torch_worker.py", "fits_decoding.py"}


def test_optional_packages_are_imported_where_they_are_used_and_checked_before():
    for path in [*ROOT.glob("distax/**/*.py"), *ROOT.glob("datasets/**/*.py")]:
        if path.name in PROGRAMS:
            continue
        tree = ast.parse(path.read_text())
        at_import = {name for node in executed(tree) for name in imported(node)}
        anywhere = {name for node in without_types(tree) for name in imported(node)}
        checked = {
            node.args[0].value
            for node in ast.walk(tree)
            if isinstance(node, ast.Call) and getattr(node.func, "id", None) == "require"
        }
        assert not at_import & OPTIONAL.keys(), f"{path} imports them at the top"
        assert anywhere & OPTIONAL.keys() <= checked, path


def without_types(tree):
    """Yields all nodes but those that are for type checkers alone."""
    for node in ast.iter_child_nodes(tree):
        if not (isinstance(node, ast.If) and getattr(node.test, "id", None) == "TYPE_CHECKING"):
            yield node
            yield from without_types(node)


def executed(tree):
    """Yields the statements that importing a module executes."""
    for node in tree.body:
        if isinstance(node, ast.If) and getattr(node.test, "id", None) == "TYPE_CHECKING":
            continue
        if not isinstance(node, ast.FunctionDef):
            yield node


def imported(node):
    """Returns the top-level packages that a statement imports."""
    if isinstance(node, ast.Import):
        return {alias.name.partition(".")[0] for alias in node.names}
    if isinstance(node, ast.ImportFrom):
        return {(node.module or "").partition(".")[0]}
    return set()
