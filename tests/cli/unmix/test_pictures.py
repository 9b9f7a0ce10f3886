"""Frames with made-up answers, so that nothing needs to be unmixed."""

from pathlib import Path

import numpy as np
import pytest

from distax import Sensor
from distax.cli.unmix import pictures
from distax.cli.unmix.pictures import Pictures
from distax.frames.residual import Residual
from distax.viz.frame_figures import MAX_FRAMES
from distax.viz.frame_pixels import ZOOMS
from tests.viz.made_up import scattered


def keep(kept, frames):
    found = scattered(10, (40, 50))
    pixels = np.random.default_rng(1).normal(100, 2, (40, 50)).astype(np.float32)
    residual = Residual(pixels, found, Sensor(bit_depth=None))
    for number in range(frames):
        kept.add_frame((Path("a.npy"), number), pixels, found, residual)
    return kept


def test_a_report_has_a_close_up_of_every_blob_and_a_figure_a_few():
    both = keep(Pictures(figure=Path("a.png"), report=Path("a.html")), MAX_FRAMES + 1)
    assert [len(view.names) for view in both.views.values()] == [10] * (MAX_FRAMES + 1)
    assert [frame.name for frame in both.frames] == [f"a.npy [{k}]" for k in range(MAX_FRAMES)]
    figure = keep(Pictures(figure=Path("a.png"), report=None), 1)
    assert not figure.views
    assert len(figure.frames[0].closeups.blob) == ZOOMS


@pytest.mark.parametrize(("limit", "value"), [("_MAX_BYTES", 1), ("MAX_PICTURES", 1)])
def test_a_report_takes_no_more_frames_than_open_quickly(limit, value, monkeypatch):
    monkeypatch.setattr(pictures, limit, value)
    kept = keep(Pictures(figure=None, report=Path("a.html")), 3)
    assert [number for _, number in kept.views] == [0]
    assert not kept.has_room_for_frame()


def test_without_a_figure_or_a_report_no_pixel_is_read(any_types):
    kept = Pictures(figure=None, report=None)
    kept.add_frame((Path("a.npy"), 0), None, None, None)
    assert not kept.views
    assert not kept.frames
