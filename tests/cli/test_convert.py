from pathlib import Path

import jax
import numpy as np
import pytest

from distax.cli.main import main
from distax.training.checkpoints import load_model
from distax.unmixer import Unmixer
from distax.weights import read

ZOO = Path(__file__).parents[1] / "reference/zoo"


@pytest.fixture(scope="module")
def original():
    """Weights, input images and outputs of an original model."""
    with np.load(ZOO / "srcnn.npz") as file:
        arrays = {name: np.float32(file[name]) for name in file if name != "config"}
    weights = {
        name.removeprefix("weights/"): array for name, array in arrays.items() if "/" in name
    }
    return weights, arrays["images"].reshape(-1, 11, 11), arrays["output"].reshape(-1, 33, 33)


@pytest.fixture
def arrays_file(original, tmp_path):
    path = tmp_path / "srcnn.npz"
    np.savez(path, **original[0])
    return path


def assert_same(model, original):
    with jax.default_matmul_precision("highest"):
        output = jax.jit(model)(original[1])
    np.testing.assert_allclose(output, original[2], rtol=0, atol=1e-3)


def test_the_originals_arrays_become_a_checkpoint_and_a_file(
    original, arrays_file, tmp_path, capsys
):
    run, file, again = tmp_path / "run", tmp_path / "srcnn.safetensors", tmp_path / "again"
    main(["convert", str(arrays_file), str(run), "--model", "srcnn"])
    assert capsys.readouterr().out == f"{run}: srcnn, 19,393 parameters\n"
    model, config = load_model(run)
    assert (config.model.name, config.model.factor) == ("srcnn", 3)
    assert_same(model, original)
    main(["convert", str(run), str(file)])
    assert_same(read(file)[0], original)
    main(["convert", str(file), str(again)])
    assert_same(load_model(again)[0], original)
    assert Unmixer.load(file).method == "grid"


def test_names_under_a_wrapper_are_recognised(original, tmp_path):
    path, run = tmp_path / "wrapped.npz", tmp_path / "run"
    np.savez(path, **{f"module.model.{name}": array for name, array in original[0].items()})
    main(["convert", str(path), str(run), "--model", "srcnn"])
    assert_same(load_model(run)[0], original)


def test_sizes_are_those_of_the_arrays(tmp_path):
    with np.load(ZOO / "rcan.npz") as file:
        weights = {name[8:]: np.float32(file[name]) for name in file if name[:8] == "weights/"}
    np.savez(tmp_path / "rcan.npz", **weights)
    main(["convert", str(tmp_path / "rcan.npz"), str(tmp_path / "r"), "--model", "rcan"])
    options = load_model(tmp_path / "r")[1].model.options
    assert options == {"channels": 16, "groups": 2, "blocks": 2, "reduction": 4}


def refused(arguments):
    with pytest.raises(SystemExit) as stop:
        main(["convert", *map(str, arguments)])
    message = str(stop.value)
    assert message.startswith("distax: ")
    assert "\n" not in message
    return message


def test_the_model_has_to_be_named(arrays_file, tmp_path):
    assert "name the model by --model: actnet, bsrgan, cfgn" in refused(
        [arrays_file, tmp_path / "run"]
    )


def test_another_models_arrays_are_refused_and_nothing_is_left(arrays_file, tmp_path):
    message = refused([arrays_file, tmp_path / "run", "--model", "focus"])
    assert "array" in message
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize(
    "name", ["name", "weights", "factor", "phi", "q_init", "sensor", "rngs", "precision"]
)
def test_arguments_that_are_no_options_are_refused(arrays_file, tmp_path, name):
    message = refused(
        [arrays_file, tmp_path / "run", "--model", "srcnn", "--factor", "3", "--options", name, "1"]
    )
    assert f"leave {name} out of " in message


@pytest.mark.parametrize("number", [np.nan, np.inf, 1e300])
@pytest.mark.parametrize("target", ["run", "srcnn.safetensors"])
def test_weights_that_are_no_numbers_are_not_converted(original, tmp_path, number, target):
    first, *_ = original[0]
    np.savez(
        tmp_path / "bad.npz", **(original[0] | {first: original[0][first].astype(float) + number})
    )
    with pytest.raises(SystemExit, match=r"bad\.npz: array \S+ has NaN or infinite numbers"):
        main(["convert", str(tmp_path / "bad.npz"), str(tmp_path / target), "--model", "srcnn"])
    assert [path.name for path in tmp_path.iterdir()] == ["bad.npz"]


@pytest.mark.parametrize("number", [np.nan, 1e300])
def test_a_matrix_that_is_no_numbers_is_not_converted(tmp_path, number):
    with np.load(ZOO / "lista.npz") as file:
        weights = {
            name.removeprefix("weights/"): np.float32(file[name]) for name in file if "/" in name
        }
    np.savez(tmp_path / "lista.npz", **weights)
    np.save(tmp_path / "phi.npy", np.full((121, 1089), number))
    source, phi = str(tmp_path / "lista.npz"), str(tmp_path / "phi.npy")
    with pytest.raises(SystemExit, match=r"lista\.npz: array phi\S* has NaN or infinite numbers"):
        main(["convert", source, str(tmp_path / "run"), "--model", "lista", "--phi", phi])
    assert not (tmp_path / "run").exists()


def test_a_run_is_not_overwritten(arrays_file, tmp_path):
    arguments = [arrays_file, tmp_path / "run", "--model", "srcnn"]
    main(["convert", *map(str, arguments)])
    assert "already holds a run" in refused(arguments)


def test_a_broken_file_is_named(tmp_path):
    arrays, weights = tmp_path / "broken.npz", tmp_path / "broken.safetensors"
    for path, options in ((arrays, ["--model", "srcnn"]), (weights, [])):
        path.write_bytes(b"nothing of the kind")
        assert str(path) in refused([path, tmp_path / "run", *options])


@pytest.mark.parametrize(
    "option",
    ["--model=dista", "--factor=3", "--factor=0", "--phi=a.npy", "--q-init=a.npy", "--options a 1"],
)
def test_what_a_run_says_itself_cannot_be_said(tmp_path, tiny_run, option):
    message = refused([tiny_run, tmp_path / "a.safetensors", *option.split()])
    name = option.replace(" ", "=").partition("=")[0]
    assert message.endswith(f"{name} is for checkpoints of the original toolkit; leave it out")


def test_a_target_is_a_safetensors_file_or_a_folder(tmp_path, tiny_run):
    assert "w.pth: no format of weights" in refused([tiny_run, tmp_path / "w.pth"])
    assert "--half is for a .safetensors file" in refused([tiny_run, tmp_path / "w", "--half"])
    assert not list(tmp_path.iterdir())
    main(["convert", str(tiny_run), str(tmp_path / "rate_0.01")])
    assert load_model(tmp_path / "rate_0.01")[1] == load_model(tiny_run)[1]


def test_half_precision_halves_the_file(tiny_run, tmp_path):
    for option in ([], ["--half"]):
        main(["convert", str(tiny_run), str(tmp_path / f"{len(option)}.safetensors"), *option])
    whole, half = ((tmp_path / f"{n}.safetensors").stat().st_size for n in (0, 1))
    assert half == pytest.approx(whole / 2, rel=0.02)
