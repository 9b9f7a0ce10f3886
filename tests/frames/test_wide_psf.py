"""Frames of narrow and of wide PSFs: positions, their stated errors, and the number of targets."""

from dataclasses import replace

import jax.numpy as jnp
import numpy as np
import pytest

from distax import Sensor, make_targets, render
from distax.frames import FramePrior, FrameUnmixer

CAMERA = Sensor(saturation=None, bit_depth=None)
SIDE, STARS = 5, 12


@pytest.mark.parametrize("sigma", [0.5, 1.3, 2.0, 5.0])
def test_errors_are_as_large_as_stated_for_stars_and_pairs_of_every_width(sigma):
    """Twelve stars and thirteen pairs two sigma apart, of the same significance at every width."""
    rng = np.random.default_rng(7)
    spacing = int(np.ceil(12 * sigma)) + 8
    place = spacing * (np.stack(divmod(np.arange(SIDE**2), SIDE), axis=-1) + 0.5)
    place += rng.uniform(-0.5, 0.5, place.shape)
    angle = rng.uniform(0, 2 * np.pi, SIDE**2 - STARS)
    step = 2.0 * sigma * np.stack([np.cos(angle), np.sin(angle)], axis=-1)
    position = np.concatenate([place, place[STARS:] + step])
    flux = 400 * sigma * rng.uniform(0.8, 1.2, len(position))
    length = SIDE * spacing
    sensor = Sensor(height=length, width=length, sigma=sigma)
    ideal = render(make_targets(jnp.float32(position), jnp.float32(flux)), sensor)
    frame = 100 + np.asarray(ideal) + 2.0 * rng.standard_normal((length, length))
    unmixer = FrameUnmixer(sensor=replace(CAMERA, sigma=sigma), prior=FramePrior(max_targets=2))
    found = unmixer(frame)
    assert len(found.blobs.pixel) >= SIDE**2
    assert len(found.blob) == len(position)
    away = np.linalg.norm(found.targets.position - position[:, None], axis=-1)
    slot = away.argmin(axis=1)
    assert len(set(slot)) == len(position)
    error = found.targets.position[slot] - position
    z = error / found.targets.position_std[slot]
    bright = (found.targets.intensity[slot] - flux) / found.targets.intensity_std[slot]
    for some in (slice(0, STARS), slice(STARS, None)):
        # A mean square of 24 and of 52 standard normal numbers.
        assert 0.7 < np.sqrt(np.mean(z[some] ** 2)) < 1.35
        # By the median, as an undersampled pair may share its flux wrongly.
        assert 0.5 < np.median(np.abs(bright[some])) / 0.6745 < 1.5
