from dataclasses import replace

import jax
import jax.export
import numpy as np
import pytest

from distax import DistaxError, Sensor, Unmixer
from distax.export import export, load
from distax.export.numbers import MEANING, numbers_of
from distax.fitting.candidates import Search
from distax.fitting.estimators import FastFit, Refine
from distax.imaging.scenes import ScenePrior, simulate
from distax.runtime.pytree import named_leaves

LAW = ScenePrior(max_targets=2)
FAST = FastFit(search=Search(pool=32, starts=2), refine=Refine(Search(pool=32, starts=2)))
NOISY = Sensor(read_noise=2.0)
CAMERAS = {
    "its own": NOISY,
    "elongated": Sensor(sigma=(0.4, 0.5), background=20.0, gain=5.0, read_noise=1.0),
    "14 bit, never clips": Sensor(saturation=None, bit_depth=14, read_noise=3.0),
    "real-valued": Sensor(saturation=200.0, bit_depth=None, read_noise=1.0),
}


@pytest.fixture(scope="module")
def exported(tmp_path_factory):
    path = tmp_path_factory.mktemp("export") / "any.distax"
    about = export(Unmixer(method=FAST, sensor=NOISY, prior=LAW), path, platforms=["cpu"])
    assert about["camera"].keys() == MEANING.keys()
    return load(path)


@pytest.mark.parametrize("name", CAMERAS)
def test_one_file_serves_every_camera(exported, name):
    sensor = CAMERAS[name]
    brighter = replace(LAW, min_intensity=180.0, separation=0.6)
    images = np.asarray(simulate(jax.random.key(3), 6, sensor, brighter)[0])
    expected = named_leaves(FAST(images, sensor, brighter))
    found = exported(images, sensor, brighter)
    assert found.keys() == expected.keys()
    for field, values in expected.items():
        np.testing.assert_allclose(found[field], values, rtol=5e-3, atol=1e-3, err_msg=field)


def test_the_camera_is_its_own_by_default(exported):
    images = np.asarray(simulate(jax.random.key(3), 2, NOISY, LAW)[0])
    jax.tree.map(
        np.testing.assert_array_equal, exported(images), exported(images, NOISY, prior=LAW)
    )


def test_pixels_may_be_left_out(exported):
    images = np.array(simulate(jax.random.key(3), 2, NOISY, LAW)[0])
    images[0, 0, 0] = np.nan
    assert np.isfinite(exported(images)["position"]).all()


def test_the_program_runs_without_distax(exported):
    images = np.asarray(simulate(jax.random.key(3), 2, NOISY, LAW)[0])
    found = jax.jit(exported.program.call)(images, numbers_of(NOISY, LAW))
    np.testing.assert_allclose(found["position"], exported(images)["position"], atol=1e-4)


@pytest.mark.parametrize(
    ("sensor", "prior", "problem"),
    [
        (Sensor(sigma=0.9, read_noise=2.0), LAW, "windows are 5 px wide"),
        (Sensor(height=9, read_noise=2.0), LAW, "size"),
        (NOISY, ScenePrior(), "max_targets"),
        (NOISY, replace(LAW, cluster=1.3), "windows|clusters"),
        (Sensor(read_noise=60.0), LAW, "signal-to-noise"),
        (Sensor(sigma=0.3), LAW, "sigma"),
    ],
)
def test_a_camera_that_is_not_served_is_refused(exported, sensor, prior, problem):
    images = np.zeros((1, *sensor.shape), np.float32)
    with pytest.raises(DistaxError, match=problem):
        exported(images, sensor, prior)


def test_a_method_for_one_camera_takes_no_other(tmp_path):
    export(Unmixer(method="refine", prior=LAW), tmp_path / "a", platforms=["cpu"])
    with pytest.raises(DistaxError, match="alone"):
        load(tmp_path / "a")(np.zeros((1, 11, 11), np.float32), NOISY)
