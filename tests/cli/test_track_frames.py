"""Frames of one sequence share one PSF."""

from dataclasses import dataclass
from types import SimpleNamespace

import numpy as np
import pytest

from distax import DistaxError, Sensor
from distax.cli.track_frames import WholeFrames, list_images
from distax.frames.background import BackgroundError
from distax.io.reading import Reading
from distax.tracking import FrameTracker


@dataclass(frozen=True)
class Fake:
    """An unmixer that measures sigma 1.3 in bright frames, and assumes the sensor's in others."""

    sensor: Sensor = Sensor()
    measure_psf: bool = True

    def __call__(self, counts):
        if counts.mean() > 150:
            raise DistaxError("this frame is too bright")
        if not counts.any():
            raise BackgroundError("the background does not vary")
        measured = self.measure_psf and counts.mean() > 100
        source = "measured" if measured else "default" if self.measure_psf else "given"
        sigma = 1.3 if measured else self.sensor.sigma
        return SimpleNamespace(psf=SimpleNamespace(sigma=sigma, source=source, line=f"{sigma}"))


@pytest.fixture
def unmixed(tmp_path, monkeypatch, any_types):
    """Unmixes frames of some levels, and returns what is found."""

    def unmix(*levels):
        np.save(tmp_path / "a.npy", np.ones((len(levels), 32, 32)) * np.reshape(levels, (-1, 1, 1)))
        images = list_images([tmp_path / "a.npy"], Reading())
        unmixers = SimpleNamespace(for_frame=lambda saturation: Fake())
        frames = WholeFrames.of(images, Reading(), unmixers)
        monkeypatch.setattr("distax.tracking.track_frames", lambda found, *rest: found)
        return frames, frames.track(FrameTracker(camera_motion="none", min_detections=1))

    return unmix


def test_frames_that_do_not_show_the_psf_take_that_of_the_others(unmixed, capsys):
    frames, found = unmixed(90, 110, 90, np.nan, 120)
    assert [frame and frame.psf.sigma for frame in found] == [1.3, 1.3, 1.3, None, 1.3]
    assert [frame and frame.psf.source for frame in found] == [
        *("given", "measured", "given", None, "measured")
    ]
    assert "2 of 4 frames show a PSF of sigma 1.3 px, and the others" in capsys.readouterr().err
    assert frames.unmixer == Fake(Sensor(sigma=1.3), measure_psf=False)
    np.testing.assert_allclose(frames.mean, (90 + 110 + 90 + 120) / 4)


def test_frames_that_all_lack_a_psf_keep_the_default(unmixed, capsys):
    _, found = unmixed(90, 95)
    assert [frame.psf.sigma for frame in found] == [0.5, 0.5]
    assert "show a PSF" not in capsys.readouterr().err


def test_a_frame_that_cannot_be_unmixed_is_named(unmixed, tmp_path):
    with pytest.raises(DistaxError, match=f"{tmp_path}/a.npy: image 1, this frame is too bright"):
        unmixed(90, 160)


def test_a_frame_without_background_is_a_gap_and_named(unmixed, tmp_path, capsys):
    frames, found = unmixed(0, 110, 0, 120)
    assert [frame and frame.psf.sigma for frame in found] == [None, 1.3, None, 1.3]
    lines = capsys.readouterr().err.splitlines()
    gaps = [line for line in lines if "count as missed" in line]
    assert gaps == [
        f"distax: {tmp_path}/a.npy: image {number}, the background does not vary; its targets "
        "count as missed"
        for number in (0, 2)
    ]
    np.testing.assert_allclose(frames.mean, (110 + 120) / 2)
