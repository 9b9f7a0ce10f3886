from pathlib import Path

import numpy as np
import pytest

from distax import Sensor
from distax.cli.quickstart import Quickstart, _save_png
from distax.io.images import read_images


@pytest.mark.parametrize("bits", [8, 12, 16])
def test_a_sample_reads_back_as_the_sensor_delivers_it(tmp_path, bits):
    sensor = Sensor(bit_depth=bits, saturation=None)
    image = np.linspace(0, sensor.clip_level, 121, dtype=np.float32).round().reshape(11, 11)
    _save_png(tmp_path / "a.png", image, sensor)
    np.testing.assert_array_equal(read_images(tmp_path / "a.png"), image[None])


def test_what_png_cannot_hold_comes_as_near_as_it_can(tmp_path):
    image = np.float32([[-3.0, 1.6, 300.0, 1e6]])
    _save_png(tmp_path / "a.png", image, Sensor(bit_depth=None, saturation=None))
    np.testing.assert_array_equal(read_images(tmp_path / "a.png"), [[[0, 2, 300, 65535]]])


def test_a_checkpoint_that_is_shown_leaves_the_trained_run_alone():
    assert Quickstart().folder == Path("runs/quickstart")
    assert Quickstart(checkpoint="dista").folder == Path("runs/quickstart_dista")
    assert Quickstart(run_dir=Path("here"), checkpoint="dista").folder == Path("here")
