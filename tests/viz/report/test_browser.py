"""The report's script in a browser: it is skipped only if none is installed."""

from dataclasses import replace

import numpy as np
import pytest

from distax import Sensor, make_targets
from distax.frames import Flag
from distax.viz.report import Column, Section, frame_view, image_views, page
from tests.browser import PROGRAM, open_browser
from tests.viz.made_up import answer, picture, scattered

pytestmark = pytest.mark.skipif(PROGRAM is None, reason="no Chromium or Chrome is installed")

NAME = "<img src=x onerror=alert(1)>.npy"
COUNT, SHAPE = 250, (200, 300)
COLUMNS = {
    "row": Column("row / px", ".3f"),
    "column": Column("column / px", ".3f"),
    "blob": Column("blob", "d"),
    "flags": Column("flags"),
}
SELECTED = "document.querySelector('tr[aria-selected=true]')"
TITLE = "document.querySelector('.closeups strong').textContent"
REPORT = "reports[0]"


def section(found, name, closeups):
    view = frame_view(picture(found, name, closeups))
    places = found.targets.position.tolist()
    rows = [
        {"row": row, "column": column, "blob": blob, "flags": " ".join(Flag(flag).names)}
        for (row, column), blob, flag in zip(
            places, found.blob.tolist(), found.flags.tolist(), strict=True
        )
    ]
    return Section(name, {"Sensor": name}, [replace(view, rows=range(len(rows)))], COLUMNS, rows)


@pytest.fixture(scope="module")
def found():
    return scattered(COUNT, SHAPE, flags=[Flag.UNSURE] * 50 + [0] * (COUNT - 50))


@pytest.fixture(scope="module")
def path(found, tmp_path_factory):
    """A report on a frame of 250 blobs, and one without targets."""
    empty = answer(np.zeros((0, 2)), [], np.zeros((0, 2)), (20, 20))
    sections = [section(found, NAME, COUNT), section(empty, "empty.npy", 3)]
    path = tmp_path_factory.mktemp("report") / f"{NAME}.html"
    path.write_text(page("Targets", {"Files": "2"}, sections), encoding="utf-8")
    return path


@pytest.fixture(scope="module")
def browser(tmp_path_factory):
    with open_browser(tmp_path_factory.mktemp("browser")) as browser:
        yield browser


@pytest.fixture
def opened(browser, path):
    browser.open(path)
    yield browser
    # No error, nothing that the policy refuses, no request, and no dialog of a file's name.
    assert browser.messages == []


def cells(browser, line=SELECTED):
    return browser.evaluate(f"[...{line}.cells].map((cell) => cell.textContent)")


def cell_place(browser, row):
    """Returns the place of a row's first cell, and moves it into view."""
    return browser.place(f"tr[data-row='{row}'] td")


def on_overview(browser, target):
    """Returns the point of the window at which a target is drawn."""
    left, top = browser.place(".overview canvas", 0, 0)
    x, y = browser.evaluate(
        f"(() => {{ const {{ overview, content }} = {REPORT}; const plot = overview.plot;"
        f"const [row, column] = {REPORT}.position(content.views[0], {target});"
        "return [plot.x(column), plot.y(row)]; })()"
    )
    return left + x, top + y


def status(browser):
    return browser.evaluate("document.querySelector('.wide').previousSibling.textContent")


def test_it_opens_with_the_most_interesting_blob_and_names_are_text(opened, found):
    # The blobs are equally interesting but for flags; the first 50 are unsure.
    assert opened.evaluate(TITLE) == "Blob 50: 1 target"
    assert cells(opened)[2:] == ["50", ""]
    assert opened.evaluate("document.querySelector('h2').textContent") == NAME
    assert opened.evaluate("document.querySelectorAll('img:not(.sheet)').length") == 0
    assert status(opened).endswith("1–100 of 250 targets")
    marked = opened.evaluate("document.querySelector('.overview output').textContent")
    assert marked == "Targets marked: 250."


def test_a_click_on_a_row_shows_its_blob(opened, found):
    opened.click(*cell_place(opened, 7))
    assert opened.evaluate(TITLE) == "Blob 7: 1 target"
    assert opened.evaluate(f"{REPORT}.closeups.number") == 200 + 7
    assert opened.evaluate(f"{REPORT}.overview.report.selected.target") == 7
    assert opened.evaluate(f"{SELECTED}.dataset.row") == "7"


def test_a_click_on_a_target_selects_its_row_on_its_page(opened, found):
    row, column = found.targets.position[222]
    opened.click(*on_overview(opened, 222))
    assert cells(opened) == [f"{row:.3f}", f"{column:.3f}", "222", ""]
    assert opened.evaluate(TITLE) == "Blob 222: 1 target"
    assert status(opened).endswith("201–250 of 250 targets")
    line, table = (
        opened.evaluate(f"(({{top, bottom}}) => [top, bottom])({it}.getBoundingClientRect())")
        for it in (SELECTED, "document.querySelector('.wide')")
    )
    assert table[0] <= line[0] < line[1] <= table[1]


def test_the_wheel_zooms_about_the_pointer_a_drag_moves_and_a_button_shows_all(opened, found):
    middle = (np.array(SHAPE) - 1) / 2
    inner = int(np.argmin(np.abs(found.targets.position - middle).max(axis=1)))
    before = on_overview(opened, inner)
    opened.mouse("mouseWheel", *before, deltaX=0, deltaY=-1200)
    scale = f"{REPORT}.overview.plot.scale / {REPORT}.overview.leastScale"
    assert opened.evaluate(scale) == pytest.approx(np.exp(1.8), rel=1e-3)
    # The pointer is up to half a pixel from the target, and six times as far now.
    after = on_overview(opened, inner)
    assert after == pytest.approx(before, abs=3.5)
    opened.drag(before, (before[0] + 30, before[1] - 20))
    moved = after[0] + 30, after[1] - 20
    assert on_overview(opened, inner) == pytest.approx(moved, abs=1)
    # A drag selects nothing.
    assert opened.evaluate(f"{REPORT}.selected.target") == 50
    opened.click(*opened.place(".overview button[data-do=fit]"))
    assert opened.evaluate(scale) == 1


def test_keys_move_zoom_and_step_through_targets_in_the_order_of_trust(opened, found):
    opened.evaluate("document.querySelector('.overview canvas').focus()")
    for key in ("+", "+", "ArrowRight"):
        opened.key(key)
    plot = f"{REPORT}.overview.plot"
    assert opened.evaluate(f"{plot}.scale / {REPORT}.overview.leastScale") == pytest.approx(2.25)
    assert opened.evaluate(f"{plot}.centre.column") > (SHAPE[1] - 1) / 2
    opened.key("0")
    assert opened.evaluate(f"{plot}.centre") == {"row": 99.5, "column": 149.5}
    opened.key("n")
    assert cells(opened)[2] == "51"
    opened.key("p")
    opened.key("p")
    # Before the most trustworthy target is the least trustworthy one.
    assert cells(opened)[2:] == ["49", "unsure"]


def test_keys_move_the_selected_row_across_pages(opened):
    opened.click(*cell_place(opened, 98))
    opened.evaluate(f"{SELECTED}.focus()")
    for expected in ("99", "100", "101"):
        opened.key("ArrowDown")
        assert opened.evaluate("document.activeElement.dataset.row") == expected
    assert opened.evaluate(TITLE) == "Blob 101: 1 target"
    assert status(opened).endswith("101–200 of 250 targets")
    opened.key("End")
    assert cells(opened)[2] == "249"


def test_buttons_step_through_close_ups(opened):
    previous, following = (f".closeups button[data-do={name}]" for name in ("previous", "next"))
    assert opened.evaluate(f"document.querySelector('{previous}').disabled")
    opened.click(*opened.place(following))
    opened.click(*opened.place(following))
    assert (opened.evaluate(TITLE), cells(opened)[2]) == ("Blob 52: 1 target", "52")
    opened.click(*opened.place(previous))
    assert (opened.evaluate(TITLE), cells(opened)[2]) == ("Blob 51: 1 target", "51")


def first_column(browser):
    return browser.evaluate(
        "[...document.querySelector('tbody').rows].map((row) => Number(row.cells[0].textContent))"
    )


def test_a_click_on_a_head_sorts_all_pages_and_another_reverses(opened, found):
    rows = np.sort(found.targets.position[:, 0])
    opened.click(*opened.place("th button"))
    np.testing.assert_allclose(first_column(opened), rows[:100], atol=5e-4)
    opened.click(*opened.place("th button"))
    np.testing.assert_allclose(first_column(opened), rows[::-1][:100], atol=5e-4)
    assert opened.evaluate("document.querySelector('th').ariaSort") == "descending"


def test_the_filter_leaves_rows_that_hold_all_its_words_and_marks_only_these(opened):
    opened.evaluate(
        "(() => { const box = document.querySelector('input'); box.value = 'UNSURE 49';"
        "box.dispatchEvent(new Event('input')); })()"
    )
    shown = opened.evaluate("[...document.querySelector('tbody').rows].map((r) => r.textContent)")
    assert len(shown) >= 1
    assert all("49" in text and "unsure" in text for text in shown)
    assert opened.evaluate(f"{REPORT}.overview.drawn.length") == len(shown)
    assert status(opened).endswith(f"{len(shown)} targets (250 in all)")
    # What is selected elsewhere is shown in the table too.
    opened.click(*opened.place(".closeups button[data-do=next]"))
    assert cells(opened)[2] == "51"
    assert status(opened).endswith("1–100 of 250 targets")


def test_data_and_residual_are_drawn_in_their_colours(opened, found):
    """Reads pixels of the canvases back: data and model are grey, the other two have colours."""
    spread = opened.evaluate(
        "[...document.querySelectorAll('.panels canvas')].slice(0, 4).map((canvas) => {"
        "const pixels = canvas.getContext('2d').getImageData(70, 20, 70, 70).data;"
        "let most = 0; for (let i = 0; i < pixels.length; i += 4) {"
        "most = Math.max(most, Math.abs(pixels[i] - pixels[i + 2])); } return most; })"
    )
    data, targets, model, residual = spread
    assert data == model == 0
    assert targets > 200
    assert 20 < residual < 200


def test_text_is_readable_in_both_schemes_and_on_paper(browser, path):
    for dark in (False, True):
        browser.open(path, dark=dark)
        ink, paper = browser.evaluate(
            "['ink', 'paper'].map((name) =>"
            "getComputedStyle(document.documentElement).getPropertyValue(`--${name}`))"
        )
        ratio = contrast(ink, paper)
        assert ratio > 7, (dark, ratio)
        corner = browser.evaluate(
            "[...document.querySelector('canvas').getContext('2d').getImageData(1, 1, 1, 1).data]"
        )
        assert corner[:3] == list(bytes.fromhex(paper[1:]))


def contrast(one, other):
    """Returns the contrast ratio of two colours, as WCAG 2 defines it."""
    light = []
    for colour in (one, other):
        channels = np.array(list(bytes.fromhex(colour[1:]))) / 255
        linear = np.where(
            channels <= 0.04045, channels / 12.92, ((channels + 0.055) / 1.055) ** 2.4
        )
        light.append(linear @ [0.2126, 0.7152, 0.0722] + 0.05)
    return max(light) / min(light)


def test_a_narrow_window_has_no_sideways_scroll(browser, path):
    browser.open(path, width=400, height=800)
    assert browser.evaluate("document.documentElement.scrollWidth") <= 400


def test_a_row_of_another_frame_or_image_of_the_file_shows_that_one(browser, tmp_path):
    frames = [
        frame_view(picture(scattered(3 + number), f"frame {number}", closeups=2))
        for number in range(2)
    ]
    targets = make_targets(np.full((1, 1, 2), 5.0), np.full((1, 1), 200.0))
    (image,) = image_views(np.zeros((1, 11, 11), np.float32), targets, Sensor(), ["Image 2"])
    places = [
        *scattered(3).targets.position,
        *scattered(4).targets.position,
        (5.0, 5.0),
        (6.0, 6.0),
    ]
    rows = [{"row": float(row), "column": float(column)} for row, column in places]
    views = [
        replace(view, rows=rows)
        for view, rows in zip((*frames, image), (range(3), range(3, 7), [7]), strict=True)
    ]
    (tmp_path / "a.html").write_text(
        page("a", {}, [Section("a", {}, views, COLUMNS, rows)]), encoding="utf-8"
    )
    browser.open(tmp_path / "a.html")
    shown = (
        "[...document.querySelectorAll('figure:not([hidden]) strong')].map((a) => a.textContent)"
    )
    seen = []
    for row in (5, 6, 7, 8, 0):
        browser.click(*cell_place(browser, row))
        seen.append(browser.evaluate(shown))
    # The last two blobs of the second frame have no close-up, and the last row has no picture.
    assert seen == [
        ["frame 1", "Only more interesting blobs have close-ups"],
        ["frame 1", "Only more interesting blobs have close-ups"],
        ["Image 2: 1 target"],
        ["The report has no picture of this image"],
        ["frame 0", "Blob 0: 1 target"],
    ]
    assert browser.messages == []


def test_a_frame_without_targets_is_shown(opened):
    assert opened.evaluate("reports[1].closeups.all.length") == 0
    assert opened.evaluate("document.querySelectorAll('section')[1].textContent.includes('No tar')")
