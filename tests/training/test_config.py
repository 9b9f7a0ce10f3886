from pathlib import Path

import pytest

from distax import DistaxError, Sensor
from distax.training.config import DataConfig, TrainConfig, from_dict, read_toml

FOLDER = Path(__file__).parents[2] / "experiments"
# leaderboard.toml is a plan of many runs; see tests/experiments/test_leaderboard.py.
EXPERIMENTS = sorted(set(FOLDER.glob("*.toml")) - {FOLDER / "leaderboard.toml"})


def test_a_configuration_survives_plain_values(tiny_config):
    assert from_dict(tiny_config.to_dict(), "here") == tiny_config


def test_absent_keys_keep_their_defaults():
    assert from_dict({}, "here") == TrainConfig()


@pytest.mark.parametrize("path", EXPERIMENTS, ids=lambda path: path.stem)
def test_experiments_are_valid_and_name_their_own_file(path):
    read_toml(path)
    assert f"--config experiments/{path.name}" in path.read_text()


@pytest.mark.parametrize("factor", [3, 5, 7])
def test_grid_experiments_have_the_factor_of_their_name(factor):
    assert read_toml(FOLDER / f"dista_c{factor}.toml").model.factor == factor


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"stepz": 3}, "stepz: is not a known key; did you mean 'steps'?"),
        ({"model": {"nam": "x"}}, "model.nam: is not a known key; did you mean 'name'?"),
        ({"steps": "3"}, "steps: Input should be a valid integer"),
        ({"steps": 3.5}, "steps: Input should be a valid integer"),
        ({"steps": 0}, "steps must be greater than 0, got 0"),
        ({"data": {"feed": "tape"}}, "data.feed: Input should be 'memory' or 'stream'"),
        ({"sensor": {"sigma": -1.0}}, "sensor: sigma must be greater than 0"),
        ({"sensor": {"height": -1}}, "sensor: height must be greater than 0, got -1"),
        ({"sensor": {"height": 9}, "prior": 3}, "prior: Input should be an object"),
        ({"prior": {"border": 6}}, "a border of 6 px leaves no host pixel in an image of 11×11 px"),
        *(
            (
                {"model": {"options": {name: 3}}},
                f"leave {name} out of the model's options: {kind}",
            )
            for name, kind in {"sensor": "the table", "precision": "the setting"}.items()
        ),
        (
            {"model": {"options": {"rngs": 3}}},
            "leave rngs out of the model's options: the sett",
        ),
        (
            {"model": {"options": {"name": "x"}}},
            "name out of the model's options: model.name",
        ),
        (
            {"model": {"factor": 3, "options": {"factor": 5}}},
            "options: model.factor sets it",
        ),
        ({"data": {"dataset": "x"}, "sensor": {"sigma": 0.6}}, "dataset x was taken by CSIST"),
    ],
)
def test_what_is_wrong_is_named(values, message):
    with pytest.raises(DistaxError, match=r"^f\.toml: ") as error:
        from_dict(values, "f.toml")
    assert message in str(error.value)
    assert "\n" not in str(error.value)


def test_a_missing_file_and_broken_toml_are_named(tmp_path):
    with pytest.raises(DistaxError, match=r"none\.toml: cannot be read \(No such file"):
        read_toml(tmp_path / "none.toml")
    (tmp_path / "broken.toml").write_text("steps = = 3")
    with pytest.raises(DistaxError, match=r"broken\.toml: not a TOML file"):
        read_toml(tmp_path / "broken.toml")


def test_another_sensor_is_fine_for_simulated_scenes():
    assert TrainConfig(sensor=Sensor(sigma=0.6), data=DataConfig()).sensor.sigma == 0.6
