from xml.etree import ElementTree

import jax

from distax import Sensor, scenes
from distax.evaluation import assess
from distax.imaging.grid import decode, rasterize


def tables(html):
    """Reads the text of every cell of each table, row by row."""
    found = ElementTree.fromstring(f"<div>{html}</div>").findall("table")
    return [[["".join(cell.itertext()) for cell in row] for row in table] for table in found]


def test_a_notebook_shows_scores_and_a_row_for_each_number_of_targets():
    truth = scenes.sample(jax.random.key(0), 60, scenes.ScenePrior(max_targets=2))
    scores, by_count, rates = tables(assess(truth, truth, Sensor())._repr_html_())
    assert scores[0][:3] == ["percent", "CSO-mAP", "AP-05"]
    assert scores[1:] == [
        ["ranked by intensity", *["100.00"] * 6],
        ["± (95% interval)", *["0.00"] * 6],
    ]
    assert by_count[0][:3] == ["targets", "images", "count accuracy / %"]
    assert [row[0] for row in by_count[1:]] == ["1", "2", "all"]
    assert int(by_count[1][1]) + int(by_count[2][1]) == int(by_count[3][1]) == 60
    assert by_count[3][2:6] == [*["100.0\n±0.0"] * 3, "0.0000\n±0.0000"]
    assert rates[1] == ["precision", *["100.0±0.0"] * 5]


def test_both_rankings_are_shown_where_they_differ():
    truth = scenes.sample(jax.random.key(0), 60)
    found = decode(rasterize(truth, Sensor(), 3))
    found = type(found)(found.position, found.intensity, found.mask, score=-found.position[..., 0])
    scores, *_ = tables(assess(found, truth, Sensor())._repr_html_())
    assert [row[0] for row in scores[1:]] == [
        "ranked by intensity",
        "± (95% interval)",
        "… ranked by its own score instead of intensity",
        "± (95% interval) of these",
    ]
    assert scores[1][1:] != scores[3][1:]
