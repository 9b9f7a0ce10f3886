import numpy as np
import pytest

from distax import DistaxError, Sensor
from distax.cli.options import make_unmixer
from distax.imaging.scenes import ScenePrior
from distax.io.sensor_file import write_sensor


def test_without_options_it_is_the_network_of_distax():
    unmixer = make_unmixer(None, None, None)
    assert (unmixer.method, type(unmixer.model).__name__) == ("fast", "Density")


@pytest.mark.parametrize("method", ["refine", "posterior"])
def test_methods_that_need_no_model(method):
    unmixer = make_unmixer(method, None, None)
    assert (unmixer.method, unmixer.model) == (method, None)


@pytest.mark.parametrize("method", [None, "grid"])
def test_the_model_of_a_run(method, tiny_run):
    unmixer = make_unmixer(method, str(tiny_run), 20.0)
    assert (unmixer.method, unmixer.threshold) == ("grid", 20.0)
    assert type(unmixer.model).__name__ == "Dista"


@pytest.mark.parametrize(
    ("method", "has_checkpoint", "message"),
    [
        ("grid", False, "the method grid needs a trained model: name one by --checkpoint"),
        ("refine", True, "refine has no model; give --method or --checkpoint, not both"),
        ("fast", True, "the model of .* is for the method grid, not fast; leave --method out"),
    ],
)
def test_options_that_contradict_each_other(method, has_checkpoint, message, tiny_run):
    with pytest.raises(DistaxError, match=message):
        make_unmixer(method, str(tiny_run) if has_checkpoint else None, None)


@pytest.mark.parametrize(
    ("method", "checkpoint", "message"),
    [
        ("refine", None, "--threshold is for grid models: name one by --checkpoint"),
        (None, None, "--threshold is for grid models: name one by --checkpoint"),
        (None, "density", "threshold has no effect on the method fast: leave it out"),
    ],
)
def test_a_threshold_without_a_grid_is_refused(method, checkpoint, message):
    with pytest.raises(DistaxError, match=message):
        make_unmixer(method, checkpoint, 50.0)


def test_a_prior_is_for_methods_without_a_model(tiny_run):
    prior = ScenePrior(max_targets=2)
    assert make_unmixer(None, None, None, prior=prior).prior == prior
    assert make_unmixer(None, None, None, prior=prior).method == "fast"
    assert make_unmixer(None, str(tiny_run), None, prior=prior).prior == ScenePrior()


@pytest.fixture
def narrow(tmp_path):
    write_sensor(tmp_path / "narrow.toml", Sensor(height=9, sigma=0.4))
    return tmp_path / "narrow.toml"


def test_another_sensor_is_unmixed_by_the_network_for_any_camera(narrow):
    unmixer = make_unmixer(None, None, None, narrow)
    assert (unmixer.method, unmixer.sensor) == ("fast", Sensor(height=9, sigma=0.4))
    assert unmixer.prior == ScenePrior()
    assert unmixer.model is None
    assert make_unmixer("refine", None, None, narrow).method == "refine"


def test_the_networks_own_sensor_is_unmixed_by_the_network(tmp_path):
    write_sensor(tmp_path / "own.toml", Sensor())
    assert make_unmixer(None, None, None, tmp_path / "own.toml").method == "fast"


def test_a_classical_model_takes_any_sensor(narrow):
    unmixer = make_unmixer(None, "fista", 50.0, narrow)
    assert (unmixer.method, unmixer.sensor) == ("grid", Sensor(height=9, sigma=0.4))
    assert unmixer(np.zeros((1, 9, 11))).mask.shape[0] == 1


def test_weights_for_another_sensor_are_refused_in_one_line(narrow, tiny_run):
    with pytest.raises(DistaxError, match=r"trained for Sensor.*, not for Sensor") as error:
        make_unmixer(None, str(tiny_run), None, narrow)
    assert "\n" not in str(error.value)
