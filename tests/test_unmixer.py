import jax
import numpy as np
import pytest

from distax import DistaxError, Sensor, Unmixer, decode
from distax.scenes import PlacementLaw, simulate
from distax.training.checkpoints import load_model


@pytest.fixture(scope="module")
def unmixer(tiny_run):
    return Unmixer.load(tiny_run, threshold=20.0)


@pytest.fixture(scope="module")
def images():
    return simulate(jax.random.key(3), 300, Sensor(), PlacementLaw())[0]


def test_it_decodes_what_the_model_of_the_run_answers(unmixer, images, tiny_run):
    found = unmixer(images[:20])
    expected = decode(load_model(tiny_run)[0](images[:20]), threshold=20.0)
    assert found.mask.any()
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-4), found, expected)


def test_long_stacks_are_cut_and_put_together(unmixer, images):
    found, tail = unmixer(np.asarray(images)), unmixer(images[280:])
    assert found.mask.shape[0] == 300
    np.testing.assert_array_equal(found.mask[280:], tail.mask)
    np.testing.assert_allclose(found.intensity[280:], tail.intensity, rtol=1e-4)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda a: a[:, :10], r"images: 10×11 px, the model is for 11×11"),
        (lambda a: np.where(np.arange(11) == 3, np.nan, a), r"image 0, pixel \(0, 3\) is NaN"),
        (lambda a: a + 300, r"image 0, pixel \(0, 0\) is 300, outside the 0\.\.255 counts"),
        (lambda a: a - 1, r"pixel \(0, 0\) is -1, outside"),
    ],
)
def test_images_the_sensor_cannot_have_taken_are_refused(unmixer, images, change, message):
    with pytest.raises(DistaxError, match=message):
        unmixer(change(np.asarray(images[:2])))


def test_an_unknown_method_lists_the_known_ones(unmixer):
    with pytest.raises(DistaxError, match="unknown method 'gird': did you mean 'grid'"):
        Unmixer(method="gird", model=unmixer.model)


def test_a_folder_without_a_run_is_named(tmp_path):
    with pytest.raises(DistaxError, match=f"{tmp_path}/nothing.*no checkpoint there"):
        Unmixer.load(tmp_path / "nothing")
