"""Settings of frames that are slow or mean nothing are refused; those at the limits are not."""

import numpy as np
import pytest

from distax import DistaxError, DistaxWarning, Sensor
from distax.cli.options import FrameOptions, OptionError, PriorOptions
from distax.cli.unmix.runner import Unmixers
from distax.frames import FramePrior, FrameUnmixer
from distax.frames.bands import LARGEST
from distax.frames.flat import survey
from distax.frames.sky import measure_sky
from distax.io.sensor_file import write_sensor


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"sigma": 50.0}, r"sigma must lie between 0.3 and 6 px in frames, got 50"),
        ({"sigma": 0.05}, r"sigma must lie between 0.3 and 6 px in frames, got 0.05"),
        ({"min_score": 2.0}, r"min_score must lie between 0 and 1, as scores do, got 2"),
        ({"min_score": -0.1}, r"min_score must lie between 0 and 1, as scores do, got -0.1"),
        ({"false_blobs": 1e-300}, r"false_blobs must be at least 1e-12, got 1e-300"),
        ({"false_blobs": float("nan")}, r"false_blobs must be a finite number"),
        ({"read_noise": 1e30}, r"read_noise must lie between 1e-15 and 1e\+15, got 1e\+30"),
        ({"read_noise": -1.0}, r"read_noise must not be negative"),
        ({"gain": 1e-30}, r"gain must lie between 1e-15 and 1e\+15, got 1e-30"),
        ({"gain": 0.0}, r"gain must be greater than 0"),
        ({"saturation": 0.0}, r"saturation must be greater than 0"),
        ({"bit_depth": 65}, r"bit_depth must be at most 64"),
        ({"box": 15}, r"box must be at least 16 pixels, got 15"),
        ({"best": 0}, r"best must be greater than 0"),
    ],
)
def test_frame_options_out_of_range_are_refused_before_any_frame(options, message):
    unmixers = Unmixers(None, None, None, None, PriorOptions(), FrameOptions(**options))
    with pytest.raises(OptionError, match=f"^--frame: {message}"):
        unmixers.check()


@pytest.mark.parametrize(
    "options",
    [{"sigma": 0.3}, {"sigma": 6.0}, {"min_score": 1.0}, {"false_blobs": 1e-12}, {"box": 16}],
)
def test_frame_options_at_their_limits_are_taken(options):
    (name, value), *_ = options.items()
    unmixer = FrameOptions(**options).make_unmixer(None, None)
    owner = unmixer.sensor if name == "sigma" else unmixer
    assert getattr(owner, name) == value


def test_elongated_psfs_have_both_widths_in_range():
    for sigma in ((0.5, 7.0), (0.2, 1.0)):
        with pytest.raises(DistaxError, match="sigma must lie between"):
            FrameUnmixer(sensor=Sensor(sigma=sigma))


def test_a_cluster_is_at_most_as_large_as_that_of_the_widest_psf():
    assert FramePrior(cluster=24.0).cluster == 24
    with pytest.raises(DistaxError, match="cluster must be at most 24 px in frames, got 25"):
        FramePrior(cluster=25.0)


def test_a_sensor_file_for_wide_windows_is_refused_for_frames_only(tmp_path):
    wide = Sensor(height=61, width=61, sigma=8.0)
    write_sensor(tmp_path / "wide.toml", wide)
    file = tmp_path / "wide.toml"
    unmixers = Unmixers("refine", None, file, None, PriorOptions(), FrameOptions())
    unmixers.check()
    assert unmixers.sensor.sigma == 8.0
    with pytest.raises(DistaxError, match="sigma must lie between"):
        unmixers.for_frame(None)


def test_huge_values_are_bad_pixels_and_said_so():
    frame = 100 + 3 * np.random.default_rng(1).standard_normal((40, 40))
    filled = frame.copy()
    filled[3, 4:6] = 9.97e36, -3.4e38
    filled[20, 20] = np.inf
    seen = survey(filled)
    assert seen.huge == 2
    assert seen.highest == frame.max()
    with pytest.warns(DistaxWarning, match=r"2 pixels beyond ±1e\+30 count as bad; if these"):
        sky = measure_sky(filled, 64, Sensor(saturation=None, bit_depth=None))
    np.testing.assert_allclose(sky.background.noise, 3.0, rtol=0.1)
    with pytest.raises(DistaxError, match=r"NaN or infinite, beyond ±1e\+30"):
        FrameUnmixer()(frame * LARGEST)


def test_a_stated_noise_far_above_the_measured_one_is_warned_of():
    frame = 100 + 3 * np.random.default_rng(1).standard_normal((40, 40))
    with pytest.warns(DistaxWarning, match="noise is 3.*make it 10: expect missed targets"):
        FrameUnmixer(sensor=Sensor(saturation=None, bit_depth=None, read_noise=10.0))(frame)
