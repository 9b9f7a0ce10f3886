import csv
import json

import jax
import numpy as np
import pytest
from PIL import Image

from distax import Unmixer
from distax.cli.main import main
from distax.scenes import simulate

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
    expected = [
        (str(path), number, *position, intensity, score)
        for image, (path, number) in enumerate([(one, 0), (two, 0), (two, 1)])
        for position, intensity, score, real in zip(
            np.asarray(found.position[image]).tolist(),
            np.asarray(found.intensity[image]).tolist(),
            np.asarray(found.score[image]).tolist(),
            found.mask[image],
            strict=True,
        )
        if real
    ]
    with (tmp_path / "a.csv").open() as file:
        rows = list(csv.reader(file))
    assert rows[0] == ["file", "image", "row", "column", "intensity", "score"]
    assert [(r[0], int(r[1]), *map(float, r[2:])) for r in rows[1:]] == expected
    answers = json.loads((tmp_path / "a.json").read_text())
    assert [(a["file"], a["image"]) for a in answers] == [
        (str(one), 0),
        (str(two), 0),
        (str(two), 1),
    ]
    assert [
        (a["file"], a["image"], *target.values()) for a in answers for target in a["targets"]
    ] == expected
    table = capsys.readouterr().out
    assert all(f"{row[2]:.3f}" in table and f"{row[4]:.1f}" in table for row in expected)


def test_an_image_without_targets_has_an_answer(tiny_run, tmp_path, capsys):
    np.save(tmp_path / "dark.npy", np.zeros((11, 11)))
    options = ["--checkpoint", str(tiny_run), "--json", str(tmp_path / "a.json")]
    main(["unmix", str(tmp_path / "dark.npy"), *options])
    assert "no target" in capsys.readouterr().out
    assert json.loads((tmp_path / "a.json").read_text())[0]["targets"] == []


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
    assert [a["file"] for a in json.loads((tmp_path / "a.json").read_text())] == [str(one)]


def test_no_files_is_an_error(tiny_run):
    with pytest.raises(SystemExit, match="distax: no image files given"):
        main(["unmix", "--checkpoint", str(tiny_run)])
