import json
import os
import shutil
import subprocess
import sys
from dataclasses import replace
from types import SimpleNamespace

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from distax import DistaxError
from distax.training import checkpoints, saving
from distax.training.building import create_model
from distax.training.config import ModelConfig
from distax.training.optimizer import make_optimizer
from distax.training.state import init_state
from tests.training.states import load_state


@pytest.fixture
def run(tiny_run, tmp_path):
    """A copy of the finished run, to be changed."""
    return shutil.copytree(tiny_run, tmp_path / "run")


@pytest.fixture(scope="module")
def state(tiny_config):
    optimizer = make_optimizer(tiny_config.optimizer, tiny_config.steps)
    return init_state(create_model(tiny_config), optimizer)


def assert_same(first, second):
    jax.tree.map(np.testing.assert_array_equal, first, second)


def test_a_state_comes_back_bit_for_bit(state, tiny_config, tmp_path):
    saving.save(tmp_path, "last", state, tiny_config, None)
    assert_same(load_state(tmp_path, tiny_config), state)
    assert checkpoints.read_about(tmp_path, "last") == (tiny_config, None)


def test_a_model_comes_back_with_its_configuration(state, tiny_config, tmp_path):
    saving.save(tmp_path, "last", state, tiny_config, None)
    model, config = checkpoints.load_model(tmp_path)
    assert config == tiny_config
    assert_same(nnx.state(model, nnx.Param), state.params)


def test_the_initial_estimator_is_part_of_the_checkpoint(state, tiny_config, tmp_path):
    doubled = jax.tree.map(lambda leaf: 2 * leaf, state.constants)
    changed = replace(state, constants=doubled)
    saving.save(tmp_path, "last", changed, tiny_config, None)
    model, _ = checkpoints.load_model(tmp_path)
    np.testing.assert_array_equal(model.q_init[...], doubled["q_init"][...])


def test_only_the_newest_of_a_kind_is_kept(state, tiny_config, tmp_path):
    for step in (1, 2):
        numbered = replace(state, step=jnp.int32(step))
        saving.save(tmp_path, "last", numbered, tiny_config, None)
    assert [path.name for path in (tmp_path / "last").iterdir()] == ["2"]


def test_best_and_last_have_the_run_s_evaluation(tiny_run, tiny_config):
    for which in ("best", "last"):
        config, evaluation = checkpoints.read_about(tiny_run, which)
        assert config == tiny_config
        assert evaluation.images == tiny_config.eval_images


def test_nothing_there(tmp_path):
    with pytest.raises(DistaxError, match="no checkpoint there; give the folder of a run"):
        checkpoints.load_model(tmp_path)


def test_half_written(run):
    for which in ("best", "last"):
        (folder,) = (run / which).iterdir()
        folder.rename(folder.with_name(f"{folder.name}.orbax-checkpoint-tmp"))
    with pytest.raises(DistaxError, match="the only checkpoint is half-written"):
        checkpoints.load_model(run)


def test_a_half_written_newer_one_is_passed_over(run, tiny_config):
    (folder,) = (run / "last").iterdir()
    shutil.copytree(folder, folder.with_name("9.orbax-checkpoint-tmp"))
    assert int(load_state(run, tiny_config).step) == 6


@pytest.mark.usefixtures("reads_may_fail")
@pytest.mark.parametrize("victim", ["model/manifest.ocdbt", "about/metadata", "model"])
def test_damaged(run, victim):
    (folder,) = (run / "best").iterdir()
    path = folder / victim
    if path.is_dir():
        shutil.rmtree(path)
    else:
        path.write_bytes(b"")
    with pytest.raises(DistaxError, match=r"best/\d+: the checkpoint is damaged") as error:
        checkpoints.load_model(run)
    assert "\n" not in str(error.value)


def test_checksums_that_a_killed_process_left_out_are_added(run, tiny_config):
    (folder,) = (run / "best").iterdir()
    sums = (folder / "checksums.json").read_bytes()
    (folder / "checksums.json").rename(folder / ".distax-5bcc9732-0123abcd.json")
    with saving.Saver(run, tiny_config):
        pass
    assert (folder / "checksums.json").read_bytes() == sums
    assert not list(folder.glob(".*"))
    checkpoints.load_model(run)


def test_another_architecture_is_told_by_its_first_array(run, tiny_config):
    (folder,) = (run / "last").iterdir()
    about = json.loads((folder / "about/metadata").read_text())
    about["config"]["model"]["options"]["channels"] = 8
    del about["checksum"]
    (folder / "about/metadata").write_text(json.dumps(about))
    with pytest.raises(DistaxError, match=r"array params\..* is \[.*\] there and \[.*\] in the"):
        checkpoints.load_model(run, "last")
    other = replace(tiny_config, model=ModelConfig(options={"stages": 2}))
    with pytest.raises(DistaxError, match="weights of another architecture"):
        load_state(run, other)


FULL_DISK = """
import resource, signal, sys
from dataclasses import replace
from pathlib import Path
import numpy as np
from distax import DistaxError
from distax.runtime.sharding import data_mesh
from distax.training import checkpoints, saving
from distax.training.setup import build

run = Path(sys.argv[1])
config, _ = checkpoints.read_about(run, "last")
state = checkpoints.load_state(run, build(config, data_mesh()).abstract_state)
# Writes beyond 20 kB of a file fail from here on, as they would on a full disk.
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
resource.setrlimit(resource.RLIMIT_FSIZE, (20_000, resource.RLIM_INFINITY))
try:
    saving.save(run, "last", replace(state, step=np.int32(9)), config, None)
except DistaxError as error:
    print(error)
"""


def test_a_full_disk_leaves_the_checkpoint_before(tiny_run, tiny_config, tmp_path):
    run = shutil.copytree(tiny_run, tmp_path / "run")
    result = subprocess.run(
        [sys.executable, "-c", FULL_DISK, str(run)], capture_output=True, text=True, check=True
    )
    assert "the checkpoint of step 9 could not be saved" in result.stdout
    assert result.stdout.count("\n") == 1
    assert [path.name for path in (run / "last").iterdir()] == ["6"]
    assert_same(load_state(run, tiny_config), load_state(tiny_run, tiny_config))


def test_a_disk_without_room_is_found_before_writing(state, tiny_config, tmp_path, monkeypatch):
    monkeypatch.setattr(shutil, "disk_usage", lambda folder: SimpleNamespace(free=1000))
    size = sum(leaf.nbytes for leaf in jax.tree.leaves(state))
    line = rf"step 0 could not be saved \(it needs {size / 1e6:.3f} MB, the disk has 0\.001 MB left"
    assert 1_000_000 < size < 1_500_000
    with pytest.raises(DistaxError, match=line):
        saving.save(tmp_path, "last", state, tiny_config, None)
    assert not any((tmp_path / "last").iterdir())


def test_a_damaged_array_is_named(run, tiny_config, monkeypatch):
    restore = checkpoints._restore

    def flipped(folder, **items):
        """Restores with a flipped bit, as a disk may return it."""
        parts = restore(folder, **items)
        name, leaf = max(parts["model"].items(), key=lambda item: item[1].size)
        bits = np.array(leaf).view(np.uint32)
        bits.flat[3] ^= 1
        return parts | {"model": parts["model"] | {name: jnp.asarray(bits.view(np.float32))}}

    monkeypatch.setattr(checkpoints, "_restore", flipped)
    for read in (lambda: checkpoints.load_model(run), lambda: load_state(run, tiny_config)):
        with pytest.raises(DistaxError, match=r"array \S+ is damaged, its bytes differ"):
            read()


@pytest.mark.parametrize("name", ["about/metadata", "checksums.json"])
@pytest.mark.parametrize("device", [None, "/dev/zero"])
def test_pipes_and_devices_in_place_of_files_are_not_read(run, name, device):
    (file,) = (run / "best").glob(f"*/{name}")
    file.unlink()
    if device:
        file.symlink_to(device)
    else:
        os.mkfifo(file)
    with pytest.raises(DistaxError, match=rf"damaged \({name} (is no regular|differs)"):
        checkpoints.load_model(run)


def test_damaged_settings_are_found(run):
    (about,) = (run / "best").glob("*/about/metadata")
    settings = json.loads(about.read_text())
    settings["config"]["threshold"] += 1
    about.write_text(json.dumps(settings))
    with pytest.raises(DistaxError, match="its settings differ from their checksum"):
        checkpoints.load_model(run)


@pytest.mark.parametrize(
    ("key", "value", "line"),
    [
        (
            "arrays",
            {"params.a": [[]]},
            r"best/\d+: arrays.params.a: Input should be",
        ),
        ("arrays", None, r"best/\d+: arrays: Input should be an object"),
        ("checksums", [1], r"best/\d+: checksums: Input should be"),
        ("config", 5, r"best/\d+: config: Input should be an object"),
        ("evaluation", {"images": 3}, r"best: evaluation: .*missing (a|\d+) required"),
        ("extra", 1, r"best/\d+: extra: is not a known key"),
    ],
)
def test_settings_of_another_type_are_named_even_if_their_checksum_is_right(run, key, value, line):
    (about,) = (run / "best").glob("*/about/metadata")
    settings = json.loads(about.read_text()) | {key: value}
    del settings["checksum"]
    about.write_text(json.dumps(settings))
    with pytest.raises(DistaxError, match=line):
        checkpoints.read_about(run, "best")


@pytest.mark.usefixtures("reads_may_fail")
def test_flipped_bits_of_files_change_no_answer(run, tiny_run):
    model, config = checkpoints.load_model(tiny_run)
    files = sorted(path for path in (run / "best").rglob("*") if path.is_file())
    rng, found = np.random.default_rng(0), []
    for _ in range(40):
        file = files[rng.integers(len(files))]
        content = bytearray(file.read_bytes())
        if not content:
            continue
        whole, bit = bytes(content), int(rng.integers(8 * len(content)))
        content[bit // 8] ^= 1 << bit % 8
        file.write_bytes(content)
        try:
            other, settings = checkpoints.load_model(run)
        except DistaxError as error:
            found.append(str(error))
        else:
            assert settings == config
            assert_same(nnx.state(other), nnx.state(model))
        file.write_bytes(whole)
    assert len(found) > 5
    assert not any("\n" in message for message in found)
