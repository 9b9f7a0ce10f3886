"""Frames with at most two targets per blob, in the smallest windows, so that fits compile fast."""

import csv
import json
import os
import re
from pathlib import Path

import jax.numpy as jnp
import numpy as np
import pytest
from astropy.table import Table
from astropy.wcs import WCS
from matplotlib.image import imread

from distax import DistaxWarning, Sensor, make_targets, render
from distax.cli.main import main
from distax.cli.unmix import autosave, runner
from distax.cli.unmix.answers import Record
from distax.frames import Flag, FramePrior, FrameUnmixer
from distax.imaging.psf_grid import PsfGrid
from distax.io.sensor_file import write_sensor

fits = pytest.importorskip("astropy.io.fits")
REFERENCE = Path(__file__).parents[2] / "reference"
SMALL = ["--prior.max-targets", "2", "--prior.cluster", "1.0"]


@pytest.fixture(scope="module")
def frame():
    position = jnp.float32([[20.3, 30.2], [50.1, 12.4]])
    ideal = render(make_targets(position, jnp.float32([400.0, 600.0])), Sensor(height=64, width=48))
    noise = 2.0 * np.random.default_rng(5).standard_normal((64, 48))
    return (np.asarray(ideal) + 100 + noise).astype(np.float32)


@pytest.fixture(scope="module")
def file(frame, tmp_path_factory):
    header = fits.Header()
    header.update(CTYPE1="RA---TAN", CTYPE2="DEC--TAN", CRVAL1=150.0, CRVAL2=2.0, BUNIT="adu")
    header.update(CRPIX1=1.0, CRPIX2=1.0, CDELT1=-0.001, CDELT2=0.002, SATURATE=250.0)
    path = tmp_path_factory.mktemp("frames") / "frame.fits"
    fits.PrimaryHDU(frame, header).writeto(path)
    return path


@pytest.fixture(scope="module")
def found(frame):
    sensor = Sensor(saturation=250.0, bit_depth=None)
    return FrameUnmixer(sensor=sensor, prior=FramePrior(max_targets=2, cluster=1.0))(frame)


def test_table_csv_json_and_figure_say_what_is_in_the_frame(file, found, tmp_path, capsys):
    outputs = [f"--{kind}={tmp_path / f'a.{kind}'}" for kind in ("json", "csv")]
    main(["unmix", str(file), *SMALL, *outputs, "--figure", str(tmp_path / "a.png")])
    (answer,) = json.loads((tmp_path / "a.json").read_text())["images"]
    targets = answer.pop("targets")
    assert len(targets) == len(found.blob) >= 2
    position = np.array([[target["row"], target["column"]] for target in targets])
    np.testing.assert_allclose(position, found.targets.position, atol=1e-4)
    dec = np.array([target["dec"] for target in targets])
    np.testing.assert_allclose(dec, 2.0 + 0.002 * position[:, 0], atol=1e-6)
    assert [target["blob"] for target in targets] == found.blob.tolist()
    assert all("clipped" in target["flags"] for target in targets)
    assert answer["background"] == pytest.approx(100, abs=0.5)
    assert answer["noise"] == pytest.approx(2, rel=0.1)
    about = {"file": str(file), "image": 0, "height": 64, "width": 48, "unit": "adu", "blobs": 2}
    assert about.items() <= answer.items()
    with (tmp_path / "a.csv").open() as text:
        rows = list(csv.DictReader(text))
    assert [float(row["row"]) for row in rows] == position[:, 0].tolist()
    assert [row["flags"].split() for row in rows] == [target["flags"] for target in targets]
    table = capsys.readouterr().out
    assert f"{position[0, 0]:.3f} ±" in table
    assert f"{dec[0]:.6f}" in table
    assert imread(tmp_path / "a.png").shape[1] == 1800


def test_table_residual_and_report_of_a_frame(file, frame, found, tmp_path):
    paths = {name: tmp_path / name for name in ("a.ecsv", "a.fits", "a.html")}
    outputs = zip(("--table", "--residual", "--report"), map(str, paths.values()), strict=True)
    main(["unmix", str(file), *SMALL, *(part for pair in outputs for part in pair)])
    assert sorted(path.name for path in tmp_path.iterdir()) == sorted(paths)
    table = Table.read(paths["a.ecsv"])
    np.testing.assert_allclose(
        np.stack([table["row"], table["column"]], axis=-1), found.targets.position, atol=1e-4
    )
    assert table["blob"].tolist() == found.blob.tolist()
    assert str(table["intensity"].unit) == "adu"
    assert table.meta["METHOD"] == "refine"
    assert float(table.meta["THRESH"]) == pytest.approx(found.threshold, rel=1e-3)
    with fits.open(paths["a.fits"]) as (hdu,):
        far = np.s_[25:45, 20:40]
        assert hdu.header["BUNIT"] == "adu"
        assert np.std(hdu.data[far] - frame[far]) < 0.2
        assert np.mean(hdu.data[far]) == pytest.approx(0, abs=0.3)
        ra, dec = WCS(hdu.header).all_pix2world(table["column"], table["row"], 0)
    np.testing.assert_allclose(ra, table["ra"], rtol=1e-12)
    np.testing.assert_allclose(dec, table["dec"], rtol=1e-12)
    text = paths["a.html"].read_text()
    assert f"<td>{float(table['row'][0]):.3f}</td>" in text
    (content,) = re.findall(r'<script type="application/json">(.*?)</script>', text)
    content = json.loads(content)
    np.testing.assert_allclose(content["values"]["row"], table["row"], rtol=1e-8)
    (view,) = content["views"]
    assert view["rows"] == list(range(len(table)))
    assert view["extent"] == [64, 48]
    assert len(view["names"]) == 2
    # The frame, and the data, the model and the residual of its blobs.
    assert text.count("<img ") == 4


def test_outputs_that_cannot_be_made_are_errors_at_once(file, tmp_path, capsys):
    np.save(tmp_path / "images.npy", np.zeros((1, 11, 11)))
    images = str(tmp_path / "images.npy")
    for arguments, message in (
        (["--table=a.txt"], "known are .ecsv, .fits"),
        (["--residual=a.png"], "known are .fits, .npy"),
        (["--figure=a"], "known are .png, .pdf, .svg"),
        ([images, "--residual=a.npy"], "--residual takes one frame"),
    ):
        with pytest.raises(SystemExit, match=message):
            main(["unmix", str(file), *arguments])
    with pytest.raises(SystemExit, match="1 of 1 files"):
        main(["unmix", images, f"--residual={tmp_path / 'a.npy'}"])
    assert "image 0, an image of the sensor's size has no residual" in capsys.readouterr().err
    assert [path.name for path in tmp_path.iterdir()] == ["images.npy"]


def test_a_frame_whose_answer_is_known_gives_its_residual_and_pictures_again(
    file, tmp_path, monkeypatch
):
    kinds = {"residual": "fits", "figure": "png", "table": "ecsv", "json": "json"}
    for run in ("whole", "again"):
        (tmp_path / run).mkdir()
    outputs = {
        run: [f"--{kind}={tmp_path / run / f'a.{suffix}'}" for kind, suffix in kinds.items()]
        for run in ("whole", "again")
    }
    main(["unmix", str(file), *SMALL, *outputs["whole"]])
    main(["unmix", str(file), *SMALL, outputs["again"][-1]])
    main(["unmix", str(file), *SMALL, *outputs["again"], "--resume"])
    for suffix in kinds.values():
        whole, again = (tmp_path / run / f"a.{suffix}" for run in ("whole", "again"))
        assert whole.read_bytes() == again.read_bytes(), suffix
    # With nothing to draw, what is finished is not even opened.
    monkeypatch.setattr("distax.cli.unmix.runner.open_frames", None)
    main(["unmix", str(file), *SMALL, outputs["again"][-1], "--resume"])


def test_frames_and_images_are_answered_side_by_side(file, frame, tmp_path, capsys):
    np.save(tmp_path / "images.npy", np.zeros((2, 11, 11)))
    np.save(tmp_path / "frames.npy", np.stack([frame, np.full_like(frame, 7)]))
    names = [str(tmp_path / "images.npy"), str(tmp_path / "frames.npy")]
    options = [*SMALL, "--method", "refine", "--figure", str(tmp_path / "a.png")]
    with pytest.raises(SystemExit, match="distax: 1 of 2 files could not be unmixed"):
        main(["unmix", *names, *options, f"--csv={tmp_path / 'a.csv'}"])
    captured = capsys.readouterr()
    assert "frames.npy: image 1, the background does not vary" in captured.err
    assert captured.out.count("no target") == 2
    with (tmp_path / "a.csv").open() as text:
        header, *rows = csv.reader(text)
    assert {"blob", "flags", "trusted", "count_probability"} < set(header)
    assert {row[0] for row in rows} == {names[1]}
    picture = imread(tmp_path / "a.png")
    assert picture.shape[:2] == (round(120 * (6.2 + 2 * 3.1)), 1800)
    # The frame fills its rows; the images below are narrower, and black.
    above, below = picture[:744, :, :3], picture[744:, :, :3]
    assert (above[:, 1480:] < 1).any()
    assert (below[:, 1480:] == 1).all()
    assert (below[:, :1464] == 0).all(axis=-1).mean() > 0.2


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--checkpoint", "fista"], "a checkpoint unmixes images of its sensor's size only"),
        (["--extension", "SCI"], "no extension 'SCI'"),
    ],
)
def test_what_frames_cannot_have_is_an_error(file, options, message, capsys):
    with pytest.raises(SystemExit, match="1 of 1 files could not be unmixed"):
        main(["unmix", str(file), *options])
    assert message in capsys.readouterr().err


def test_a_sensors_file_describes_the_camera(frame, found, tmp_path, capsys):
    write_sensor(tmp_path / "sensor.toml", Sensor(saturation=250.0, bit_depth=None))
    np.save(tmp_path / "frame.npy", frame)
    arguments = ["unmix", str(tmp_path / "frame.npy"), "--sensor", str(tmp_path / "sensor.toml")]
    main([*arguments, *SMALL, "--json", str(tmp_path / "a.json")])
    (answer,) = json.loads((tmp_path / "a.json").read_text())["images"]
    rows = [target["row"] for target in answer["targets"]]
    np.testing.assert_allclose(rows, found.targets.position[:, 0], atol=1e-3)
    for option, value in (("saturation", "900"), ("sigma", "0.5")):
        with pytest.raises(
            SystemExit, match=f"--sensor and --frame.{option} both describe the cam"
        ):
            main([*arguments, f"--frame.{option}", value])


def test_a_psf_that_varies_is_for_frames_only(frame, tmp_path, capsys):
    sigmas = ((0.5, 0.5), (0.5, 0.5), (0.5, 0.5), (0.5, 0.5001))
    grid = PsfGrid((0.0, 63.0), (0.0, 47.0), sigmas)
    write_sensor(tmp_path / "s.toml", Sensor(saturation=250.0, bit_depth=None, psf_grid=grid))
    for name, pixels in (("frame", frame), ("images", frame[None, :11, :11])):
        np.save(tmp_path / f"{name}.npy", pixels)
    options = ["--sensor", str(tmp_path / "s.toml"), *SMALL]
    main(["unmix", str(tmp_path / "frame.npy"), *options, "--json", str(tmp_path / "a.json")])
    assert "PSF sigma 0.5 to 0.5001 px over the frame, as given; median" in capsys.readouterr().err
    record = json.loads((tmp_path / "a.json").read_text())
    rows = [target["row"] for target in record["images"][0]["targets"]]
    one = FrameUnmixer(
        sensor=Sensor(saturation=250.0, bit_depth=None),
        prior=FramePrior(max_targets=2, cluster=1.0),
        method="refine",
    )
    np.testing.assert_allclose(rows, one(frame).targets.position[:, 0], atol=5e-3)
    assert record["assumed"][0]["sensor"]["psf_grid"]["rows"] == [0.0, 63.0]
    with pytest.raises(SystemExit, match=r"distax: the sensor's PSF varies .* unmix whole frames"):
        main(["unmix", str(tmp_path / "images.npy"), *options])


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--frame.sigma", "0"], "--frame: sigma must be greater than 0, got 0.0"),
        (["--frame.bit-depth", "2000"], "--frame: bit_depth must be at most 64, got 2000"),
        (["--frame.read-noise", "nan"], "--frame: read_noise must be a finite number, got nan"),
        (["--frame.box", "3"], "--frame: box must be at least 16 pixels, got 3"),
        (["--frame.false-blobs", "inf"], "--frame: false_blobs must be a finite number, got inf"),
        (["--prior.max-targets", "0"], "--prior: max_targets must be greater than 0, got 0"),
        (["--prior.max-intensity", "nan"], "--prior: max_intensity must be a finite number"),
        (["--prior.min-intensity", "300"], "--prior: max_intensity lies below min_intensity: 250"),
        (["--prior.cluster", "0.1"], "--prior: 5 targets at least .* raise cluster or lower max_t"),
        (["--threshold", "nan"], "--threshold is for grid models"),
        (
            ["--checkpoint", "fista", "--threshold", "nan"],
            "threshold must be a finite number or None, got nan",
        ),
    ],
)
def test_options_out_of_range_are_named_before_a_file_is_read(options, message, capsys):
    with pytest.raises(SystemExit, match=message):
        main(["unmix", "not there.png", *options])
    assert capsys.readouterr().err == ""


def test_a_prior_that_frames_cannot_have_ends_the_command(file, capsys):
    with pytest.raises(SystemExit, match="--prior: give both min_intensity and max_intensity"):
        main(["unmix", str(file), "--prior.min-intensity", "9"])
    assert capsys.readouterr().err == ""


def test_options_of_frames_without_a_frame_are_warned_of(tmp_path):
    np.save(tmp_path / "images.npy", np.full((1, 11, 11), 9.0))
    with pytest.warns(DistaxWarning, match=r"--frame.sigma had no effect: no file holds a frame"):
        main(["unmix", str(tmp_path / "images.npy"), "--frame.sigma", "0.7", "--method", "refine"])


@pytest.mark.parametrize(
    ("name", "options", "blobs", "line"),
    [
        ("wide_psf", ["--frame.sigma", "2"], 2, "sigma 2 px as given: 2 isolated bright blobs"),
        ("stars_sigma1.30", [], 16, "sigma 1.30"),
    ],
)
def test_the_assumed_psf_is_one_line_and_in_the_json(name, options, blobs, line, tmp_path, capsys):
    output = tmp_path / "a.json"
    main(["unmix", str(REFERENCE / f"{name}.fits"), *SMALL, *options, f"--json={output}"])
    captured = capsys.readouterr().err
    (said,) = [text for text in captured.splitlines() if "PSF" in text]
    assert line in said
    record = json.loads(output.read_text())
    (answer,) = record["images"]
    assert answer["blobs"] == blobs <= len(answer["targets"]) <= blobs + 1
    sigma = answer["psf"]["sigma"]
    assert sigma == pytest.approx(2.0 if options else 1.3, rel=0.02)
    assert answer["psf"]["source"] == ("given" if options else "measured")
    assert record["assumed"][0]["sensor"]["sigma"] == sigma
    assert answer["psf"]["misfit"] == pytest.approx(1.0, abs=0.1)


def test_a_contradicted_sigma_is_warned_of_in_one_line():
    file = str(REFERENCE / "stars_sigma1.30.fits")
    with pytest.warns(DistaxWarning, match=r"16 of 16 .* sigma 1\.30.*--frame\.sigma") as caught:
        main(["unmix", file, *SMALL, "--frame.sigma", "0.5"])
    assert len(caught) == 1


def test_fast_says_what_its_network_does_not_know_about_a_frame(file):
    with pytest.raises(SystemExit, match="prior's max_intensity to its min_intensity is 50"):
        main(["unmix", str(file), "--method", "fast"])


def test_answers_are_saved_as_they_come(frame, monkeypatch, tmp_path):
    monkeypatch.setattr(autosave, "_EVERY", 0.0)
    monkeypatch.setattr(autosave, "_SHARE", 0.0)
    write, seen = Record.write, []

    def watched(record, path):
        write(record, path)
        states = list(json.loads(path.read_text())["files"].values())
        seen.append((len(record.images), states.count("finished")))

    monkeypatch.setattr(Record, "write", watched)
    files = [str(tmp_path / f"{number}.npy") for number in range(3)]
    for file in files:
        np.save(file, frame)
    main(["unmix", *files, *SMALL, "--json", str(tmp_path / "a.json")])
    # The last image of a file is saved before the file counts as finished.
    assert seen == [(1, 0), (2, 1), (3, 2), (3, 3)]


def test_a_pipe_gets_the_answers_once(frame, monkeypatch, tmp_path):
    monkeypatch.setattr(autosave, "_EVERY", 0.0)
    monkeypatch.setattr(autosave, "_SHARE", 0.0)
    files = [str(tmp_path / f"{number}.npy") for number in range(3)]
    for file in files:
        np.save(file, frame)
    ours, theirs = os.pipe()
    with os.fdopen(ours) as reader:
        main(["unmix", *files, *SMALL, "--json", f"/dev/fd/{theirs}"])
        os.close(theirs)
        assert set(json.load(reader)["files"].values()) == {"finished"}


def test_the_best_and_the_trusted_targets_are_kept(file, found, tmp_path, capsys):
    def rows(*options):
        output = tmp_path / "kept.json"
        main(["unmix", str(file), *SMALL, *options, f"--json={output}"])
        (answer,) = json.loads(output.read_text())["images"]
        assert answer["blobs"] == len(found.blobs.pixel)
        return [target["row"] for target in answer["targets"]]

    position, score = found.targets.position, found.targets.score
    unsure = (found.flags & int(Flag.UNSURE)) > 0
    first = np.lexsort((-score, unsure))[0]
    np.testing.assert_allclose(rows("--frame.best", "1"), position[first, :1], atol=1e-3)
    least = float(np.mean(score))
    kept = position[score >= least, 0]
    np.testing.assert_allclose(rows("--frame.min-score", str(least)), kept, atol=1e-3)
    np.testing.assert_allclose(rows("--frame.trusted-only"), position[~unsure, 0], atol=1e-3)
    with pytest.raises(SystemExit, match="--frame: best must be greater than 0, got 0"):
        main(["unmix", str(file), "--frame.best", "0"])
    with pytest.raises(
        SystemExit, match="--frame: min_score must lie between 0 and 1, as scores do, got -1"
    ):
        main(["unmix", str(file), "--frame.min-score", "-1"])


def test_a_partly_flat_frame_is_said_so_in_one_line(frame, tmp_path, capsys):
    half = frame.copy()
    half[:, :20] = 255.0
    np.save(tmp_path / "half.npy", half)
    with pytest.warns(DistaxWarning, match="46% of the frame is flat .* columns 0 to 21") as caught:
        main(["unmix", str(tmp_path / "half.npy"), *SMALL])
    assert len(caught) == 1
    assert "30.2" in capsys.readouterr().out


def test_equal_warnings_of_two_images_are_told_of_both(frame, tmp_path):
    half = frame.copy()
    half[:, :20] = 255.0
    np.save(tmp_path / "half.npy", np.stack([half, half]))
    with pytest.warns(DistaxWarning) as caught:
        main(["unmix", str(tmp_path / "half.npy"), *SMALL])
    lines = [str(one.message) for one in caught]
    assert [line.partition("46% of the frame is flat")[0] for line in lines] == [
        f"{tmp_path / 'half.npy'}: image {number}, " for number in (0, 1)
    ]


def test_a_fault_in_one_file_costs_no_answer_to_others(frame, monkeypatch, tmp_path, capsys):
    unmix = runner.Runner._unmix_frame

    def faulty(self, source, content):
        if source[0].name == "1.npy":
            raise ZeroDivisionError("division by zero")
        unmix(self, source, content)

    monkeypatch.setattr(runner.Runner, "_unmix_frame", faulty)
    files = [str(tmp_path / f"{number}.npy") for number in range(3)]
    for file in files:
        np.save(file, frame)
    with pytest.raises(SystemExit, match="1 of 3 files could not be unmixed"):
        main(["unmix", *files, *SMALL, "--json", str(tmp_path / "a.json")])
    record = json.loads((tmp_path / "a.json").read_text())
    assert list(record["files"].values()) == ["finished", "failed", "finished"]
    assert len(record["images"]) == 2
    error = capsys.readouterr().err
    assert (
        "1.npy: image 0, could not be unmixed because of a fault in distax (ZeroDivisionError: div"
        in error
    )
