"""Pieces of bright targets, into which an inexact PSF splits them, are not trusted."""

from dataclasses import replace

import jax.numpy as jnp
import numpy as np
import pytest

from distax import Sensor, make_targets, render
from distax.frames import Flag, FramePrior, FrameUnmixer

SIGMA, NOISE, SPACING = 0.6, 5.0, 20
CAMERA = Sensor(saturation=None, bit_depth=None, sigma=SIGMA)
UNMIXER = FrameUnmixer(sensor=CAMERA, prior=FramePrior(max_targets=4, cluster=2.0))


def frame(flux, true_sigma, separation=0.9):
    """Renders six pairs, and returns the frame and the targets' positions."""
    rng = np.random.default_rng(0)
    place = SPACING * (np.stack(divmod(np.arange(6), 3), axis=-1) + 0.5)
    place = place + rng.uniform(-0.5, 0.5, place.shape)
    angle = rng.uniform(0, 2 * np.pi, 6)
    step = separation * np.stack([np.cos(angle), np.sin(angle)], axis=-1) / 2
    position = np.concatenate([place - step, place + step])
    targets = make_targets(jnp.float32(position), jnp.full(len(position), flux))
    shape = Sensor(height=2 * SPACING, width=3 * SPACING, sigma=true_sigma)
    noise = NOISE * rng.standard_normal((2 * SPACING, 3 * SPACING))
    return 100 + np.asarray(render(targets, shape)) + noise, position


def trusted(found):
    return (found.flags & Flag.UNSURE) == 0


@pytest.mark.parametrize("crowded", [False, True])
@pytest.mark.filterwarnings("ignore:.*isolated blobs")
def test_pairs_are_trusted_and_pieces_are_not(crowded):
    unmixer = replace(UNMIXER, crowded=crowded)
    for flux in (5e3, 1e6):
        pixels, position = frame(flux, SIGMA)
        found = unmixer(pixels)
        assert len(found.blob) == len(position)
        assert trusted(found).all()
        pieces = unmixer(frame(flux, 1.03 * SIGMA)[0])
        assert len(pieces.blob) > len(position)
        assert not trusted(pieces).any()


def test_stars_keep_trust():
    pixels, position = frame(1e4, SIGMA, separation=6.0)
    found = UNMIXER(pixels)
    assert len(found.blob) == len(position)
    assert trusted(found).all()
