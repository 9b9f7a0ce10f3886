import pytest

from distax import DistaxError, Sensor
from distax.imaging.psf import MeasuredPsf
from distax.imaging.psf_grid import PsfGrid
from distax.imaging.scenes import ScenePrior
from distax.io.sensor_file import read_sensor, write_sensor
from distax.training.config import TrainConfig, read_toml

SENSORS = [
    Sensor(),
    Sensor(sigma=(0.5, 0.625), saturation=None, bit_depth=None, gain=2.5),
    Sensor(height=9, width=13, saturation=1000.0, bit_depth=12, read_noise=1 / 3, background=1e-7),
    Sensor(measured_psf=MeasuredPsf(2, ((0.1, 1 / 3, 1e-9),), ((0.1, 1.0, 0.0),))),
    Sensor(
        psf_grid=PsfGrid(
            (0.0, 1 / 3), (5.0, 7.5), ((0.5, 0.6), (0.7, 1 / 3), (1.0, 2.0), (3.0, 4.0))
        )
    ),
    Sensor(
        psf_grid=PsfGrid(
            rows=(0.0, 9.0),
            columns=(1.0, 5.0),
            sigmas=((0.5, 0.6),) * 4,
            psfs=(MeasuredPsf(2, ((0.1, 1 / 3, 1e-9),) * 2, ((0.1, 1.0, 0.0),) * 2),) * 4,
        )
    ),
]
PSF = """[sensor.measured_psf]
oversampling = 2
rows = [[0.2, 0.6, 0.1]]
columns = [[0.1, 0.6, 0.1]]
"""
GRID = """[sensor.psf_grid]
rows = [0, 9]
columns = [0, 9]
sigmas = [[0.5, 0.5], [0.5, 0.5], [0.5, 0.5], [0.5, 0.5]]
"""


@pytest.mark.parametrize("sensor", SENSORS)
def test_a_sensor_survives_its_file(tmp_path, sensor):
    path = tmp_path / "sensor.toml"
    write_sensor(path, sensor, {"sigma": "± 0.1, measured"})
    assert read_sensor(path) == sensor
    lines = path.read_text().splitlines()
    assert [line for line in lines if "#" in line] == [
        f"sigma = {list(sensor.sigmas) if isinstance(sensor.sigma, tuple) else sensor.sigma}"
        "  # ± 0.1, measured"
    ]


@pytest.mark.parametrize("sensor", SENSORS)
def test_a_sensor_file_is_a_training_configuration(tmp_path, sensor):
    write_sensor(tmp_path / "sensor.toml", sensor)
    assert read_toml(tmp_path / "sensor.toml") == TrainConfig(sensor=sensor, prior=ScenePrior())


def test_absent_keys_keep_the_defaults(tmp_path):
    (tmp_path / "a.toml").write_text("[sensor]\nsigma = 1\n")
    assert read_sensor(tmp_path / "a.toml") == Sensor(sigma=1.0)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("[sensor]\nsigm = 0.5", "sensor.sigm: is not a known key; did you mean 'sigma'?"),
        ("[sensor]\nread_nois = 0.5", "sensor.read_nois: is not a known key; did you mean 'read_n"),
        ("[sensor]\nzzz = 1", "sensor.zzz: is not a known key; known are height, width, sigma,"),
        ("[senso]\nsigma = 0.5", "sensor: is missing"),
        ("", "sensor: is missing"),
        ("steps = 3\n[sensor]", "steps: is not a known key; known are sensor"),
        ("sensor = 3", "sensor: Input should be an object"),
        ("[sensor]\nheight = 1.5", "sensor.height: Input should be a valid integer"),
        ("[sensor]\nsigma = 'wide'", "sensor.sigma: Input should be a valid number, or"),
        ("[sensor]\nsigma = [1.0, 1.0, 1.0]", "sensor.sigma: Input should be a valid number, or"),
        ("[sensor]\nsigma = [0.5, -1.0]", "sensor: sigma must be greater than 0, got -1.0"),
        (
            "[sensor]\nheight = 1000000000",
            "sensor: a sensor of 11,000,000,000 pixels, at most 100,",
        ),
        ("[sensor]\nsigma = nan", "sensor: sigma must be a finite number, got nan"),
        ("[sensor]\nbackground = 'none'", "sensor.background: Input should be a valid number"),
        ("[sensor.measured_psf]\noversampling = 2", "sensor.measured_psf.rows: is missing"),
        (PSF + "row = 1", "sensor.measured_psf.row: is not a known key; did you mean 'rows'?"),
        (PSF.replace("0.2", "'a'"), "sensor.measured_psf.rows: Input should be a valid number"),
        (PSF.replace("0.2, ", ""), "sensor.measured_psf: a measured PSF has as many profiles"),
        (PSF.replace("0.6", "-0.6", 1), "sensor.measured_psf: the samples of a PSF hold no flux"),
        ("[sensor.psf_grid]\nrows = [1, 0]", "sensor.psf_grid.columns: is missing"),
        (GRID + "row = 1", "sensor.psf_grid.row: is not a known key; did you mean 'rows'?"),
        (GRID.replace("[0, 9]", "[9, 0]"), "sensor.psf_grid: the rows of a PSF grid must rise"),
        ("[sensor", "not a TOML file"),
    ],
)
def test_an_error_is_named_in_one_line(tmp_path, text, message):
    path = tmp_path / "bad.toml"
    path.write_text(text)
    with pytest.raises(DistaxError) as error:
        read_sensor(path)
    assert str(error.value).startswith(f"{path}: {message}")
    assert "\n" not in str(error.value)


def test_a_missing_file_is_named(tmp_path):
    with pytest.raises(DistaxError, match=r"none\.toml: cannot be read \(No such file"):
        read_sensor(tmp_path / "none.toml")


def test_a_file_that_cannot_be_written_is_named(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(DistaxError, match=r"a\.toml: cannot be written"):
        write_sensor(tmp_path / "file" / "a.toml", Sensor())
