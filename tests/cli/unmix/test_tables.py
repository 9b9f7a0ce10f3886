"""Tables of made-up answers, so that nothing needs to be unmixed."""

import csv
import io
from dataclasses import asdict, replace
from pathlib import Path

import numpy as np
import pytest
from astropy.table import Table

from distax import DistaxError, Sensor, __version__
from distax.cli.unmix.answers import Answer, FrameAnswer, FrameTarget, Target
from distax.cli.unmix.tables import (
    MOST_PRINTED,
    MOST_ROWS,
    Provenance,
    print_table,
    to_csv,
    write_table,
)
from distax.frames import FramePrior

STAR = Target(2.5, 3.25, 240.5, 0.9, row_std=0.01, column_std=0.02, intensity_std=3.5)
BARE = Target(5.0, 6.0, 77.0, 77.0, row_std=None, column_std=None, intensity_std=None)
IMAGES = [
    Answer("a.png", 0, (STAR,), trusted=False, count_probability=0.75, misfit=1.5),
    Answer("b.npy", 0, (), trusted=True, count_probability=1.0, misfit=0.5),
    Answer("b.npy", 1, (BARE,), trusted=None, count_probability=None, misfit=None),
]
IN_FRAME = FrameTarget(
    **asdict(STAR),
    blob=4,
    flags=("clipped", "unsure"),
    misfit=0.9,
    count_probability=0.8,
    ra=150.25,
    dec=-2.5,
    point_probability=0.75,
)
PROVENANCES = [
    Provenance("refine", Sensor(sigma=(0.5, 0.6)), FramePrior(), 5.25),
    Provenance("fast", Sensor(), None, None),
]


def frame(unit, *targets):
    return FrameAnswer(
        *("c.fits", 0, targets, 64, 48, unit),
        **{"saturation": None, "background": 100.0, "noise": 2.0, "threshold": 5.25, "blobs": 5},
    )


@pytest.fixture(params=["a.ecsv", "a.fits"])
def path(request, tmp_path):
    return tmp_path / request.param


def written(path, answers):
    write_table(path, answers, Provenance.header(PROVENANCES))
    return Table.read(path)


@pytest.mark.parametrize(
    ("answers", "last"),
    [(IMAGES, "remark"), (IMAGES[1:], "score"), ([frame("", IN_FRAME)], "flags")],
)
def test_every_printed_column_has_a_heading(answers, last, capsys):
    print_table(answers)
    heading = capsys.readouterr().out.splitlines()[1]
    assert [cell.strip() for cell in heading.strip("┃").split("┃")][-1] == last


def printed(capsys):
    """Returns the rows of the printed table as lists of cells, and the text below it."""
    text = capsys.readouterr().out
    rows = [line.strip("│").split("│") for line in text.splitlines() if line.startswith("│")]
    return [[cell.strip() for cell in row] for row in rows], text.rpartition("┘")[2].strip()


def many(count, **more):
    """Targets whose scores rise from the first to the last; every third has a flag."""
    flags = {0: ("unsure",), 1: (), 2: ("crowded",)}
    about = {"row_std": None, "column_std": None, "intensity_std": None, "blob": 0}
    rest = {"misfit": 1.0, "count_probability": 1.0, "ra": None, "dec": None} | about | more
    return [
        FrameTarget(
            row=float(k), column=0.0, intensity=9.0, score=k / count, flags=flags[k % 3], **rest
        )
        for k in range(count)
    ]


def test_a_few_targets_are_printed_in_their_order(capsys):
    print_table([frame("", *many(MOST_ROWS))])
    rows, below = printed(capsys)
    assert [row[2] for row in rows] == [f"{k:.3f}" for k in range(MOST_ROWS)]
    assert below == ""


def test_of_many_targets_the_most_trustworthy_are_printed_and_the_rest_is_counted(capsys):
    print_table([frame("", *many(75)), *IMAGES])
    rows, below = printed(capsys)
    assert [row[2] for row in rows[:20]] == [f"{k:.3f}" for k in range(73, 13, -3)]
    assert [row[0] for row in rows[20:]] == ["a.png", "b.npy", "b.npy"]
    assert below.startswith("and 55 more: --csv FILE or --json FILE writes all ")


def test_targets_in_doubt_follow_and_images_without_targets_come_last(capsys):
    doubted = Answer("a.npy", 0, (STAR,) * 19, trusted=False, count_probability=1.0, misfit=9.0)
    empty = replace(IMAGES[1], file="a.npy", image=1)
    sure = replace(doubted, image=2, targets=(replace(STAR, score=0.1),), trusted=True)
    print_table([doubted, empty, sure], written=Path("all.csv"))
    rows, below = printed(capsys)
    assert [row[1] for row in rows] == ["2"] + ["0"] * 19
    assert below.startswith("and 1 more: all.csv has all ")


def test_the_whole_table_is_short_with_many_files(capsys):
    print_table([replace(IMAGES[0], file=f"{number}.png") for number in range(130)])
    rows, below = printed(capsys)
    assert len(rows) == MOST_PRINTED
    assert below.startswith("and 30 more: ")


def test_a_files_name_is_no_markup(capsys):
    print_table([replace(IMAGES[0], file="[red]a[/red].png")])
    ((name, *_),), _ = printed(capsys)
    assert name == "[red]a[/red].png"


def test_a_frames_targets_read_back_with_units_and_header(path):
    table = written(path, [frame("adu", IN_FRAME)])
    (row,) = table
    expected = asdict(IN_FRAME) | {"flags": "clipped unsure", "file": "c.fits", "image": 0}
    assert {name: row[name] for name in table.colnames} == expected
    units = {name: str(table[name].unit) for name in table.colnames if table[name].unit}
    assert units == {
        **dict.fromkeys(("row", "column", "row_std", "column_std"), "pix"),
        **{"intensity": "adu", "intensity_std": "adu", "ra": "deg", "dec": "deg"},
    }
    assert table.meta["DISTAX"] == __version__
    assert table.meta["METHOD"] == "refine; fast"
    assert table.meta["PRIOR"] == str(FramePrior())
    assert table.meta["THRESH"] == "5.25"
    assert table.meta["SENSOR"] == f"{PROVENANCES[0].sensor}; {PROVENANCES[1].sensor}"


def test_what_is_not_known_of_an_images_target_is_masked(path):
    table = written(path, IMAGES)
    assert table["file"].tolist() == ["a.png", "b.npy"]
    assert table["image"].tolist() == [0, 1]
    np.testing.assert_array_equal(table["intensity"], [240.5, 77.0])
    assert str(table["intensity"].unit) == "ct"
    assert table["row_std"][0] == 0.01
    assert table["misfit"][0] == 1.5
    assert table["count_probability"][0] == 0.75
    flags = table["flags"]
    assert (flags.filled("") if hasattr(flags, "filled") else flags).tolist() == ["unsure", ""]
    for name in ("row_std", "column_std", "intensity_std", "misfit", "count_probability"):
        assert table[name].mask.tolist() == [False, True], name
    assert all(table[name].mask.all() for name in ("blob", "ra", "dec"))


def test_a_table_without_targets_has_the_same_columns(path):
    empty, full = written(path, [frame("adu")]), written(path, [frame("adu", IN_FRAME)])
    assert len(empty) == 0
    assert empty.colnames == full.colnames
    assert [empty[name].dtype.kind for name in empty.colnames] == [
        full[name].dtype.kind for name in full.colnames
    ]


@pytest.mark.filterwarnings("ignore::astropy.units.UnitsWarning")
def test_a_unit_that_astropy_does_not_know_is_kept(path):
    table = written(path, [frame("DN (corrected)", IN_FRAME)])
    assert str(table["intensity"].unit) == "DN (corrected)"


def test_units_that_differ_and_unknown_suffixes_are_errors(tmp_path):
    with pytest.raises(DistaxError, match="intensities are in adu and ct"):
        write_table(tmp_path / "a.ecsv", [*IMAGES, frame("adu")], {})
    with pytest.raises(DistaxError, match=r"suffix '.txt'; known are .ecsv, .fits"):
        write_table(tmp_path / "a.txt", IMAGES, {})
    assert not list(tmp_path.iterdir())


def test_text_that_fits_cannot_hold_is_an_error_and_ecsv_holds_it(tmp_path):
    answer = Answer("bild_ä.png", 0, (STAR,), trusted=True, count_probability=1.0, misfit=1.0)
    with pytest.raises(DistaxError, match=r"write it as .ecsv"):
        write_table(tmp_path / "a.fits", [answer], {})
    assert not list(tmp_path.iterdir())
    assert written(tmp_path / "a.ecsv", [answer])["file"].tolist() == ["bild_ä.png"]


@pytest.mark.parametrize("name", ["=1+1.npy", "+a.npy", "-a.npy", "@a.npy", "\t=a.npy"])
def test_no_name_of_a_file_is_a_formula_in_a_spreadsheet(name):
    (row,) = csv.DictReader(io.StringIO(to_csv([replace(IMAGES[0], file=name)])))
    assert row["file"] == f"./{name}"
    assert row["row"] == "2.5"


def test_names_of_files_do_not_control_the_terminal(capsys):
    print_table([replace(IMAGES[0], file="\x1b[31m[red]a\nb.npy")])
    assert r"\x1b[31m[red]a\nb.npy" in capsys.readouterr().out
