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
