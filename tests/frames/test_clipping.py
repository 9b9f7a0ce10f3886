"""Stars with flat tops: the value at which they are clipped is named, and nothing else is."""

import jax.numpy as jnp
import numpy as np
import pytest

from distax import DistaxWarning, Sensor, make_targets, render
from distax.frames.clipping import clipping_line
from distax.frames.flat import survey
from distax.frames.sky import measure_sky

CAMERA = Sensor(saturation=None, bit_depth=None)
SHAPE = (140, 40)
LEVEL, NOISE = 100.0, 3.0


def frame(sigma, peaks, noise=NOISE):
    """Renders stars of given peak heights down a frame; the first lies across rows 63 and 64."""
    place = np.array([[63.5, 20.0], [20.2, 15.7], [110.4, 22.1]])[: len(peaks)]
    flux = np.array(peaks) * 2 * np.pi * sigma**2
    targets = make_targets(jnp.float32(place), jnp.float32(flux))
    ideal = np.asarray(render(targets, Sensor(height=SHAPE[0], width=SHAPE[1], sigma=sigma)))
    return np.rint(LEVEL + ideal + noise * np.random.default_rng(1).standard_normal(SHAPE))


def line_of(pixels, limit=np.inf, noise=NOISE):
    return clipping_line(pixels, survey(pixels), LEVEL, noise, limit)


@pytest.mark.parametrize(
    ("top", "sigma"), [(65535, 1.3), (4095, 1.3), (255, 2.0), (255, 0.6), (3000, 1.5)]
)
def test_the_value_of_flat_tops_is_named(top, sigma):
    pixels = np.minimum(frame(sigma, [3.0 * top, 0.4 * top, 2.0 * top]), top)
    number = int(np.sum(pixels == top))
    line = line_of(pixels)
    assert line.startswith(f"{number} pixels read {top}, the largest value of the frame")
    assert f"give --frame.saturation {top}," in line
    assert line_of(pixels, limit=float(top)) is None
    with pytest.warns(DistaxWarning, match=f"--frame.saturation {top},") as caught:
        measure_sky(pixels, 64, CAMERA)
    assert len(caught) == 1


def test_a_top_across_two_bands_of_rows_is_seen():
    pixels = frame(1.3, [0.0, 40.0])
    pixels[63:65, 20] = 4095
    assert "2 pixels read 4095" in line_of(pixels)


def test_round_tops_and_noise_are_no_flat_tops():
    # Whole counts of a wide, faint and quiet star are equal at its top.
    pixels = frame(5.0, [20.2], noise=0.0)
    top = pixels == pixels.max()
    assert (top[:-1, :-1] & top[1:, :-1] & top[:-1, 1:] & top[1:, 1:]).any()
    assert line_of(pixels, noise=0.3) is None
    # Four equal pixels of a star between pixels.
    assert line_of(np.rint(frame(1.0, [3000.0], noise=0.0)), noise=1.0) is None
    few = np.random.default_rng(2).poisson(1.0, SHAPE).astype(float)
    assert clipping_line(few, survey(few), 1.0, 1.0, np.inf) is None
    assert line_of(frame(1.3, [2000.0, 500.0])) is None
    # Single bright pixels do not tell of saturation.
    hot = frame(1.3, [0.0])
    hot[10::20, 10] = 4095
    assert line_of(hot) is None
    ramp = np.tile(np.arange(256.0), (64, 1))
    assert clipping_line(ramp, survey(ramp), 0.0, 1.0, np.inf) is None
