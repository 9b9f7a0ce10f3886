import numpy as np
import pytest
from matplotlib.figure import Figure

from distax.viz.figures import MAX_DEVIATION
from distax.viz.frame_figures import ROW_SIZE, draw_frame_rows
from tests.viz.made_up import LEVEL, answer, picture

LONG = "a_very_long_name_" * 20 + "the_end.fits [3]"


@pytest.fixture(scope="module")
def figure():
    """Two frames: one with two blobs and a long name, and one without targets."""
    place = [[10.0, 10.2], [10.3, 9.8], [30.1, 40.0]]
    found = answer(place, [0, 0, 1], [[10, 10], [30, 40]], (60, 50))
    empty = answer(np.zeros((0, 2)), [], np.zeros((0, 2)), (20, 20))
    made = Figure(figsize=(ROW_SIZE[0], 2 * ROW_SIZE[1]), layout="constrained")
    draw_frame_rows(made, [picture(found, LONG), picture(empty, "a$_$b")])
    made.draw_without_rendering()
    return made


def test_titles_are_shortened_in_the_middle_and_fit(figure):
    titles = [row.get_suptitle() for row in figure.subfigs]
    assert titles[0].startswith("a_very_long_name_")
    assert "…" in titles[0]
    assert titles[0].endswith("the_end.fits [3]: 3 targets in 2 blobs")
    assert titles[1] == "a$_$b: 0 targets in 0 blobs"
    whole = figure.get_window_extent()
    for row in figure.subfigs:
        box = row._suptitle.get_window_extent()
        assert whole.x0 <= box.x0 < box.x1 <= whole.x1


def test_every_label_is_inside_the_figure(figure):
    whole = figure.get_window_extent()
    for row in figure.subfigs:
        for part in row.subfigs:
            for ax in part.axes:
                box = ax.get_tightbbox()
                assert box is None or whole.x0 <= box.x0 < box.x1 <= whole.x1
                assert box is None or whole.y0 <= box.y0 < box.y1 <= whole.y1


def test_a_close_up_has_data_targets_model_and_residual(figure):
    axes = [ax for ax in figure.subfigs[0].subfigs[1].axes if ax.images]
    (data, targets, model, residual), _ = np.reshape(axes, (2, 4))
    assert data.get_ylabel() == "blob 0: 2 targets\nrow / px"
    assert [ax.get_title() for ax in axes[:4]] == ["data", "targets", "model", "residual"]
    assert data.images[0].get_clim() == model.images[0].get_clim()
    np.testing.assert_allclose(model.images[0].get_array().compressed(), LEVEL, rtol=1e-5)
    assert residual.images[0].get_clim() == (-MAX_DEVIATION, MAX_DEVIATION)
    assert np.std(residual.images[0].get_array()) == pytest.approx(1, abs=0.25)
    # Two ellipses, in a square of three pixels around the middle of the two targets.
    assert len(targets.patches) == 2
    assert targets.get_xlim() == pytest.approx((8.5, 11.5))
    assert targets.get_ylim() == pytest.approx((11.65, 8.65))
