"""Frames with made-up answers, so that nothing needs to be unmixed."""

import numpy as np

from distax.frames import FrameTargets
from distax.frames.background import Background
from distax.frames.blobs import Blobs
from distax.imaging.targets import Targets
from distax.viz.frame_pixels import FramePicture, make_frame_picture

LEVEL, NOISE = 100.0, 2.0


def answer(position, blob, pixel, shape, flags=None, score=None, snr=None):
    """Makes an answer whose blobs, at the given pixels, fall in significance from 100 on."""
    count, blobs = len(position), len(pixel)
    return FrameTargets(
        targets=Targets(
            position=np.asarray(position, float).reshape(count, 2),
            intensity=np.linspace(200, 100, count),
            mask=np.ones(count, bool),
            score=np.ones(count) if score is None else np.asarray(score, float),
            covariance=np.tile(0.01 * np.eye(2), (count, 1, 1)),
        ),
        blob=np.asarray(blob, int),
        flags=np.zeros(count, int) if flags is None else np.asarray(flags, int),
        misfit=np.ones(count),
        count_probability=np.ones(count),
        blobs=Blobs(
            pixel=np.asarray(pixel, int).reshape(blobs, 2),
            signal_to_noise=np.linspace(100, 10, blobs) if snr is None else np.asarray(snr, float),
        ),
        local_level=np.zeros(blobs),
        background=Background(
            level=np.full((1, 1), LEVEL), noise=np.full((1, 1), NOISE), box=shape, shape=shape
        ),
        threshold=5.0,
    )


def scattered(count, shape=(200, 300), flags=None):
    """Makes an answer with a target in each of many blobs, at random places."""
    place = np.random.default_rng(7).uniform(0, np.array(shape) - 1, (count, 2))
    return answer(place, np.arange(count), np.rint(place), shape, flags)


def picture(found, name="a.fits [0]", closeups=3) -> FramePicture:
    """Makes the picture of a frame of noise, whose residual is that noise."""
    shape = found.background.shape
    noise = np.random.default_rng(3).normal(0, NOISE, shape).astype(np.float32)
    return make_frame_picture(name, noise + np.float32(LEVEL), noise, found, closeups)
