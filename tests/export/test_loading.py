import subprocess
import sys

import jax
import jax.export
import jax.numpy as jnp
import numpy as np
import pytest

from distax import DistaxError
from distax.export import archive, export, load
from distax.runtime.pytree import named_leaves


@pytest.fixture(scope="module")
def loaded(file):
    return load(file)


def test_one_file_answers_batches_of_any_size_as_the_unmixer_does(unmixer, loaded, images):
    for count in (1, 3, 17):
        expected, found = named_leaves(unmixer(images[:count])), loaded(images[:count])
        assert found.keys() == expected.keys()
        for name, values in expected.items():
            assert found[name].dtype == values.dtype
            np.testing.assert_allclose(found[name], values, rtol=2e-4, atol=1e-5, err_msg=name)
    assert 0 < found["mask"].mean() < 1


def test_the_program_can_be_used_within_other_functions(unmixer, loaded, images):
    @jax.jit
    def moved(images):
        return loaded.program.call(images)["position"] + 1.0

    expected = jnp.asarray(unmixer(images[:3]).position) + 1.0
    np.testing.assert_allclose(moved(images[:3]), expected, rtol=1e-4)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda a: a[:, :10], r"images: 10×11 px, the sensor has 11×11"),
        (lambda a: a[:0], "there are no images to unmix"),
        (lambda a: np.where(np.arange(11) == 3, np.nan, a), r"image 0, pixel \(0, 3\) is NaN"),
        (lambda a: a + 300, r"image 0, pixel \(0, 0\) is 300, outside the 0\.\.255 counts"),
    ],
)
def test_images_that_cannot_be_used_are_refused(loaded, images, change, message):
    with pytest.raises(DistaxError, match=message):
        loaded(change(images[:2]))


def test_a_platform_it_was_not_exported_for_is_named(unmixer, images, tmp_path):
    export(unmixer, tmp_path / "tpu.distax", platforms=["tpu"])
    with pytest.raises(
        DistaxError,
        match=r"for tpu, but JAX runs on cpu here; export it for cpu, or set JAX_PLATFORMS=tpu",
    ):
        load(tmp_path / "tpu.distax")(images)


def test_a_program_that_jax_cannot_read_is_an_error_of_one_line(tmp_path):
    archive.write(tmp_path / "a.distax", {"jax": "9.9"}, b"not a program of this JAX")
    with pytest.raises(DistaxError, match=r"a\.distax: written under JAX 9\.9, which JAX 0"):
        load(tmp_path / "a.distax")


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"outputs": None}, r"a\.distax: its description has no outputs; export again"),
        ({"sensor": [1]}, r"a\.distax: its description has no sensor; export again"),
        ({"sequence": "x"}, r"a\.distax: its sequence is 'x', no table; export again"),
        ({"sequence": [1]}, r"a\.distax: its sequence is \[1\], no table; export again"),
        ({"camera": 3}, r"a\.distax: its camera is 3, no table; export again"),
        ({"sequence": {}}, r"a\.distax: its description does not fit its program; export again"),
        ({"sequence": {"frames": 5}}, r"a\.distax: its description does not fit its program"),
        ({"camera": {"sigma": {}}}, r"a\.distax: its description does not fit its program"),
        ({"sensor": {"height": 9}}, r"a\.distax: its description does not fit its program"),
        ({"sensor": {"sigma": -1.0}}, r"a\.distax: its Sensor: .*sigma"),
    ],
)
def test_a_description_that_does_not_fit_is_refused_when_it_is_loaded(
    file, tmp_path, changed, message
):
    about, program = archive.read(file)
    archive.write(tmp_path / "a.distax", about | changed, program)
    with pytest.raises(DistaxError, match=message):
        load(tmp_path / "a.distax")


WITHOUT_MODELS = """
import sys
for name in ("flax", "optax", "distax.models", "distax.unmixer", "distax.fitting"):
    sys.modules[name] = None
import numpy as np
from distax.export import load
found = load(sys.argv[1])(np.load(sys.argv[2]))
np.save(sys.argv[3], found["position"])
"""
WITHOUT_DISTAX = """
import json, sys, zipfile
for name in ("flax", "optax", "chex", "jaxtyping", "distax"):
    sys.modules[name] = None
import jax.export
import numpy as np
with zipfile.ZipFile(sys.argv[1]) as file:
    about = json.loads(file.read("about.json"))
    program = jax.export.deserialize(bytearray(file.read("program.bin")))
assert about["outputs"]["position"]["unit"] == "px"
found = jax.jit(program.call)(np.load(sys.argv[2]).astype("float32"))
np.save(sys.argv[3], found["position"])
"""


@pytest.mark.parametrize("code", [WITHOUT_MODELS, WITHOUT_DISTAX], ids=["loader", "without distax"])
def test_another_process_computes_the_same_without_the_models(
    unmixer, file, images, tmp_path, code
):
    np.save(tmp_path / "images.npy", images[:3])
    arguments = [file, tmp_path / "images.npy", tmp_path / "found.npy"]
    subprocess.run([sys.executable, "-c", code, *arguments], check=True)
    found = np.load(tmp_path / "found.npy")
    np.testing.assert_allclose(found, unmixer(images[:3]).position, rtol=1e-4)
