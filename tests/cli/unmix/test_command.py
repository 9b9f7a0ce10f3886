import csv
import json
import re

import jax
import numpy as np
import pytest
from astropy.table import Table
from PIL import Image

from distax import Sensor, Unmixer
from distax.cli.main import main
from distax.imaging.scenes import ScenePrior, simulate
from distax.runtime.files import check_outputs

THRESHOLD = "20"


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    """A PNG of one image, and an NPY of two."""
    folder = tmp_path_factory.mktemp("images")
    images = np.asarray(simulate(jax.random.key(4), 3)[0])
    Image.fromarray(images[0].astype(np.uint8)).save(folder / "one.png")
    np.save(folder / "two.npy", images[1:])
    return images, folder / "one.png", folder / "two.npy"


def test_table_csv_and_json_say_what_the_unmixer_finds(tiny_run, files, tmp_path, capsys):
    images, one, two = files
    main(
        [
            "unmix",
            str(one),
            str(two),
            "--checkpoint",
            str(tiny_run),
            "--threshold",
            THRESHOLD,
            "--json",
            str(tmp_path / "a.json"),
            "--csv",
            str(tmp_path / "a.csv"),
        ]
    )
    found = Unmixer.load(tiny_run, threshold=float(THRESHOLD))(images)
    assert found.mask.any()
    expected = expected_rows(found, [(one, 0), (two, 0), (two, 1)])
    header, *rows = read_csv(tmp_path / "a.csv")
    assert header == [
        *("file", "image", "row", "column", "intensity", "score"),
        *("row_std", "column_std", "intensity_std"),
        *("trusted", "count_probability", "misfit"),
    ]
    assert [(r[0], int(r[1]), *map(float, r[2:6])) for r in rows] == expected
    assert {value for row in rows for value in row[6:]} == {""}
    answers = json.loads((tmp_path / "a.json").read_text())["images"]
    assert [(a["file"], a["image"]) for a in answers] == [
        (str(one), 0),
        (str(two), 0),
        (str(two), 1),
    ]
    assert [
        (a["file"], a["image"], *list(target.values())[:4])
        for a in answers
        for target in a["targets"]
    ] == expected
    table = capsys.readouterr().out
    assert all(f"{row[2]:.3f}" in table and f"{row[4]:.1f}" in table for row in expected)


def test_a_method_that_knows_its_errors_states_them(files, tmp_path, capsys):
    images, _, two = files
    options = ["--csv", str(tmp_path / "a.csv"), "--json", str(tmp_path / "a.json")]
    main(["unmix", str(two), "--method", "refine", *options])
    found = Unmixer(method="refine")(images)
    spread = np.asarray(found.position_std)[1:][found.mask[1:]]
    rows = read_csv(tmp_path / "a.csv")[1:]
    stated = np.array([[float(value) for value in row[6:9]] for row in rows])
    np.testing.assert_allclose(stated[:, :2], spread, rtol=1e-5)
    np.testing.assert_allclose(stated[:, 2], found.intensity_std[1:][found.mask[1:]], rtol=1e-5)
    assert {row[9] for row in rows} == {"True"}
    answers = json.loads((tmp_path / "a.json").read_text())["images"]
    assert all(answer["trusted"] and answer["count_probability"] > 0.99 for answer in answers)
    assert f"± {stated[0, 0]:.3f}" in capsys.readouterr().out


def expected_rows(found, sources):
    """Returns file, image, row, column, intensity and score of every target."""
    return [
        (
            str(path),
            number,
            *found.position[image, slot].tolist(),
            float(found.intensity[image, slot]),
            float(found.score[image, slot]),
        )
        for image, (path, number) in enumerate(sources)
        for slot in np.flatnonzero(found.mask[image])
    ]


def read_csv(path):
    with path.open() as file:
        return list(csv.reader(file))


def test_an_image_without_targets_has_an_answer(tiny_run, tmp_path, capsys):
    np.save(tmp_path / "dark.npy", np.zeros((11, 11)))
    options = ["--checkpoint", str(tiny_run), "--json", str(tmp_path / "a.json")]
    main(["unmix", str(tmp_path / "dark.npy"), *options])
    assert "no target" in capsys.readouterr().out
    assert json.loads((tmp_path / "a.json").read_text())["images"][0]["targets"] == []


@pytest.mark.parametrize("suffix", ["png", "pdf", "svg"])
def test_a_figure_is_drawn(tiny_run, files, tmp_path, suffix):
    _, one, two = files
    path = tmp_path / f"figure.{suffix}"
    main(["unmix", str(one), str(two), "--checkpoint", str(tiny_run), "--figure", str(path)])
    if suffix == "png":
        with Image.open(path) as picture:
            pixels = np.asarray(picture.convert("RGB"))
        assert pixels.shape[0] > 2 * 300
        assert np.ptp(pixels) == 255
    else:
        assert path.stat().st_size > 10_000
    assert [p.name for p in tmp_path.iterdir()] == [path.name]


def test_a_report_escapes_a_files_name_and_shows_its_images(files, tmp_path):
    path = tmp_path / "<script>alert(1)<" / 'script>&".npy'
    path.parent.mkdir()
    np.save(path, files[0][1:])
    main(["unmix", str(path), "--method", "refine", "--report", str(tmp_path / "a.html")])
    text = (tmp_path / "a.html").read_text()
    assert "&lt;script&gt;alert(1)&lt;/script&gt;&amp;&#34;.npy</h2>" in text
    assert text.count("<script>") == 1
    # Data, model and residual of each image.
    assert text.count('src="data:image/png;base64,') == 2 * 3
    (content,) = re.findall(r'<script type="application/json">(.*?)</script>', text)
    content = json.loads(content)
    first, second = content["views"]
    assert [view["names"][0].partition(":")[0] for view in (first, second)] == [
        "Image 0",
        "Image 1",
    ]
    count = content["count"]
    assert [*first["rows"], *second["rows"]] == list(range(count))
    assert content["values"]["image"] == [0] * len(first["rows"]) + [1] * len(second["rows"])
    assert text.count("<td>") >= 8 * count


def test_a_bad_file_does_not_stop_the_others_and_fails_the_command(
    tiny_run, files, tmp_path, capsys
):
    images, one, _ = files
    np.save(tmp_path / "nan.npy", np.where(images[0] > 100, np.nan, images[0]))
    np.save(tmp_path / "small.npy", images[0, :5])
    bad = [str(tmp_path / name) for name in ("nan.npy", "small.npy", "none.png")]
    options = ["--checkpoint", str(tiny_run), "--json", str(tmp_path / "a.json")]
    with pytest.raises(SystemExit, match="distax: 3 of 4 files could not be unmixed"):
        main(["unmix", bad[0], str(one), *bad[1:], *options])
    captured = capsys.readouterr()
    lines = captured.err.splitlines()
    assert [line.split(": ")[1] for line in lines] == bad
    assert "image 0, pixel (" in lines[0]
    record = json.loads((tmp_path / "a.json").read_text())
    assert record["files"] == dict.fromkeys([bad[0], str(one), *bad[1:]], "failed") | {
        str(one): "finished"
    }
    assert [a["file"] for a in record["images"]] == [str(one)]


def test_without_answers_what_is_written_is_empty_and_no_figure_is_drawn(tmp_path, capsys):
    paths = {kind: tmp_path / f"a.{kind}" for kind in ("csv", "json", "fits", "html", "png")}
    options = ("--csv", "--json", "--table", "--report", "--figure")
    for path in paths.values():
        path.write_text("from an earlier run")
    outputs = [f"{option}={path}" for option, path in zip(options, paths.values(), strict=True)]
    with pytest.raises(SystemExit) as stop:
        main(["unmix", str(tmp_path / "none.png"), "--checkpoint", "fista", *outputs])
    assert str(stop.value) == (
        "distax: 1 of 1 files could not be unmixed; 1 of the output files could not be written"
    )
    assert f"distax: {paths['png']}: not drawn" in capsys.readouterr().err
    (header,) = read_csv(paths["csv"])
    assert header[:3] == ["file", "image", "row"]
    table = Table.read(paths["fits"])
    assert (len(table), table.colnames[:3]) == (0, ["file", "image", "row"])
    assert json.loads(paths["json"].read_text())["images"] == []
    assert "<dt>Files</dt><dd>0</dd>" in paths["html"].read_text()


@pytest.fixture
def lost(tmp_path, monkeypatch):
    """A folder that a file replaces after the outputs are checked, so that nothing is written."""

    def check_and_lose(outputs, inputs):
        check_outputs(outputs, inputs)
        (tmp_path / "lost").touch()

    monkeypatch.setattr("distax.runtime.files.check_outputs", check_and_lose)
    return tmp_path / "lost"


def test_a_file_that_cannot_be_written_does_not_stop_the_others(
    tiny_run, files, tmp_path, lost, capsys
):
    names = [str(lost / "a.json"), str(lost / "a.fits")]
    outputs = [f"--json={names[0]}", f"--table={names[1]}"]
    outputs += [f"--csv={tmp_path / 'a.csv'}", f"--figure={tmp_path / 'a.png'}"]
    with pytest.raises(SystemExit, match="distax: 2 of the output files could not be written"):
        main(["unmix", str(files[1]), "--checkpoint", str(tiny_run), *outputs])
    lines = capsys.readouterr().err.splitlines()
    assert [line.split(": ")[1] for line in lines] == names
    assert all(": cannot be written, as " in line for line in lines)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a.csv", "a.png", "lost"]


def test_a_stopped_run_has_its_status_whatever_cannot_be_written(lost, monkeypatch, capsys):
    def interrupted(path, extension):
        raise KeyboardInterrupt

    monkeypatch.setattr("distax.cli.unmix.runner.open_frames", interrupted)
    with pytest.raises(SystemExit) as stop:
        main(["unmix", "a.png", "--checkpoint=fista", f"--csv={lost / 'a.csv'}"])
    assert stop.value.code == 130
    unwritten, stopped = capsys.readouterr().err.splitlines()
    assert "a.csv: cannot be written" in unwritten
    assert stopped.startswith("distax: stopped: 0 of 1 files are finished")


def test_a_bad_image_in_a_stack_is_named_and_the_others_are_answered(files, tmp_path, capsys):
    images, _, _ = files
    np.save(tmp_path / "stack.npy", np.stack([images[0], images[1] + 300, images[2]]))
    options = ["--method", "refine", "--json", str(tmp_path / "a.json")]
    with pytest.raises(SystemExit, match="distax: 1 of 1 files could not be unmixed"):
        main(["unmix", str(tmp_path / "stack.npy"), *options])
    assert "stack.npy: image 1, pixel (0, 0) is 300, outside" in capsys.readouterr().err
    answers = json.loads((tmp_path / "a.json").read_text())["images"]
    assert [answer["image"] for answer in answers] == [0, 2]


def test_prior_options_apply_to_images(tmp_path):
    prior = ScenePrior(max_targets=1, min_intensity=100.0, max_intensity=150.0)
    images, truth = simulate(jax.random.key(7), 4, Sensor(), prior)
    np.save(tmp_path / "faint.npy", images)
    arguments = ["unmix", str(tmp_path / "faint.npy"), "--csv", str(tmp_path / "a.csv")]
    options = ["--prior.max-targets=1", "--prior.min-intensity=100", "--prior.max-intensity=150"]
    main([*arguments, *options, "--method", "refine"])
    rows = read_csv(tmp_path / "a.csv")[1:]
    position, intensity = (np.float32([row[part] for row in rows]) for part in (slice(2, 4), 4))
    np.testing.assert_allclose(position, truth.position[:, 0], atol=0.05)
    np.testing.assert_allclose(intensity, truth.intensity[:, 0], rtol=0.05)
    for other, remedy in (
        (["--method", "grid"], "or choose --method fast, refine or posterior"),
        (["--checkpoint", "fista"], "or replace --checkpoint by --method fast, refine or post"),
    ):
        with pytest.raises(SystemExit, match=f"can only use the prior of its training; .*{remedy}"):
            main([*arguments, *options, *other])


def test_no_files_is_an_error(tiny_run):
    with pytest.raises(SystemExit, match="distax: no image files given"):
        main(["unmix", "--checkpoint", str(tiny_run)])
