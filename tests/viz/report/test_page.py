"""The page as text, and its script in a browser if one is installed."""

import re
import shutil
import subprocess
from html.parser import HTMLParser

import numpy as np
import pytest

from distax.viz.report import Column, Picture, Section, page

EVIL = '<script>alert(1)</script>&".npy\udcff'
COLUMNS = {
    "row": Column("row / px", ".1f"),
    "ra": Column("RA / °", ".6f"),
    "flags": Column("flags"),
    "dec": Column("Dec / °"),
}
ROWS = [
    {"row": 9.04, "ra": None, "flags": "clipped", "dec": None},
    {"row": 10.0, "ra": 2.0, "flags": "", "dec": None},
    {"row": 9.01, "ra": 1.0, "flags": "clipped border", "dec": None},
]
PAGE = """<main>
<h1>Targets</h1>
<dl>
<dt>Files</dt><dd>1</dd>
</dl>
<section aria-labelledby="file-0">
<h2 id="file-0">a.npy</h2>
<dl>
<dt>Unit</dt><dd>adu</dd>
</dl>
<figure><img src="data:image/png;base64,iVBORw==" alt="d">
<figcaption>c</figcaption></figure>
<div class="wide" role="region" aria-label="Targets" tabindex="0"><table class="targets">\
<caption>Targets</caption>
<thead><tr><th scope="col">x / px</th><th scope="col">flag</th></tr></thead>
<tbody>
<tr><td data-value="2.0">2.0</td><td class="text">a&lt;b</td></tr>
<tr><td></td><td></td></tr>
</tbody></table></div>
</section>
</main>
"""
CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser")
in_a_browser = pytest.mark.skipif(CHROMIUM is None, reason="Chromium is not installed")


class Reader(HTMLParser):
    """Tags, their attributes, and the cells of rows, with whether a row is hidden."""

    def __init__(self, text):
        super().__init__()
        self.tags, self.attributes, self.cells, self.hidden = [], [], [], []
        self.in_cell = False
        self.feed(text)

    def handle_starttag(self, tag, attrs):
        self.tags.append(tag)
        self.attributes += attrs
        if tag == "tr":
            self.cells.append([])
            self.hidden.append("hidden" in dict(attrs))
        if tag in ("td", "th"):
            self.cells[-1].append("")
            self.in_cell = True

    def handle_endtag(self, tag):
        self.in_cell &= tag not in ("td", "th")

    def handle_data(self, data):
        if self.in_cell:
            self.cells[-1][-1] += data.strip()


@pytest.fixture(scope="module")
def text():
    picture = Picture(b"\x89PNG", "a caption & more", 'alt "quoted"')
    section = Section(EVIL, {"Unit": EVIL}, [picture], COLUMNS, ROWS)
    empty = Section("empty.npy", {}, [], COLUMNS, [])
    return page("Targets", {"Files": "2", "Sensor": EVIL}, [section, empty])


def test_names_and_headers_are_shown_and_never_run(text):
    reader = Reader(text)
    assert reader.tags.count("script") == 1
    assert "alert(1)</script>" not in text
    assert text.count("&lt;script&gt;alert(1)&lt;/script&gt;&amp;&#34;.npy\\udcff") == 3
    text.encode()


def test_the_page_loads_nothing_from_elsewhere(text):
    sources = [value for name, value in Reader(text).attributes if name in ("src", "href")]
    assert sources == ["data:image/png;base64,iVBORw=="]
    assert not re.search(r"https?:|url\(|@import", text)


def test_the_table_is_whole_without_a_script(text):
    head, *rows = Reader(text).cells
    assert head == ["row / px", "RA / °", "flags"]
    assert [row[:2] for row in rows] == [["9.0", ""], ["10.0", "2.000000"], ["9.0", "1.000000"]]
    assert "No target." in text


@pytest.mark.parametrize("value", [1.5, np.float32(1.5), np.float64(1.5)])
def test_a_cell_holds_a_plain_number_to_sort_by(value):
    text = page("", {}, [Section("", {}, [], {"x": Column("x", ".2f")}, [{"x": value}])])
    assert '<td data-value="1.5">1.50</td>' in text


def test_the_whole_page_is_as_expected():
    rows = [{"x": 2, "flag": "a<b"}, {"x": None}]
    columns = {"x": Column("x / px", ".1f"), "flag": Column("flag"), "none": Column("none")}
    section = Section("a.npy", {"Unit": "adu"}, [Picture(b"\x89PNG", "c", "d")], columns, rows)
    text = page("Targets", {"Files": "1"}, [section])
    assert text[text.index("<main>") : text.index("<script>")] == PAGE


def after(text, action, tmp_path):
    """Returns the page and the flags of the shown rows after an action in a browser."""
    path = tmp_path / "page.html"
    path.write_text(text.replace("</body>", f"<script>{action}</script></body>"), encoding="utf-8")
    flags = ["--headless", "--no-sandbox", "--disable-gpu", "--virtual-time-budget=2000"]
    profile = f"--user-data-dir={tmp_path / 'profile'}"
    run = subprocess.run(
        [CHROMIUM, *flags, profile, "--dump-dom", path.as_uri()],
        capture_output=True,
        text=True,
        timeout=300,
        check=True,
    )
    reader = Reader(run.stdout)
    shown = [row for row, hidden in zip(reader.cells, reader.hidden, strict=True) if not hidden]
    return run.stdout, [row[2] for row in shown[1:]]


@in_a_browser
def test_a_click_on_a_head_sorts_by_all_digits_and_another_reverses(text, tmp_path):
    click = "document.querySelectorAll('th button')[{}].click();"
    dom, flags = after(text, click.format(0), tmp_path)
    assert flags == ["clipped border", "clipped", ""]
    assert dom.count('aria-sort="ascending"') == 1
    dom, flags = after(text, 2 * click.format(1), tmp_path)
    assert flags == ["", "clipped border", "clipped"]
    assert dom.count('aria-sort="descending"') == 1


@in_a_browser
def test_the_box_leaves_rows_that_hold_all_its_words(text, tmp_path):
    action = (
        "const box = document.querySelector('input'); box.value = 'BORDER 9.0';"
        "box.dispatchEvent(new Event('input'));"
    )
    dom, flags = after(text, action, tmp_path)
    assert flags == ["clipped border"]
    assert "1 of 3 targets" in dom
