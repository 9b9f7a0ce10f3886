from distax import DistaxError
from distax.cli.unmix import autosave
from distax.cli.unmix.autosave import Autosave


def test_a_save_takes_at_most_a_twentieth_of_the_time(monkeypatch):
    now, saves = [0.0], []
    monkeypatch.setattr(autosave.time, "monotonic", lambda: now[0])

    def save():
        saves.append(now[0])
        now[0] += 1.0

    saved = Autosave(save)
    while now[0] < 100:
        saved()
        now[0] += 0.25
    assert saves[:2] == [5.0, 26.0]
    assert len(saves) <= 5


def test_a_save_that_fails_is_told_once_and_tried_again(monkeypatch, capsys):
    now, outcomes = [0.0], ["full", "full", None, "full", None]
    monkeypatch.setattr(autosave.time, "monotonic", lambda: now[0])
    left = list(outcomes)

    def save():
        if problem := left.pop(0):
            raise DistaxError(problem)

    saved = Autosave(save)
    for _ in outcomes:
        now[0] += 10
        saved()
    assert left == []
    assert capsys.readouterr().err == "distax: full; the run goes on and tries again\n"
