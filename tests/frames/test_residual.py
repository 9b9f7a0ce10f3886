"""Residuals of given targets, so that nothing needs to be fitted."""

from dataclasses import replace

import jax.numpy as jnp
import numpy as np
import pytest

from distax import DistaxError, Sensor, make_targets, render
from distax.frames import FramePrior, FrameTargets, FrameUnmixer
from distax.frames.background import Background
from distax.frames.blobs import Blobs
from distax.frames.residual import Residual

SHAPE = (60, 50)
SENSOR = Sensor(*SHAPE, sigma=(0.6, 0.9), saturation=None, bit_depth=None)
# Two that overlap, one of each kind of edge, and one in the corner.
POSITION = np.array([[20.3, 30.2], [20.9, 31.4], [0.2, 11.7], [40.6, 49.3], [59.4, -0.4]])
INTENSITY = np.array([4000.0, 900.0, 700.0, 500.0, 300.0])
NOISE = 2.0


def given(targets):
    """The targets of a frame whose background is 100 counts everywhere."""
    some = np.zeros(len(POSITION), int)
    boxes = np.ones((2, 2))
    size = (SHAPE[0] // 2, SHAPE[1] // 2)
    return FrameTargets(
        targets=targets,
        blob=some,
        flags=some,
        misfit=some + 1.0,
        count_probability=some + 1.0,
        blobs=Blobs(pixel=np.zeros((1, 2), int), signal_to_noise=np.ones(1)),
        local_level=np.zeros(1),
        background=Background(level=100 * boxes, noise=NOISE * boxes, box=size, shape=SHAPE),
        threshold=5.0,
    )


@pytest.fixture(scope="module")
def found():
    targets = make_targets(jnp.float32(POSITION), jnp.float32(INTENSITY))
    return given(replace(targets, position=POSITION, intensity=INTENSITY))


@pytest.fixture(scope="module")
def noise():
    return NOISE * np.random.default_rng(3).standard_normal(SHAPE)


@pytest.fixture(scope="module")
def residual(found, noise):
    targets = make_targets(jnp.float32(POSITION), jnp.float32(INTENSITY))
    pixels = np.asarray(render(targets, SENSOR), np.float64) + 100 + noise
    pixels[25, 25] = np.inf
    return Residual(pixels, found, SENSOR)


def test_the_residual_is_the_noise_and_bad_pixels_are_nan(residual, noise):
    left = residual[:]
    expected = noise.copy()
    expected[25, 25] = np.nan
    np.testing.assert_allclose(left, expected, atol=2e-3)


def test_rows_are_the_same_however_they_are_read(residual):
    one_by_one = [residual[row : row + 1] for row in range(SHAPE[0])]
    np.testing.assert_array_equal(np.concatenate(one_by_one), residual[:])
    np.testing.assert_array_equal(residual[17:23], residual[:][17:23])
    with pytest.raises(DistaxError, match="leave out the step 2"):
        residual[::2]


def test_a_frame_without_targets_loses_its_background_only(residual, found):
    none = replace(
        found.targets,
        **{name: getattr(found.targets, name)[:0] for name in ("position", "intensity", "mask")},
        score=found.targets.score[:0],
    )
    left = replace(residual, found=replace(found, targets=none))[:]
    known = np.isfinite(left)
    np.testing.assert_allclose(left[known], residual.pixels[known] - 100, atol=1e-4)


def test_the_residual_around_the_stars_that_were_found_is_noise():
    sensor = Sensor(120, 120, saturation=None, bit_depth=None)
    random = np.random.default_rng(8)
    place = np.stack(np.mgrid[10:120:20, 10:120:20], axis=-1).reshape(-1, 2)
    position = jnp.float32(place + random.uniform(-0.5, 0.5, place.shape))
    intensity = jnp.float32(random.uniform(200, 2000, len(place)))
    ideal = np.asarray(render(make_targets(position, intensity), sensor))
    noise = NOISE * random.standard_normal(sensor.shape)
    pixels = ideal + 100 + 0.05 * np.arange(120) + noise
    found = FrameUnmixer(sensor=sensor, prior=FramePrior(max_targets=2, cluster=1.0))(pixels)
    left = Residual(pixels, found, sensor)[:]

    def around_stars(image):
        return np.stack(
            [image[row - 5 : row + 6, column - 5 : column + 6] for row, column in place]
        )

    around = around_stars(left)
    # Each target's row, column and intensity take a share of the noise with them.
    free = 1 - 3 * len(found.blob) / around.size
    assert len(found.blob) < 1.3 * len(place)
    assert np.std(around) == pytest.approx(np.std(around_stars(noise)) * free**0.5, rel=0.03)
    assert abs(np.mean(around)) < 0.1 * NOISE
