"""The kinds of files that distax reads, each with good files and its reader."""

import json
from collections.abc import Callable
from dataclasses import dataclass, replace
from importlib.util import find_spec
from io import BytesIO
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import jax
import numpy as np
from flax import nnx

from distax import Sensor, Unmixer
from distax.cli.unmix.answers import Record, read_record
from distax.datasets.annotated import read_annotation
from distax.imaging.psf import MeasuredPsf
from distax.interop.grokcso.checkpoint import read_arrays, read_matrix
from distax.io.frames import open_frames
from distax.io.reading import Reading
from distax.io.sensor_file import read_sensor, write_sensor
from distax.runtime.checksums import checksum_of_settings, write_file_checksums
from distax.runtime.version import __version__
from distax.shards import read_results
from distax.training import checkpoints, saving
from distax.training.building import abstract_model, create_model
from distax.training.config import ModelConfig, TrainConfig, read_toml
from distax.training.optimizer import make_optimizer
from distax.training.state import init_state
from distax.training.trackers import _drop_lines_after
from distax.weights import read, write
from tests.fuzz.answers import answers
from tests.fuzz.images import APART, GOOD
from tests.fuzz.packing import ABOUT, PNG, SETTINGS, STREAM, WEIGHTS, ZIP, Packing

READING = Reading(max_bytes=10**7)
TINY = TrainConfig(model=ModelConfig(name="espcn", options={"window": 5}))
CONFIG = TrainConfig(model=ModelConfig(options={"stages": 1, "channels": 4, "hidden": 8}))


@dataclass(frozen=True)
class Kind:
    """A kind of file.

    Attributes:
      seeds: good files: names, which may have folders, and contents. All are written, and one is
        changed.
      read: reads a file; the argument is the changed one.
      is_text: True for texts, in which values are exchanged as well as bytes.
      packing: takes a part out, which is changed and put in with right checksums. Default: bytes of
        the whole file are changed.
      most: largest number of mutations, for files that take a second each. Default: no limit.
    """

    seeds: dict[str, bytes]
    read: Callable[[Path], Any]
    is_text: bool = False
    packing: Packing | None = None
    most: int | None = None


def read_images(path: Path) -> None:
    """Reads the first four frames of a file."""
    with open_frames(path, READING) as frames:
        for number in range(min(len(frames), 4)):
            frame = frames[number]
            assert frame.pixels[:].shape == frame.shape


def _images(*suffixes: str) -> Kind:
    return Kind({name: GOOD[name] for name in GOOD if name.endswith(suffixes)}, read_images)


def _written(write_file: Callable[[Path], Any], name: str) -> bytes:
    """Returns what a function writes to a file."""
    with TemporaryDirectory() as folder:
        write_file(Path(folder, name))
        return Path(folder, name).read_bytes()


def _sensors() -> Kind:
    psf = MeasuredPsf(2, ((0.1, 1.0, 0.1),), ((0.1, 1.0, 0.0),))
    sensors = {
        "plain.toml": Sensor(read_noise=2.0, gain=1.5),
        "wide.toml": Sensor(sigma=(0.8, 1.1), saturation=None, bit_depth=None),
        "measured.toml": Sensor(measured_psf=psf),
    }
    seeds = {
        name: _written(lambda path, sensor=sensor: write_sensor(path, sensor), name)
        for name, sensor in sensors.items()
    }
    return Kind(seeds, lambda path: Unmixer(sensor=read_sensor(path), method="refine"), True)


def _trainings() -> Kind:
    text = """steps = 2000
batch_size = 64
seed = 3
threshold = 50.0
trackers = ["jsonl"]
precision = "float32"
[model]
name = "dista"
factor = 3
options = { stages = 1, channels = 8, window = 7 }
[sensor]
sigma = 0.5
bit_depth = 8
saturation = "none"
[prior]
max_targets = 5
[optimizer]
learning_rate = 3e-3
warmup_steps = 100
decay = "cosine"
"""
    return Kind({"a.toml": text.encode()}, lambda path: abstract_model(read_toml(path)), True)


def _records() -> Kind:
    target = {"row": 5.0, "column": 5.25, "intensity": 230.0, "score": 0.9}
    image = {
        "file": "a.npy",
        "image": 0,
        "targets": [target | dict.fromkeys(("row_std", "column_std", "intensity_std"), 0.1)],
        "trusted": True,
        "count_probability": 0.9,
        "misfit": 1.0,
    }
    record = {
        "options": {"method": "fast"},
        "assumed": [],
        "files": {"a.npy": "finished"},
        "images": [image],
        "distax": __version__,
    }
    record["checksum"] = checksum_of_settings(record)

    def read_finite(path: Path) -> None:
        record = read_record(path, {"method": "fast"})
        assert isinstance(record, Record)
        # What is taken over is written again, and must be JSON that others read.
        json.dumps([image.targets[0].row for image in record.images if image.targets])
        for image in record.images:
            for target in image.targets:
                assert np.isfinite([target.row, target.column, target.intensity]).all()

    return Kind({"a.json": json.dumps(record, indent=1).encode()}, read_finite, True)


def _weights() -> Kind:
    content = _written(lambda path: write(create_model(CONFIG), CONFIG, path), "a.safetensors")
    return Kind({"a.safetensors": content}, read, True)


def _runs() -> Kind:
    state = init_state(create_model(TINY), make_optimizer(TINY.optimizer, TINY.steps))
    with TemporaryDirectory() as folder:
        saving.save(folder, "best", state, TINY, None)
        root = Path(folder)
        files = [path for path in sorted(root.rglob("*")) if path.is_file()]
        seeds = {str(path.relative_to(root)): path.read_bytes() for path in files}

    def load(path: Path) -> Any:
        run = next(parent for parent in path.parents if (parent / "best").is_dir())
        checkpoints.read_about(run, "best")
        return checkpoints.load_model(run)

    return Kind(seeds, load, True)


def _mended_runs() -> Kind:
    """Returns runs whose checksums are computed anew before they are read."""
    runs = _runs()

    def load(path: Path) -> Any:
        if path.parent.name == "about" and path.name == "metadata":
            path.write_bytes(SETTINGS.join(b"", [path.read_bytes()]))
        checkpoint = next(parent for parent in path.parents if parent.name.isdecimal())
        write_file_checksums(checkpoint)
        return runs.read(path)

    chosen = {name: runs.seeds[name] for name in runs.seeds if not name.endswith("checksums.json")}
    return replace(runs, seeds=chosen, read=load)


def _exports() -> Kind:
    from distax.export import export, load
    from distax.models import create

    model = create("ista", sensor=Sensor(), rngs=nnx.Rngs(0))
    unmixer = Unmixer(model=model)
    content = _written(lambda path: export(unmixer, path, platforms=["cpu"]), "a.distax")
    return Kind({"a.distax": content}, load)


def _programs() -> Kind:
    from distax.compilation import Topology, compile_unmixing, load_programs, save_programs
    from distax.compilation.methods import trace_model
    from distax.costs import find_chip
    from distax.runtime.sharding import data_mesh

    mesh = data_mesh(jax.devices()[:1])
    topology = Topology("a CPU", find_chip("v5e"), 1, (jax.devices()[0],))
    compiled = compile_unmixing(trace_model(create_model(TINY)), (11, 11), topology, 1)
    content = _written(lambda path: save_programs(path, compiled, mesh, TINY), "a.programs")
    return Kind({"a.programs": content}, lambda path: load_programs(path, mesh))


def _mended_programs() -> Kind:
    """Returns saved programs whose description is changed and whose checksums are right.

    XLA trusts the machine code of a program, so that damage that the checksums do not show can end
    the process; see `compilation.saving`.
    """
    return replace(_programs(), packing=ABOUT, is_text=True)


def _arrays() -> Kind:
    matrix, files = np.arange(12.0).reshape(3, 4), {}
    np.save(content := BytesIO(), matrix)
    files["a.npy"] = content.getvalue()
    np.savez(content := BytesIO(), a=matrix, b=matrix)
    files["a.npz"] = content.getvalue()
    return Kind(files, lambda path: (read_arrays if path.suffix == ".npz" else read_matrix)(path))


def _matlab() -> Kind:
    """Returns MATLAB files, which are read in a process of their own."""
    from scipy.io import savemat

    files = {}
    for compressed in (False, True):
        savemat(content := BytesIO(), {"phi": np.eye(3)}, do_compression=compressed)
        files[f"{compressed}.mat"] = content.getvalue()
    return Kind(files, read_matrix, most=1000)


def _checkpoints() -> Kind:
    import torch

    torch.save({"state_dict": {"a.weight": torch.ones(3, 4)}}, content := BytesIO())
    return Kind({"a.pth": content.getvalue()}, read_arrays)


def _annotations() -> Kind:
    one = "<object><coordinate><xc>5.0</xc><yc>5.2</yc><brightness>230</brightness></coordinate>"
    text = f"<annotation>{one}</object>{one}</object></annotation>"
    return Kind({"a.xml": text.encode()}, read_annotation, True)


def _results(file_format: str) -> Kind:
    name, content = answers(file_format)
    return Kind({name: content}, lambda path: list(read_results(path.parent)))


def _logs() -> Kind:
    lines = "".join(f'{{"step": {step}, "loss": 0.5}}\n' for step in range(1, 9))
    return Kind({"metrics.jsonl": lines.encode()}, lambda path: _drop_lines_after(5, path), True)


KINDS: dict[str, Callable[[], Kind]] = {
    "PNG": lambda: _images(".png"),
    "BMP": lambda: _images(".bmp"),
    "JPEG": lambda: _images(".jpg"),
    "TIFF": lambda: _images(".tif"),
    "NPY and NPZ": lambda: _images(".npy", ".npz"),
    "FITS": lambda: _images(".fits"),
    "FITS, decoded apart": lambda: Kind(APART, read_images, most=1000),
    "packed files": lambda: _images(".gz", ".bz2"),
    "PNG, mended": lambda: replace(_images(".png"), packing=PNG),
    "NPZ, mended": lambda: replace(_images(".npz"), packing=ZIP),
    "packed files, mended": lambda: replace(_images(".gz", ".bz2"), packing=STREAM),
    "sensors (TOML)": _sensors,
    "trainings (TOML)": _trainings,
    "answers (JSON)": _records,
    "answers (JSON), mended": lambda: replace(_records(), packing=SETTINGS),
    "weights (safetensors)": _weights,
    "weights (safetensors), mended": lambda: replace(_weights(), packing=WEIGHTS),
    "folders of runs": _runs,
    "folders of runs, mended": _mended_runs,
    "exported methods": _exports,
    "exported methods, mended": lambda: replace(_exports(), packing=ZIP, is_text=True),
    "compiled programs": _programs,
    "compiled programs, mended": _mended_programs,
    "arrays (NPY, NPZ)": _arrays,
    "arrays (MATLAB)": _matlab,
    **({"checkpoints (PyTorch)": _checkpoints} if find_spec("torch") else {}),
    "annotations (XML)": _annotations,
    "results (Parquet)": lambda: _results("parquet"),
    "results (ArrayRecord)": lambda: _results("array_record"),
    "logs (JSON lines)": _logs,
}
"""Functions that make each kind, which may take seconds."""
