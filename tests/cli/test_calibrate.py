import json

import numpy as np
import pytest

from distax import Sensor
from distax.calibration import Calibration, Quantity
from distax.calibration.result import Departure, Node
from distax.cli.main import main
from distax.imaging.psf import MeasuredPsf
from distax.imaging.psf_grid import PsfGrid
from distax.io.psf_grid_file import read_psf_grid
from distax.io.sensor_file import read_sensor
from tests.pages import ROOT

fits = pytest.importorskip("astropy.io.fits")

SENSOR = Sensor(sigma=(0.5, 0.625), read_noise=1.25)


@pytest.fixture
def asked(monkeypatch):
    """Replaces `calibrate` by one that returns SENSOR, and lists the arguments of its calls."""
    calls = []

    def stand_in(*arguments):
        calls.append(arguments)
        quantities = {
            "sigma": Quantity((0.5, 0.625), (0.01, 0.02), "joint fit of 20 sources"),
            "read_noise": Quantity(1.25, 0.03, "dark frames"),
        }
        ring = Departure(0.0, 0.75, 0.001, 0.002)
        return Calibration(SENSOR, quantities, (0.5, 0.625), (0.01, 0.02), 20, 3, 1, 1.02, [ring])

    monkeypatch.setattr("distax.calibration.calibrate", stand_in)
    return calls


@pytest.fixture
def files(tmp_path):
    for name, count in {"a": 2, "b": 3, "dark": 4, "flat": 5}.items():
        np.save(tmp_path / f"{name}.npy", np.full((count, 11, 11), float(count)))
    np.save(tmp_path / "small.npy", np.zeros((2, 9, 11)))
    return {path.stem: str(path) for path in tmp_path.glob("*.npy")}


def test_the_sensor_is_written_and_the_table_says_what_it_comes_from(
    asked, files, tmp_path, capsys
):
    options = ["--out", str(tmp_path / "s.toml"), "--json", str(tmp_path / "s.json")]
    main(
        [
            "calibrate",
            files["a"],
            files["b"],
            "--dark",
            files["dark"],
            "--flat",
            files["flat"],
            "--elongated",
            "--size",
            "9",
            "13",
            *options,
        ]
    )
    images, dark, flats, elongated, measured_psf, size, psf_grid = asked[0]
    assert not measured_psf
    assert psf_grid is None
    assert images[:, 0, 0].tolist() == [2, 2, 3, 3, 3]
    assert (len(dark), [len(flat) for flat in flats], elongated, size) == (4, [5], True, (9, 13))
    assert read_sensor(tmp_path / "s.toml") == SENSOR
    assert "sigma = [0.5, 0.625]  # ± 0.01, 0.02, joint fit" in (tmp_path / "s.toml").read_text()
    result = json.loads((tmp_path / "s.json").read_text())
    assert result["sensor"]["sigma"] == [0.5, 0.625]
    assert result["quantities"]["read_noise"]["source"] == "dark frames"
    assert (result["used"], result["rejected"], result["crowded"]) == (20, 3, 1)
    assert result["gaussian"]
    out = capsys.readouterr().out
    assert "misfit 1.020 (about 1 if the PSF fits)" in out
    assert "20 isolated sources used, 3 not explained by one PSF, 1 with neighbours" in out
    assert "elongation -20.00% ±" in out


def test_fits_frames_folders_and_masks_are_read(asked, tmp_path):
    folder = tmp_path / "dark"
    folder.mkdir()
    for number in (10, 9):
        np.save(folder / f"dark{number}.npy", np.full((48, 64), number))
    np.save(tmp_path / "mask.npy", np.eye(48, 64) > 0)
    frame = ROOT / "tests" / "reference" / "inputs" / "cube.fits"
    options = ["--mask", str(tmp_path / "mask.npy"), "--out", str(tmp_path / "s.toml")]
    main(["calibrate", str(frame), "--dark", str(folder), "--flat", str(folder), *options])
    images, dark, (flat,), *_ = asked[0]
    expected = np.where(np.eye(48, 64) > 0, np.nan, fits.getdata(frame))
    np.testing.assert_array_equal(images, expected)
    np.testing.assert_array_equal(dark[:, 0, 1], [9, 10])
    np.testing.assert_array_equal(flat, dark)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ([], "no image files given"),
        (
            ["a", "small"],
            r"small\.npy: image 0 has 9×11 px, .*a\.npy has 11×11; give images of one",
        ),
        (["none.npy"], r"none\.npy: no such file"),
    ],
)
def test_what_cannot_be_used_is_named(asked, files, arguments, message):
    with pytest.raises(SystemExit, match=f"distax: .*{message}"):
        main(["calibrate", *(files.get(name, name) for name in arguments)])
    assert not asked


@pytest.mark.parametrize(
    ("options", "named"),
    [
        (["wrong", "b"], r"wrong\.npy, .*b\.npy: image 1 reads 1e\+30 at pixel \(2, 3\)"),
        (["a", "--dark", "wrong"], r"wrong\.npy: image 1 reads 1e\+30"),
        (["a", "--flat", "b", "wrong"], r"b\.npy, .*wrong\.npy: image 1 reads 1e\+30"),
    ],
)
def test_files_of_counts_that_no_sensor_delivers_are_named(files, tmp_path, options, named):
    wrong = np.ones((2, 11, 11))
    wrong[1, 2, 3] = 1e30
    np.save(tmp_path / "wrong.npy", wrong)
    given = files | {"wrong": str(tmp_path / "wrong.npy")}
    with pytest.raises(SystemExit, match=f"^distax: [^:]*{named}"):
        main(["calibrate", *(given.get(option, option) for option in options)])


def test_a_misfit_that_says_nothing_of_the_psf_is_printed_with_the_reason(
    monkeypatch, files, tmp_path, capsys
):
    def stand_in(*arguments):
        quantities = {"gain": Quantity(4.0, 0.1, "residuals of the fit")}
        return Calibration(SENSOR, quantities, (0.5, 0.5), (0.01, 0.02), 20, 0, 0, 1.0, [])

    monkeypatch.setattr("distax.calibration.calibrate", stand_in)
    main(["calibrate", files["a"], "--out", str(tmp_path / "s.toml")])
    assert "(always about 1: the noise comes from the residuals)" in capsys.readouterr().out


def test_too_few_sources_leave_no_file(files, tmp_path):
    with pytest.raises(SystemExit, match="distax: no isolated source stands out of the noise"):
        main(["calibrate", files["a"], "--out", str(tmp_path / "s.toml")])
    assert not (tmp_path / "s.toml").exists()


def test_a_measured_psf_is_shown_in_short_and_written_whole(monkeypatch, files, tmp_path, capsys):
    psf = MeasuredPsf(2, ((0.1, 1.0, 0.2),), ((0.1, 1.1, 0.1),))
    sensor = Sensor(measured_psf=psf)

    def stand_in(*arguments):
        assert arguments[4]
        quantities = {"measured_psf": Quantity(psf, None, "20 sources")}
        ring = Departure(0.0, 0.75, 0.001, 0.002)
        return Calibration(sensor, quantities, (0.5, 0.5), (0.01, 0.02), 20, 0, 0, 1.02, [ring])

    monkeypatch.setattr("distax.calibration.calibrate", stand_in)
    out = tmp_path / "s.toml"
    main(["calibrate", files["a"], "--measured-psf", "--out", str(out)])
    assert "1 term of 3 samples, 2 a pixel" in capsys.readouterr().out
    assert read_sensor(out) == sensor
    assert "[sensor.measured_psf]  # 20 sources" in out.read_text()


def test_a_grid_of_psfs_is_shown_node_by_node_and_written_to_both_files(
    monkeypatch, files, tmp_path, capsys
):
    grid = PsfGrid((0.0, 99.0), (0.0, 49.0), ((0.5, 0.6), (0.7, 0.8), (0.9, 1.0), (1.1, 1.2)))
    nodes = tuple(
        Node(row, column, sigma, (0.0125, 0.0225), sources=7)
        for (row, column), sigma in zip(
            ((0.0, 0.0), (0.0, 49.0), (99.0, 0.0), (99.0, 49.0)), grid.sigmas, strict=True
        )
    )

    def stand_in(*arguments):
        assert arguments[6] == (2, 2)
        quantities = {"psf_grid": Quantity(grid, (0.0125, 0.0225), "28 sources")}
        sizes = (0.8, 0.9), (0.01, 0.02), 28, 0, 0, 1.02, []
        return Calibration(Sensor(psf_grid=grid), quantities, *sizes, nodes)

    monkeypatch.setattr("distax.calibration.calibrate", stand_in)
    out, cube, report = tmp_path / "s.toml", tmp_path / "psf.fits", tmp_path / "s.json"
    options = ["--psf-grid", "2", "2", "--psf-fits", str(cube), "--json", str(report)]
    main(["calibrate", files["a"], *options, "--out", str(out)])
    printed = capsys.readouterr().out
    assert "PsfGrid(2×2 Gaussians, sigma 0.5 to 1.2)" in printed
    for cell in ("(99, 49)", "1.1000", "0.013", "1.2000", "0.022"):
        assert cell in printed
    assert read_sensor(out).psf_grid == grid
    read = read_psf_grid(cube)
    assert (read.rows, read.columns) == (grid.rows, grid.columns)
    np.testing.assert_allclose(read.sigmas, grid.sigmas, atol=1e-4)
    assert json.loads(report.read_text())["nodes"][3]["sigma"] == [1.1, 1.2]


def test_a_file_for_a_grid_needs_a_grid(asked, files, tmp_path):
    with pytest.raises(SystemExit, match="distax: --psf-fits writes the PSF's grid: give --psf-gr"):
        main(["calibrate", files["a"], "--psf-fits", str(tmp_path / "psf.fits")])
    assert not asked
