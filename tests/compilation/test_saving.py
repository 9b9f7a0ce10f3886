"""Saved programs, on two virtual CPU devices in place of chips."""

import json
import zipfile
from dataclasses import replace

import jax
import numpy as np
import pytest

from distax import DistaxError
from distax.compilation import (
    Topology,
    compile_training,
    compile_unmixing,
    load_programs,
    save_programs,
    saved_steps,
)
from distax.compilation.methods import trace_model
from distax.costs import find_chip
from distax.runtime.sharding import data_mesh
from distax.training.building import abstract_model, create_model
from distax.training.config import ModelConfig, TrainConfig
from distax.training.loop import train
from distax.training.setup import build

CONFIG = TrainConfig(
    model=ModelConfig("espcn", 3),
    batch_size=4,
    steps=4,
    steps_per_dispatch=2,
    log_every=2,
    eval_every=2,
    eval_images=8,
)


@pytest.fixture(scope="module")
def topology():
    return Topology("two CPUs", find_chip("v5e"), 1, tuple(jax.devices()[:2]))


@pytest.fixture(scope="module")
def file(topology, tmp_path_factory):
    path = tmp_path_factory.mktemp("programs") / "programs.zip"
    compiled = compile_training(CONFIG, topology, images_per_chip=2)
    save_programs(path, compiled, topology.mesh, CONFIG)
    return path


def test_saved_steps_are_the_compiled_ones(file, topology):
    saved = load_programs(file, topology.mesh)
    assert saved.config == CONFIG
    assert saved.programs.keys() == {"scenes", "steps"}
    setup = build(CONFIG, topology.mesh)
    (batches,) = setup.feed.batches([range(2)])
    ((count, steps),) = saved_steps(saved, CONFIG).items()
    assert count == 2
    expected = setup.train_steps(setup.initial_state(), batches)
    found = steps(setup.initial_state(), batches)
    jax.tree.map(np.testing.assert_array_equal, found, expected)
    assert jax.tree.structure(found) == jax.tree.structure(expected)
    for mine, theirs in zip(jax.tree.leaves(found), jax.tree.leaves(expected), strict=True):
        assert mine.sharding.is_equivalent_to(theirs.sharding, mine.ndim)


def test_saved_scenes_are_those_of_the_run(file, topology):
    scenes = load_programs(file, topology.mesh).programs["scenes"]
    assert scenes.images == 8
    feed = build(CONFIG, topology.mesh).feed
    (expected,) = feed.batches([range(2, 4)])
    for mine, theirs in zip(
        scenes(feed.key, np.arange(2, 4, dtype=np.int32)), jax.tree.leaves(expected), strict=True
    ):
        np.testing.assert_array_equal(mine, theirs)


def test_a_run_with_saved_steps_compiles_none(file, topology, tmp_path, monkeypatch):
    expected = train(CONFIG, tmp_path / "compiled", mesh=topology.mesh)
    compiled = saved_steps(load_programs(file, topology.mesh), CONFIG)
    monkeypatch.setattr("distax.training.steps.lower_train_steps", None)
    assert train(CONFIG, tmp_path / "saved", mesh=topology.mesh, compiled=compiled) == expected
    # The feed is compiled all the same, with the first batch.
    spent = json.loads((tmp_path / "saved/goodput.json").read_text())
    assert 10 * spent["waiting_for_input"] < spent["compiling"]


def test_a_saved_method_answers_as_its_model(topology, tmp_path):
    model = create_model(CONFIG)
    method, state = trace_model(model)
    compiled = compile_unmixing((method, state), (11, 11), topology, images_per_chip=3)
    save_programs(tmp_path / "method", compiled, topology.mesh, CONFIG)
    program = load_programs(tmp_path / "method", topology.mesh).programs["method"]
    images = 200 * jax.random.uniform(jax.random.key(0), (6, 11, 11))
    expected = jax.tree.leaves(jax.jit(method)(state, images))
    for mine, theirs in zip(program(state, images), expected, strict=True):
        np.testing.assert_allclose(mine, theirs, rtol=1e-4, atol=1e-3)
    with pytest.raises(DistaxError, match=r"takes float32\[6, 11, 11\] as .*, got float32\[5, 11"):
        program(state, images[:5])
    with pytest.raises(DistaxError, match=r"takes \d+ arrays, got 1"):
        program(images)


def test_other_devices_are_refused(file):
    with pytest.raises(DistaxError, match="are 2 devices of kind cpu, but here are 4 devices of"):
        load_programs(file, data_mesh(jax.devices()[:4]))
    with pytest.raises(DistaxError, match="but here they are numbered otherwise; compile it for"):
        load_programs(file, data_mesh(jax.devices()[2:4]))


@pytest.mark.parametrize(
    ("change", "names"),
    [
        ({"batch_size": 8}, "batch_size"),
        ({"model": ModelConfig("srcnn", 3), "steps": 9}, "model, st"),
    ],
)
def test_another_configuration_is_named(file, topology, change, names):
    saved = load_programs(file, topology.mesh)
    with pytest.raises(DistaxError, match=f"another configuration .differs in {names}"):
        saved_steps(saved, replace(CONFIG, **change))
    assert saved_steps(saved, replace(CONFIG, seed=5, eval_every=4)).keys() == {2}


def test_a_file_without_training_steps_is_refused(topology, tmp_path):
    method = trace_model(abstract_model(CONFIG))
    compiled = compile_unmixing(method, (11, 11), topology, images_per_chip=1)
    save_programs(tmp_path / "method", compiled, topology.mesh, CONFIG)
    saved = load_programs(tmp_path / "method", topology.mesh)
    with pytest.raises(DistaxError, match="no training steps; compile with --what train"):
        saved_steps(saved, CONFIG)


def changed(file, path, change):
    """Copies a file of programs with another description."""
    with zipfile.ZipFile(file) as whole, zipfile.ZipFile(path, "w") as copy:
        about = json.loads(whole.read("about.json"))
        change(about)
        copy.writestr("about.json", json.dumps(about))
        for name in whole.namelist()[1:]:
            copy.writestr(name, whole.read(name))
    return path


@pytest.mark.parametrize(
    ("change", "line"),
    [
        (lambda about: about.pop("devices"), "devices: is missing"),
        (lambda about: about["devices"].update(ids="0"), "devices.ids: Input should be"),
        (lambda about: about.update(programs=[]), "programs: Input should be an object"),
        (lambda about: about["programs"]["steps"].update(images=None), "steps.images: Input sho"),
        (lambda about: about["programs"]["steps"]["used"].pop(), "steps: used must have one value"),
        (lambda about: about["programs"].update(a=about["programs"]["steps"]), "no program 'a'; c"),
        (lambda about: about["config"].update(steps=-1), "steps must be greater than 0"),
        (lambda about: about.update(extra=1), "extra: is not a known key"),
    ],
)
def test_what_is_wrong_with_a_description_is_named(file, topology, tmp_path, change, line):
    path = changed(file, tmp_path / "changed", change)
    with pytest.raises(DistaxError, match=rf"^{path}: .*{line}.*$"):
        load_programs(path, topology.mesh)


def test_a_member_that_no_program_is_described_by_is_refused(file, topology, tmp_path):
    path = changed(file, tmp_path / "changed", lambda about: None)
    with zipfile.ZipFile(path, "a", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("big.bin", bytes(2**20))
    with pytest.raises(DistaxError, match=r"changed: not a whole file .*also holds 'big\.bin'"):
        load_programs(path, topology.mesh)


def test_a_program_of_another_version_is_refused(file, topology, tmp_path):
    other = tmp_path / "other"
    with zipfile.ZipFile(file) as whole, zipfile.ZipFile(other, "w") as changed:
        about = json.loads(whole.read("about.json"))
        about["versions"]["jax"] = "9.9"
        changed.writestr("about.json", json.dumps(about))
        for name in about["programs"]:
            changed.writestr(f"{name}.bin", b"of another version")
    with pytest.raises(DistaxError, match=r"with JAX 9\.9, and JAX .* cannot load it .*again with"):
        load_programs(other, topology.mesh)
