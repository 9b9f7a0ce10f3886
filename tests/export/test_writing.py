import hashlib
from dataclasses import asdict, fields

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

import distax
from distax import DistaxError, DistaxWarning, Sensor, Targets, Unmixer
from distax.export import PLATFORMS, export, load
from distax.export.numbers import MEANING
from distax.export.outputs import _MEANING
from distax.imaging.scenes import ScenePrior, simulate
from distax.models import Density, create, names
from distax.runtime.pytree import named_leaves
from tests.models.sizes import SEQUENCES, SMALL

SENSOR = Sensor(height=9, width=9)
LAW = ScenePrior(max_targets=1)


def assert_same(found, expected, rtol=1e-3):
    assert found.keys() == expected.keys()
    for name, values in expected.items():
        np.testing.assert_allclose(found[name], values, rtol=rtol, atol=1e-4, err_msg=name)


def test_fast_is_exported_with_all_it_knows(images, tmp_path):
    unmixer = Unmixer(model=Density(width=8, blocks=1, spacing=0.2, rngs=nnx.Rngs(0)))
    outputs = export(unmixer, tmp_path / "a.distax")["outputs"]
    assert outputs["covariance"].items() >= {"shape": ["batch", 5, 2, 2], "unit": "px²"}.items()
    assert outputs["trusted"].items() >= {"shape": ["batch"], "dtype": "bool"}.items()
    assert_same(load(tmp_path / "a.distax")(images[:3]), named_leaves(unmixer(images[:3])))


def test_the_file_says_what_it_is(unmixer, file):
    about = load(file).description
    state = named_leaves(nnx.state(unmixer.model))
    written = b"".join(name.encode() + np.asarray(leaf).tobytes() for name, leaf in state.items())
    inputs, outputs = about.pop("inputs"), about.pop("outputs")
    assert about == {
        "format": "distax export 1",
        "distax": distax.__version__,
        "jax": jax.__version__,
        "method": "grid",
        "model": "Dista",
        "weights_sha256": hashlib.sha256(written).hexdigest(),
        "threshold": unmixer.threshold,
        "sensor": asdict(Sensor()),
        "prior": None,
        "sequence": None,
        "platforms": list(PLATFORMS),
        "camera": None,
    }
    expected = {"shape": ["batch", 11, 11], "dtype": "float32", "unit": "counts"}
    assert inputs["images"].items() >= expected.items()
    assert outputs["position"].items() >= {"shape": ["batch", 16, 2], "unit": "px"}.items()


def test_every_array_of_targets_has_a_unit_and_a_meaning():
    of_targets = {field.name for field in fields(Targets)}
    assert _MEANING.keys() == of_targets | {"images", "grid"} | MEANING.keys()


def export_grid(name, path):
    model = create(name, sensor=SENSOR, rngs=nnx.Rngs(0), **SMALL[name])
    return model, export(Unmixer(model=model, sensor=SENSOR), path, grid=True)


@pytest.mark.parametrize("name", sorted(SMALL))
def test_every_grid_model_can_be_exported_for_every_platform(name, tmp_path):
    _, about = export_grid(name, tmp_path / "a.distax")
    assert about["platforms"] == list(PLATFORMS)
    assert about["outputs"]["grid"]["shape"] == ["batch", 27, 27]


@pytest.mark.parametrize("name", ["fista", "edsr", "dista"])
def test_an_exported_grid_is_the_models(name, tmp_path):
    """Compares one model of each family on 2 images; it was traced for a symbolic number."""
    model, _ = export_grid(name, tmp_path / "a.distax")
    images, _ = simulate(jax.random.key(1), 2, SENSOR)
    graph, state = nnx.split(model)
    expected = jax.jit(lambda state, images: nnx.merge(graph, state)(images))(state, images)
    found = load(tmp_path / "a.distax")(images)["grid"]
    np.testing.assert_allclose(found, expected, rtol=0, atol=1e-4 * float(jnp.abs(expected).max()))


def test_the_sizes_are_those_of_every_grid_model():
    assert set(names()) - {"density", *SEQUENCES} == SMALL.keys()


def test_refine_is_exported_with_its_law_and_leaves_missing_pixels_out(tmp_path):
    unmixer = Unmixer(method="refine", prior=LAW)
    images = np.array(simulate(jax.random.key(2), 3, Sensor(), LAW)[0])
    images[1, 0, 0] = np.nan
    about = export(unmixer, tmp_path / "a.distax")
    assert (about["prior"], about["model"], about["weights_sha256"]) == (asdict(LAW), None, None)
    found = load(tmp_path / "a.distax")(images)
    assert found["trusted"].all()
    assert_same(found, named_leaves(unmixer(images)), rtol=5e-3)


@pytest.mark.parametrize(
    ("unmixer", "options", "message"),
    [
        (Unmixer(method="posterior"), {}, "the method posterior cannot be exported"),
        (Unmixer(method="refine"), {"grid": True}, "the method refine has no grid; export its"),
        (Unmixer(method="refine"), {"platforms": ["gpu"]}, "unknown platform 'gpu'.*cpu, cuda, t"),
    ],
)
def test_what_cannot_be_exported_is_refused(unmixer, options, message, tmp_path):
    with pytest.raises(DistaxError, match=message):
        export(unmixer, tmp_path / "a.distax", **options)
    assert not list(tmp_path.iterdir())


def schur(images):
    """Computes a Schur decomposition, which JAX has for CPUs only."""
    return jax.lax.linalg.schur(images)[0][:, 0, 0]


def test_platforms_that_cannot_compute_a_model_are_named_and_left_out(middle, tmp_path):
    path = tmp_path / "a.distax"
    unmixer = middle(schur)
    with pytest.raises(DistaxError, match=r"the model cannot be exported: tpu cannot compute it: "):
        export(unmixer, path, platforms=["cpu", "tpu"])
    assert not path.exists()
    with pytest.warns(DistaxWarning, match=r"cuda cannot compute it: .*; tpu cannot compute it: "):
        assert export(unmixer, path)["platforms"] == ["cpu"]
    # Of a triangular matrix the first eigenvalue is the first entry.
    images = np.triu(np.full((2, 11, 11), 7.0)) * np.array([1.0, 2.0])[:, None, None]
    np.testing.assert_allclose(load(path)(images)["intensity"], [[7.0], [14.0]], rtol=1e-6)


def test_a_model_that_calls_python_is_refused(middle, tmp_path):
    def brightness(images):
        result = jax.ShapeDtypeStruct(images.shape[:1], images.dtype)
        return jax.pure_callback(lambda x: x.max(axis=(1, 2)), result, images)

    with pytest.raises(DistaxError, match=r"the model cannot be exported: .*callback") as got:
        export(middle(brightness), tmp_path / "a.distax")
    assert "\n" not in str(got.value)
    assert not list(tmp_path.iterdir())
