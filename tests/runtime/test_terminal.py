import io
import subprocess
import sys

import pytest

from distax.runtime.terminal import line_of, patient_streams, printable, tell


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("σ = 0.5 px, 3 µm × 2", "σ = 0.5 px, 3 µm × 2"),
        ("a\nb\rc\td", r"a\nb\rc\td"),
        ("\x1b[31mred\x07\x9b0m", r"\x1b[31mred\x07\x9b0m"),
        ("left\u202eright\u2028next", r"left\u202eright\u2028next"),
        ("\udcff.npy", r"\xff.npy"),
        ("\udc80\udc7f\ud800", r"\x80\udc7f\ud800"),
        ("[red]a[/red]", "[red]a[/red]"),
    ],
)
def test_what_would_control_a_terminal_is_shown(text, shown):
    assert printable(text) == shown


@pytest.mark.parametrize(
    ("message", "shown"),
    [
        ("5" * 400 + " px", "5" * 40 + "… (400 characters) px"),
        ("a/" + "b" * 100_000, "a/" + "b" * 40 + "… (100,000 characters)"),
        ("/".join(["c" * 255] * 9), "/".join(["c" * 255] * 9)),
        ("many words " * 200, "many words " * 200),
    ],
)
def test_what_is_longer_than_any_name_is_shortened(message, shown):
    assert line_of(message) == shown


def test_a_line_stays_one(capsys):
    tell("a\nb")
    assert capsys.readouterr().err == "distax: a\\nb\n"


def test_letters_that_an_encoding_lacks_are_replaced(monkeypatch):
    out = io.TextIOWrapper(io.BytesIO(), encoding="ascii")
    monkeypatch.setattr(sys, "stdout", out)
    with patient_streams():
        print("0.5 ± 0.1")
    assert out.buffer.getvalue() == b"0.5 ? 0.1\n"


def test_closed_streams_get_no_file_and_stop_nothing(tmp_path):
    """What C++ libraries print goes to the numbers 1 and 2, whatever is open there."""
    body = "os.open('a.txt', os.O_CREAT); print('x'); os.write(2, b'y'); print(sys.stderr.isatty())"
    code = f"""if True:
        import os, sys
        os.closerange(0, 3)
        sys.stdin = sys.stdout = sys.stderr = None
        from distax.runtime.terminal import patient_streams
        with patient_streams():
            {body}"""
    subprocess.run([sys.executable, "-c", code], cwd=tmp_path, check=True)
    assert (tmp_path / "a.txt").read_bytes() == b""
