import io

import pytest

from distax.runtime import progress
from distax.runtime.progress import PatientBar


class Terminal(io.StringIO):
    def isatty(self):
        return True


def shown(monkeypatch, stream, patience, images=(None, None)):
    """Runs a bar over ten files, three of them done one second after the first, and reads it."""
    clock = iter([0.0, 1.0, 2.0])
    monkeypatch.setattr("sys.stderr", stream)
    monkeypatch.setattr(progress, "_DELAY", patience)
    with monkeypatch.context() as patch:
        patch.setattr(progress.time, "perf_counter", lambda: next(clock))
        with PatientBar("file", 10) as bar:
            bar.update(1, images[0])
            bar.update(3.0, images[1])
    return stream.getvalue()


@pytest.mark.parametrize(
    ("images", "rate"), [((None, None), "2.0 files/s"), ((50, 1250), "1,200 images/s")]
)
def test_a_terminal_shows_how_much_is_done_and_how_fast_since_the_first(monkeypatch, images, rate):
    text = shown(monkeypatch, Terminal(), 0.5, images)
    assert "3/10" in text
    assert rate in text


@pytest.mark.parametrize(("stream", "patience"), [(Terminal(), 60.0), (io.StringIO(), 0.5)])
def test_short_runs_and_other_streams_show_nothing(monkeypatch, stream, patience):
    assert shown(monkeypatch, stream, patience) == ""
