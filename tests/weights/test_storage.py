import json
import time
from dataclasses import replace

import jax
import numpy as np
import pytest
from flax import nnx
from safetensors import safe_open
from safetensors.numpy import load_file, save_file

from distax import DistaxError
from distax.imaging.scenes import simulate
from distax.training.building import create_model
from distax.training.checkpoints import load_model
from distax.weights import export, read, write


@pytest.fixture(scope="module")
def file(tiny_run, tmp_path_factory):
    path = tmp_path_factory.mktemp("weights") / "tiny.safetensors"
    export(tiny_run, path, half=True)
    return path


def test_what_is_exported_is_the_best_model_to_half_precision(file, tiny_run):
    model, config = read(file)
    trained, expected = load_model(tiny_run)
    assert config == expected
    jax.tree.map(
        lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-3, atol=1e-6),
        nnx.state(model),
        nnx.state(trained),
    )
    images, _ = simulate(jax.random.key(0), 4)
    np.testing.assert_allclose(model(images), trained(images), rtol=0.02, atol=0.5)


def test_what_half_precision_cannot_hold_is_refused(tiny_config, tmp_path):
    model, file = create_model(tiny_config), tmp_path / "large.safetensors"
    model.q_init[...] = model.q_init[...].at[0, 0].set(1e5)
    with pytest.raises(DistaxError, match=r"array q_init\S* has numbers beyond half precision"):
        write(model, tiny_config, file, half=True)
    assert not file.exists()
    write(model, tiny_config, file)
    assert float(read(file)[0].q_init[0, 0]) == 1e5


def test_a_damaged_file_is_an_error_of_one_line(file, tmp_path):
    content = file.read_bytes()
    for size in (0, 5, 100, len(content) - 1):
        path = tmp_path / f"{size}.safetensors"
        path.write_bytes(content[:size])
        with pytest.raises(DistaxError, match=f"{path}: not a whole file of distax weights") as got:
            read(path)
        assert "\n" not in str(got.value)


def test_a_missing_file_is_named(tmp_path):
    with pytest.raises(DistaxError, match=r"none\.safetensors: cannot be read"):
        read(tmp_path / "none.safetensors")


def test_weights_of_something_else_are_refused(file, tmp_path, tiny_config):
    arrays = load_file(file)
    arrays.pop(next(iter(arrays)))
    path = tmp_path / "other.safetensors"
    save_file(arrays, path)
    with pytest.raises(DistaxError, match="not a whole file of distax weights"):
        read(path)
    save_file(arrays, path, metadata={"config": json.dumps(tiny_config.to_dict())})
    with pytest.raises(DistaxError, match=r"phi\.value is absent there.*another architecture"):
        read(path)


def test_what_is_written_whole_is_read_as_it_was(tiny_run, tmp_path):
    trained, config = load_model(tiny_run)
    write(trained, config, tmp_path / "whole.safetensors")
    model, _ = read(tmp_path / "whole.safetensors")
    jax.tree.map(np.testing.assert_array_equal, nnx.state(model), nnx.state(trained))


def test_the_python_file_that_weights_name_is_not_run(file, tmp_path):
    script = tmp_path / "evil.py"
    script.write_text(f"open({str(tmp_path / 'ran')!r}, 'w')")
    with safe_open(file, framework="numpy") as opened:
        config = json.loads(opened.metadata()["distax"])["config"]
    arrays, forged = load_file(file), tmp_path / "forged.safetensors"

    def forge(**model):
        metadata = {"config": json.dumps(config | {"model": config["model"] | model})}
        save_file(arrays, forged, metadata=metadata)

    forge(module=str(script))
    _, read_config = read(forged)
    assert read_config.model.module is None
    forge(module=str(script), name="mine")
    with pytest.raises(DistaxError, match=r"model 'mine', which it says is defined in .*evil\.py"):
        read(forged)
    assert not (tmp_path / "ran").exists()


def test_written_weights_name_no_python_file(tiny_config, tmp_path):
    config = replace(tiny_config, model=replace(tiny_config.model, module="mine.py"))
    write(create_model(tiny_config), config, tmp_path / "tiny.safetensors")
    assert b"mine.py" not in (tmp_path / "tiny.safetensors").read_bytes()


def test_a_flipped_bit_is_found_wherever_it_is(file, tmp_path):
    model, config = read(file)
    content, damaged = bytearray(file.read_bytes()), tmp_path / "damaged.safetensors"
    rng = np.random.default_rng(0)
    header = 8 + int.from_bytes(content[:8], "little")
    bits = [*rng.integers(0, 8 * header, 60), *rng.integers(8 * header, 8 * len(content), 40)]
    found = []
    for bit in map(int, bits):
        content[bit // 8] ^= 1 << bit % 8
        damaged.write_bytes(content)
        content[bit // 8] ^= 1 << bit % 8
        try:
            other, settings = read(damaged)
        except DistaxError as error:
            found.append(str(error))
            continue
        # A bit of a checksum's name makes a file without it, and all else is as it was.
        assert settings == config
        jax.tree.map(np.testing.assert_array_equal, nnx.state(other), nnx.state(model))
    assert len(found) >= 95
    assert not any("\n" in message for message in found)


def test_a_damaged_array_is_named(file, tmp_path):
    content = bytearray(file.read_bytes())
    content[-1] ^= 1
    (tmp_path / "damaged.safetensors").write_bytes(content)
    with pytest.raises(DistaxError, match=r"array \S+ is damaged, its bytes differ from their"):
        read(tmp_path / "damaged.safetensors")


def test_a_changed_type_is_found(tiny_run, tmp_path):
    export(tiny_run, tmp_path / "a.safetensors")
    content = (tmp_path / "a.safetensors").read_bytes()
    (tmp_path / "b.safetensors").write_bytes(content.replace(b'"F32"', b'"I32"', 1))
    with pytest.raises(DistaxError, match=r"array \S+ holds int32, but the model has float32"):
        read(tmp_path / "b.safetensors")


@pytest.mark.parametrize("number", [np.nan, np.inf])
def test_weights_that_are_no_numbers_are_neither_written_nor_read(
    number, tiny_config, file, tmp_path
):
    model, bad = create_model(tiny_config), tmp_path / "bad.safetensors"
    model.q_init[...] = model.q_init[...].at[0, 0].set(number)
    with pytest.raises(DistaxError, match=r"array q_init\S* has NaN or infinite numbers"):
        write(model, tiny_config, bad)
    assert not bad.exists()
    with safe_open(file, framework="numpy") as opened:
        metadata = {"config": json.dumps(json.loads(opened.metadata()["distax"])["config"])}
    arrays = load_file(file)
    arrays["q_init.value"][0, 0] = number
    save_file(arrays, bad, metadata=metadata)
    with pytest.raises(DistaxError, match=r"array q_init\S* has NaN or infinite numbers"):
        read(bad)


def test_numbers_beyond_the_models_range_are_refused(file, tmp_path):
    """They would become infinite, and be found in the answers only."""
    with safe_open(file, framework="numpy") as opened:
        metadata = {"config": json.dumps(json.loads(opened.metadata()["distax"])["config"])}
    arrays = load_file(file)
    arrays["q_init.value"] = np.full(arrays["q_init.value"].shape, 1e300)
    save_file(arrays, tmp_path / "bad.safetensors", metadata=metadata)
    with pytest.raises(DistaxError, match=r"q_init\S* has numbers beyond the range of float32"):
        read(tmp_path / "bad.safetensors")
    arrays["q_init.value"] = np.full(arrays["q_init.value"].shape, 0.1)
    save_file(arrays, tmp_path / "good.safetensors", metadata=metadata)
    read_model, _ = read(tmp_path / "good.safetensors")
    assert read_model.q_init[0, 0] == np.float32(0.1)


def test_a_file_of_a_newer_version_says_so(file, tmp_path):
    with safe_open(file, framework="numpy") as opened:
        about = json.loads(opened.metadata()["distax"]) | {"version": 2}
    metadata = {"distax": json.dumps(about)}
    save_file(load_file(file), tmp_path / "new.safetensors", metadata=metadata)
    with pytest.raises(DistaxError, match="version 2 of weights, this distax reads 1; install a"):
        read(tmp_path / "new.safetensors")


def test_the_same_model_gives_the_same_bytes(tiny_config, tmp_path):
    model = create_model(tiny_config)
    for name in ("a", "b"):
        write(model, tiny_config, tmp_path / name)
    assert (tmp_path / "a").read_bytes() == (tmp_path / "b").read_bytes()


@pytest.mark.parametrize(
    ("model", "sensor", "message"),
    [
        ({"options": {"stages": 10**9}}, {}, "option stages of the model is 1,000,000,000"),
        ({"options": {"stages": 9_000}}, {}, "more parameters than are stored"),
        ({"options": {"channels": 10**9}}, {}, "option channels of the model is 1,000,000,000"),
        ({"options": {"window": 10**9 + 1}}, {}, "option window of the model is 1,000,000,001"),
        ({"options": {"window": 4_001}}, {}, "images of 16,008,001 pixels need matrices"),
        ({"factor": 10**9 + 1}, {}, "option factor of the model is 1,000,000,001"),
        ({"factor": 9_999}, {}, r"need matrices of [\d,]+ numbers"),
        ({}, {"height": 9_000, "width": 9_000}, r"need matrices of [\d,]+ numbers"),
        ({}, {"height": 10**9}, "a sensor of 11,000,000,000 pixels"),
        ({"name": "edsr", "options": {"channels": 9_000_000}}, {}, "option channels"),
        ({"name": "edsr", "options": {"blocks": 9_000}}, {}, "more parameters than are stored"),
        ({"name": "lista", "options": {"layers": 10**8}}, {}, "option layers"),
    ],
)
def test_a_configuration_that_asks_for_more_than_is_stored_is_refused(
    model, sensor, message, file, tmp_path
):
    arrays, path = load_file(file), tmp_path / "large.safetensors"
    with safe_open(file, framework="numpy") as opened:
        config = json.loads(opened.metadata()["distax"])["config"]
    options = config["model"]["options"] | model.pop("options", {})
    if "name" in model:
        options = {key: options[key] for key in options.keys() - {"hidden", "stages"}}
    config["model"] |= model | {"options": options}
    config["sensor"] |= sensor
    save_file(arrays, path, metadata={"config": json.dumps(config)})
    started = time.perf_counter()
    with pytest.raises(DistaxError, match=message):
        read(path)
    assert time.perf_counter() - started < 20
