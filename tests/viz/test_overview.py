import numpy as np
import pytest
from matplotlib.figure import Figure

from distax.frames import Flag
from distax.viz.overview import BEST_MARKED, MOST_MARKED, draw_overview
from tests.viz.made_up import answer, picture, scattered

HEXAGONS, MARKS = "PolyCollection", "PathCollection"


def drawn(found):
    """Returns axes with the overview of a frame."""
    figure = Figure(figsize=(6, 6), layout="constrained")
    ax = figure.subplots()
    draw_overview(ax, picture(found))
    figure.draw_without_rendering()
    return ax


def marks(ax):
    """Returns the number of marks of each colour."""
    return [len(c.get_offsets()) for c in ax.collections if type(c).__name__ == MARKS]


def test_a_few_targets_are_all_marked_and_trust_has_its_own_colour():
    flags = [Flag.CROWDED] * 12 + [0] * 28
    ax = drawn(scattered(40, flags=flags))
    assert marks(ax) == [28, 12]
    labels = [text.get_text() for text in ax.get_legend().get_texts()]
    assert labels == ["28 targets without a flag", "12 targets with a flag"]
    assert len(ax.patches) == 40


def test_markers_shrink_with_their_number_and_never_cover_a_fifth_of_the_frame():
    covered = []
    for count in (5, 40, 200, MOST_MARKED):
        ax = drawn(scattered(count))
        (marker,) = [c for c in ax.collections if type(c).__name__ == MARKS]
        area = ax.get_window_extent()
        points = area.width * area.height * (72 / ax.figure.dpi) ** 2
        covered.append(count * marker.get_sizes()[0] * np.pi / 4 / points)
    assert max(covered) < 0.2


def test_many_targets_are_a_density_on_which_the_best_are_marked():
    count = MOST_MARKED + 1
    found = scattered(count, flags=[Flag.UNSURE] * 100 + [0] * (count - 100))
    ax = drawn(found)
    assert marks(ax) == [BEST_MARKED]
    assert not ax.patches
    (cells,) = [c for c in ax.collections if type(c).__name__ == HEXAGONS]
    assert cells.get_array().sum() == count
    opacity = cells.to_rgba(cells.get_array())[:, 3]
    assert 0 < opacity.min() < opacity.max() < 1
    (offsets,) = [c.get_offsets() for c in ax.collections if type(c).__name__ == MARKS]
    best = found.targets.position[100 : 100 + BEST_MARKED, ::-1]
    np.testing.assert_allclose(offsets, best)


@pytest.mark.parametrize("count", [8, MOST_MARKED + 1])
def test_numbers_of_blobs_stay_inside_the_axes(count):
    ax = drawn(scattered(count))
    assert len(ax.texts) == (8 if count == 8 else 3)
    frame = ax.get_window_extent()
    for text in ax.texts:
        box = text.get_window_extent()
        assert frame.x0 <= box.x0 < box.x1 <= frame.x1
        assert frame.y0 <= box.y0 < box.y1 <= frame.y1


@pytest.mark.parametrize("shape", [(30, 300), (300, 30)])
def test_the_legend_is_below_the_label_of_the_columns(shape):
    ax = drawn(scattered(20, shape))
    legend, label = ax.get_legend().get_window_extent(), ax.xaxis.label.get_window_extent()
    assert legend.y1 < label.y0
    assert legend.y0 >= 0


def test_a_frame_without_targets_has_no_legend():
    ax = drawn(answer(np.zeros((0, 2)), [], np.zeros((0, 2)), (20, 20)))
    assert marks(ax) == []
    assert ax.get_legend() is None
    assert (ax.get_xlabel(), ax.get_ylabel()) == ("column / px", "row / px")
