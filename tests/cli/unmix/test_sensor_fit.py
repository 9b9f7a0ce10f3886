from dataclasses import replace

import jax
import numpy as np
import pytest

from distax import Sensor
from distax.cli.main import main
from distax.imaging.scenes import ScenePrior, simulate
from distax.io.sensor_file import read_sensor, write_sensor

PRIOR = ScenePrior(max_targets=1)
CAMERA = Sensor(read_noise=2.0, background=10.0)
OPTIONS = ["--method", "refine", "--prior.max-targets", "1"]


@pytest.fixture
def files(tmp_path):
    """Sixty images in two files, and a sensor file with a wrong sigma and background."""
    images = np.asarray(simulate(jax.random.key(2), 60, CAMERA, PRIOR)[0])
    np.save(tmp_path / "a.npy", images[:40])
    np.save(tmp_path / "b.npy", images[40:])
    write_sensor(tmp_path / "told.toml", replace(CAMERA, sigma=0.55, background=13.0))
    return [str(tmp_path / name) for name in ("a.npy", "b.npy")]


def unmix(tmp_path, files, *options):
    main(["unmix", *files, "--sensor", str(tmp_path / "told.toml"), *OPTIONS, *options])


def test_the_sensor_is_fitted_written_printed_and_used(files, tmp_path, capsys):
    fitted, answers = tmp_path / "fitted.toml", tmp_path / "a.csv"
    unmix(tmp_path, files, "--fit-sensor", str(fitted), "--csv", str(answers))
    sensor, text = read_sensor(fitted), fitted.read_text()
    np.testing.assert_allclose(sensor.sigma, 0.5, rtol=0.03)
    assert abs(sensor.background - 10.0) < 0.3
    assert text.count("± ") == 2 + ("kept" not in text.split("read_noise")[1].split("\n")[0])
    assert "fitted to 60 images of unknown scenes" in text
    line = capsys.readouterr().out.splitlines()[0]
    assert line.startswith(f"{fitted}: sensor fitted to 60 images: sigma 0.")
    assert "background 9." in line or "background 10" in line
    again = tmp_path / "b.csv"
    main(["unmix", *files, "--sensor", str(fitted), *OPTIONS, "--csv", str(again)])
    assert again.read_text() == answers.read_text()


def test_frames_in_the_same_run_are_refused(files, tmp_path):
    np.save(tmp_path / "frame.npy", np.full((1, 64, 64), 10.0, np.float32))
    frame = str(tmp_path / "frame.npy")
    message = r"frame.npy: image 0 is 64×64 px, but --fit-sensor takes images of 11×11 px only"
    with pytest.raises(SystemExit, match=message):
        unmix(tmp_path, [*files, frame], "--fit-sensor", str(tmp_path / "fitted.toml"))
    assert not (tmp_path / "fitted.toml").exists()


def test_it_cannot_be_combined_with_resume(files, tmp_path):
    options = ["--fit-sensor", str(tmp_path / "fitted.toml"), "--resume"]
    with pytest.raises(SystemExit, match="leave --fit-sensor out and name its file by --sensor"):
        unmix(tmp_path, files, *options, "--json", str(tmp_path / "a.json"))
