"""The page as text; `test_browser.py` has its script."""

import base64
import hashlib
import json
import re
from html.parser import HTMLParser

import numpy as np
import pytest

from distax.viz.report import Column, Section, frame_view, page
from distax.viz.report.page import ROWS as FIRST
from tests.viz.made_up import answer, picture

EVIL = '</script><img src=x onerror=alert(1)>&".npy\udcff'
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
<div class="wide" role="region" aria-label="Table of targets" tabindex="0">\
<table class="targets" role="grid"><caption>Targets</caption>
<thead><tr><th scope="col">x / px</th><th scope="col" class="text">flag</th></tr></thead>
<tbody>
<tr><td>2.0</td><td class="text">a&lt;b</td></tr>
<tr><td></td><td></td></tr>
</tbody></table></div>
"""


class Reader(HTMLParser):
    """Tags, their attributes, the cells of rows, and the texts of scripts."""

    def __init__(self, text):
        super().__init__()
        self.tags, self.attributes, self.cells, self.scripts = [], [], [], []
        self.inside = None
        self.feed(text)

    def handle_starttag(self, tag, attrs):
        self.tags.append(tag)
        self.attributes += attrs
        self.inside = tag if tag in ("td", "th", "script") else self.inside
        if tag == "tr":
            self.cells.append([])
        if tag in ("td", "th"):
            self.cells[-1].append("")
        if tag == "script":
            self.scripts.append("")

    def handle_endtag(self, tag):
        if tag == self.inside:
            self.inside = None

    def handle_data(self, data):
        if self.inside in ("td", "th"):
            self.cells[-1][-1] += data.strip()
        if self.inside == "script":
            self.scripts[-1] += data


@pytest.fixture(scope="module")
def view():
    found = answer([[3.0, 3.2], [9.0, 9.1]], [0, 0], [[3, 3]], (20, 20))
    return frame_view(picture(found, f"{EVIL} [0]"))


@pytest.fixture(scope="module")
def text(view):
    section = Section(EVIL, {"Unit": EVIL}, [view], COLUMNS, ROWS)
    empty = Section("empty.npy", {}, [], COLUMNS, [])
    return page("Targets", {"Files": "2", "Sensor": EVIL}, [section, empty])


def content(text):
    """Returns what the script reads of the first section."""
    return json.loads(Reader(text).scripts[0])


def test_names_and_headers_are_shown_and_never_run(text, view):
    reader = Reader(text)
    # The data of two sections, and the script.
    assert reader.tags.count("script") == 3
    assert reader.tags.count("img") == len(view.pictures)
    assert EVIL.encode("utf-8", "backslashreplace").decode() not in text
    assert "onerror=alert(1)>" not in text
    shown = "&lt;/script&gt;&lt;img src=x onerror=alert(1)&gt;&amp;&#34;.npy\\udcff"
    # The title, the two facts, and the pictures' descriptions.
    assert text.count(shown) == 3 + len(view.pictures)
    assert content(text)["views"][0]["title"] == f"{EVIL} [0]"
    text.encode()


def test_the_page_loads_nothing_from_elsewhere(text, view):
    sources = [value for name, value in Reader(text).attributes if name in ("src", "href")]
    assert sources == list(view.pictures.values())
    assert all(source.startswith("data:image/png;base64,") for source in sources)
    assert not re.search(r"https?:|url\(|@import", text)


def test_the_policy_allows_the_pages_own_script_and_style_only(text):
    (policy,) = [value for _, value in Reader(text).attributes if value and "-src" in value]
    rules = dict(rule.strip().split(" ", 1) for rule in policy.split(";"))
    hashes = {}
    for kind in ("style", "script"):
        (own,) = re.findall(rf"<{kind}>(.*?)</{kind}>", text, re.DOTALL)
        digest = base64.b64encode(hashlib.sha256(own.encode()).digest()).decode()
        hashes[f"{kind}-src"] = f"'sha256-{digest}'"
    assert rules == {
        **hashes,
        **{"default-src": "'none'", "img-src": "data:"},
        **{"base-uri": "'none'", "form-action": "'none'"},
    }
    assert not [name for name, _ in Reader(text).attributes if name.startswith("on")]
    assert "style" not in dict(Reader(text).attributes)


def test_the_table_is_whole_without_a_script(text):
    head, *rows = Reader(text).cells
    assert head == ["row / px", "RA / °", "flags"]
    assert [row[:2] for row in rows] == [["9.0", ""], ["10.0", "2.000000"], ["9.0", "1.000000"]]
    assert "No target." in text


def test_without_a_script_a_long_table_is_cut_and_says_so():
    rows = [{"x": number} for number in range(2 * FIRST)]
    text = page("", {}, [Section("", {}, [], {"x": Column("x", "d")}, rows)])
    assert [row[0] for row in Reader(text).cells[1:]] == [str(number) for number in range(FIRST)]
    assert f"the first {FIRST} of {2 * FIRST} targets; the others need JavaScript" in text
    assert content(text)["values"]["x"] == list(range(2 * FIRST))


@pytest.mark.parametrize("value", [1.123456789, np.float64(1.123456789)])
def test_the_script_sorts_by_more_digits_than_are_shown(value):
    rows = [{"x": value}, {"x": np.float32(2)}, {"x": np.nan}, {"x": None}]
    text = page("", {}, [Section("", {}, [], {"x": Column("x", ".2f")}, rows)])
    assert "<td>1.12</td>" in text
    assert content(text)["values"]["x"] == [1.12345679, 2, None, None]


def test_the_whole_page_is_as_expected():
    rows = [{"x": 2, "flag": "a<b"}, {"x": None}]
    columns = {"x": Column("x / px", ".1f"), "flag": Column("flag"), "none": Column("none")}
    section = Section("a.npy", {"Unit": "adu"}, [], columns, rows)
    text = page("Targets", {"Files": "1"}, [section])
    assert text[text.index("<main>") : text.index('<script type="application/json">')] == PAGE
    assert content(text)["columns"] == [["x", ".1f"], ["flag", ""]]
    assert content(text)["values"] == {"x": [2, None], "flag": ["a<b", None]}
