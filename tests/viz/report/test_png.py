import io

import numpy as np
import pytest
from PIL import Image

from distax.viz.report.png import (
    DIVERGING,
    GREY,
    UNKNOWN,
    lay_out,
    tiles_across,
    to_levels,
    to_png,
)


def decode(png):
    with Image.open(io.BytesIO(png)) as picture:
        return np.asarray(picture.convert("RGBA"))


def test_a_file_reads_back_as_its_colours_and_unknown_pixels_are_transparent():
    levels = to_levels(np.array([[0.0, 5.0, 10.0], [np.nan, -3.0, 99.0]]), 0.0, 10.0)
    assert levels.tolist() == [[0, 127, 254], [UNKNOWN, 0, 254]]
    pixels = decode(to_png(levels, GREY))
    assert pixels[0].tolist() == [[0, 0, 0, 255], [128, 128, 128, 255], [255, 255, 255, 255]]
    assert pixels[1, 0, 3] == 0
    assert pixels[1, 1:].tolist() == [[0, 0, 0, 255], [255, 255, 255, 255]]


def test_a_residual_of_zero_is_nearly_white_and_its_signs_are_blue_and_red():
    levels = to_levels(np.array([[-5.0, 0.0, 5.0]]), -5.0, 5.0)
    pixels = decode(to_png(levels, DIVERGING))[0, :, :3].tolist()
    assert pixels == [[0x21, 0x66, 0xAC], [0xF7] * 3, [0xB2, 0x18, 0x2B]]


def test_fewer_steps_give_fewer_levels_between_the_same_ends():
    levels = to_levels(np.linspace(0, 1, 1001)[None], 0.0, 1.0, steps=4)
    assert np.unique(levels).tolist() == [0, 64, 127, 190, 254]
    np.testing.assert_array_equal(np.bincount(levels[0])[[0, 254]], [126, 126])


def test_limits_of_each_tile_are_its_own():
    values = np.arange(8.0).reshape(2, 2, 2)
    levels = to_levels(values, values.min((1, 2), keepdims=True), values.max((1, 2), keepdims=True))
    assert levels[0].tolist() == levels[1].tolist() == [[0, 85], [169, 254]]


@pytest.mark.parametrize(("number", "across", "down"), [(0, 1, 1), (1, 1, 1), (5, 3, 2), (9, 3, 3)])
def test_tiles_lie_in_rows(number, across, down):
    tiles = np.arange(number, dtype=np.uint8)[:, None, None] * np.ones((1, 2, 4), np.uint8)
    sheet = lay_out(tiles)
    assert tiles_across(number) == across
    assert sheet.shape == (2 * down, 4 * across)
    for index in range(across * down):
        row, column = 2 * (index // across), 4 * (index % across)
        expected = index if index < number else UNKNOWN
        assert (sheet[row : row + 2, column : column + 4] == expected).all()
