"""Shapes of blobs whose shape is known: points, clusters, spots, lines, edges and hot pixels."""

import numpy as np
import pytest

from distax import Sensor
from distax.frames.cutouts import cut_windows
from distax.frames.shapes import measure_shapes
from distax.frames.templates import gaussian
from distax.imaging.targets import Targets

SIDE, NOISE, NUMBER = 15, 2.0, 40
SENSOR = Sensor(saturation=None, bit_depth=None)
MIDDLE = SIDE // 2
ROW, COLUMN = np.indices((SIDE, SIDE)) - MIDDLE


def spots(place, width):
    place = np.atleast_2d(place).astype(float)
    return gaussian(SIDE, place, np.full(place.shape, width)).sum(axis=0).reshape(SIDE, SIDE)


def blobs_of(make, targets=((0.0, 0.0, 400.0),), noise="gaussian", known=True):
    """Measures blobs with given targets as their fit; every blob has noise and a slope of its own.

    Args:
      make: returns the counts of a blob, given random numbers.
      targets: row, column and intensity of the targets of each blob, from its middle.
    """
    random = np.random.default_rng(1)
    frame = np.zeros((SIDE, SIDE * NUMBER))
    for blob in range(NUMBER):
        slope = random.normal(0, 0.5, 2)
        window = make(random) + slope[0] * ROW + slope[1] * COLUMN
        window = window + NOISE * random.standard_normal(window.shape)
        frame[:, SIDE * blob : SIDE * (blob + 1)] = window
    pixel = np.stack([np.full(NUMBER, MIDDLE), SIDE * np.arange(NUMBER) + MIDDLE], axis=-1)
    constant = np.full(frame.shape, NOISE)
    around = cut_windows(pixel, frame, frame, constant, np.zeros(frame.shape, bool), SIDE)
    each = np.array(targets, float)
    blob = np.repeat(np.arange(NUMBER), len(each))
    found = Targets(
        position=(pixel[:, None] + each[:, :2]).reshape(-1, 2).astype(float),
        intensity=np.tile(each[:, 2], NUMBER),
        mask=np.ones(len(blob), bool),
        score=np.ones(len(blob)),
    )
    return measure_shapes(around, found, blob, SENSOR, noise, known)


@pytest.mark.parametrize("noise", ["gaussian", "textured"])
@pytest.mark.parametrize("flux", [30.0, 400.0, 20000.0])
def test_points_are_points(noise, flux):
    """From a signal-to-noise ratio of eight on."""
    found = blobs_of(lambda _: flux * spots((0, 0), 0.5), [(0, 0, flux)], noise)
    assert (found.probability > 0.5).mean() >= 0.95
    assert not found.extended.any()
    assert not found.bright_pixel.any()


def test_pairs_and_clusters_that_their_fit_explains_stay_points():
    pair = [(-0.3, -0.4, 400.0), (0.3, 0.5, 300.0)]
    cluster = [*pair, (0.6, -0.5, 350.0), (-0.7, 0.5, 300.0), (0.1, 0.1, 250.0)]
    for targets in (pair, cluster):
        places = np.array(targets)

        def make(_, places=places):
            return sum(f * spots((r, c), 0.5) for r, c, f in places)

        found = blobs_of(make, targets)
        assert (found.probability > 0.99).all()
        assert not found.single.any()


def test_a_wide_spot_is_one_extended_answer():
    """Two to nine pixels wide. The fit of points leaves much of it."""
    for width in (0.9, 1.3, 2.2):
        peak = [(0.0, 0.0, 200.0), (0.6, 0.6, 200.0)]
        place, flux = np.array([0.3, -0.2]), 600.0 * width
        found = blobs_of(lambda _, w=width: 600.0 * w * spots((0.3, -0.2), w), peak, known=False)
        assert found.extended.all()
        assert (found.probability > 0.5).all()
        error = found.place - [MIDDLE, 0] - place
        error[:, 1] -= SIDE * np.arange(NUMBER) + MIDDLE
        assert np.abs(np.mean(error, axis=0)).max() < 0.05
        assert (np.abs(error) < 5 * found.place_std).all()
        np.testing.assert_allclose(np.mean(found.flux), flux, rtol=0.03)
        assert np.sqrt(np.mean(((found.flux - flux) / found.flux_std) ** 2)) < 1.4
        np.testing.assert_allclose(np.mean(found.width), width, rtol=0.03)
        assert np.mean(found.misfit) == pytest.approx(1.0, abs=0.1)
        assert found.explained.all()


def line(random):
    angle, offset = random.uniform(0, np.pi), random.uniform(-0.5, 0.5)
    across = ROW * np.cos(angle) - COLUMN * np.sin(angle) - offset
    return 40 * np.exp(-(across**2) / (2 * 0.6**2))


def edge(random):
    from scipy.special import ndtr

    angle, offset = random.uniform(0, 2 * np.pi), random.uniform(-0.5, 0.5)
    return 60 * ndtr((ROW * np.cos(angle) - COLUMN * np.sin(angle) - offset) / 0.6)


def corner(random):
    from scipy.special import ndtr

    angle = random.uniform(0, 2 * np.pi)
    one = ROW * np.cos(angle) - COLUMN * np.sin(angle)
    other = ROW * np.sin(angle) + COLUMN * np.cos(angle)
    return 60 * ndtr(one / 0.6) * ndtr(other / 0.6)


@pytest.mark.parametrize("make", [line, edge, corner])
@pytest.mark.parametrize("noise", ["gaussian", "textured"])
def test_lines_edges_and_corners_are_no_points(make, noise):
    cluster = [(-0.5, -0.5, 40.0), (0.5, 0.5, 40.0), (0.0, 0.9, 40.0), (0.9, 0.0, 40.0)]
    found = blobs_of(make, cluster, noise)
    assert (found.probability < 0.5).mean() >= 0.95


def test_hot_pixels_are_bright_pixels():
    def make(_):
        window = np.zeros((SIDE, SIDE))
        window[MIDDLE, MIDDLE] = 100.0
        return window

    assert blobs_of(make, [(0, 0, 150.0)]).bright_pixel.all()


def test_the_shapes_of_some_blobs_among_others_that_are_points():
    some = blobs_of(edge)
    chosen = np.zeros(NUMBER + 5, bool)
    chosen[3 : NUMBER + 3] = True
    every = some.among(chosen)
    np.testing.assert_array_equal(every.probability[chosen], some.probability)
    assert (every.probability[~chosen] == 1).all()
    assert not every.single[~chosen].any()
    assert every.place.shape == (NUMBER + 5, 2)
