"""Frames of clutter, of wide targets and of hot pixels, unmixed as a whole."""

import runpy
import warnings
from dataclasses import replace

import numpy as np
import pytest

from distax import DistaxWarning, Sensor
from distax.frames import Flag, FramePrior, FrameUnmixer
from distax.frames.templates import gaussian
from tests.pages import ROOT

CLUTTER = runpy.run_path(str(ROOT / "experiments/benchmarks/clutter_scenes.py"))
CAMERA = Sensor(saturation=None, bit_depth=None)
UNMIXER = FrameUnmixer(
    sensor=CAMERA, prior=FramePrior(max_targets=2, cluster=1.0), measure_psf=True
)
SIDE = 101


def spot(row, column, sigma):
    middle = SIDE // 2
    place = np.array([[row - middle, column - middle]], float)
    return gaussian(SIDE, place, np.full((1, 2), sigma)).reshape(SIDE, SIDE)


def clutter(seed=3):
    """A cloudy sky above textured ground, with a bright frame line and one target in the sky."""
    random = np.random.default_rng(seed)
    row, column = np.indices((SIDE, SIDE))
    clouds = 10 * np.sin(row / 9) * np.cos(column / 11)
    frame = 45 + clouds + random.standard_normal((SIDE, SIDE))
    ground = row > 70 + 5 * np.sin(column / 6)
    frame[ground] += 55 + 15 * random.standard_normal(ground.sum())
    frame += 500 * spot(40.3, 60.6, 0.85)
    frame[:2] = frame[:, :2] = 210
    return np.clip(np.rint(frame), 0, 255)


def test_a_target_among_clutter_is_the_first_and_trusted():
    with pytest.warns(DistaxWarning, match="the background is textured: more than the expected"):
        found = UNMIXER(clutter())
    assert found.noise_kind == "textured"
    trusted = found.flags & int(Flag.UNSURE) == 0
    assert trusted[0]
    np.testing.assert_allclose(found.targets.position[0], [40.3, 60.6], atol=0.15)
    assert found.targets.intensity[0] == pytest.approx(500, rel=0.1)
    assert Flag(int(found.flags[0])) & Flag.EXTENDED
    assert found.point_probability[0] > 0.9
    # Trusted answers come first, and the frame line has none of them.
    assert (np.diff(trusted.astype(int)) <= 0).all()
    line = np.min(found.targets.position, axis=1) < 4
    assert not (line & trusted).any()
    assert trusted.sum() <= 2
    assert len(found.blob) < 20
    with pytest.warns(DistaxWarning, match="textured"):
        best = replace(UNMIXER, best=1, trusted_only=True)(clutter())
    np.testing.assert_array_equal(best.targets.position, found.targets.position[:1])


def test_targets_in_simulated_clutter_are_trusted_and_clutter_is_not():
    """Ten scenes of five kinds. The benchmark has sixty, with the whole prior."""
    unmixer = replace(UNMIXER, false_blobs=1.0)
    right, false, scenes = 0, 0, 0
    for kind in ("clouds", "horizon", "ground", "overlay", "sea"):
        for seed in (200, 201):
            pixels, targets = CLUTTER["make_scene"](kind, seed)
            with warnings.catch_warnings():
                warnings.simplefilter("ignore", DistaxWarning)
                found = unmixer(pixels)
            trusted = found.flags & int(Flag.UNSURE) == 0
            truth = np.array([[target.row, target.column] for target in targets])
            near = np.linalg.norm(found.targets.position - truth[:, None], axis=-1) < 2
            right += int((near & trusted).any(axis=1).sum())
            false += int((trusted & ~near.any(axis=0)).sum())
            scenes += 1
    # 0.9 of the sixty; of thirty targets two fewer by chance.
    assert right >= 0.83 * 3 * scenes
    assert false <= 2 * scenes


def test_a_wide_target_is_one_extended_answer_and_unsure_if_the_psf_is_given():
    random = np.random.default_rng(5)
    frame = 100 + 2 * random.standard_normal((SIDE, SIDE)) + 4000 * spot(50.2, 40.7, 1.8)
    found = UNMIXER(frame)
    assert Flag(int(found.flags[0])) == Flag.EXTENDED
    assert len(found.blob) == 1
    assert (np.abs(found.targets.position[0] - [50.2, 40.7]) < 0.1).all()
    assert abs(found.targets.intensity[0] - 4000) < 4 * found.targets.intensity_std[0]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DistaxWarning)
        given = replace(UNMIXER, measure_psf=False)(frame)
    assert Flag(int(given.flags[0])) & Flag.UNSURE


def test_hot_pixels_are_warned_of():
    random = np.random.default_rng(6)
    frame = 100 + 2 * random.standard_normal((SIDE, SIDE))
    frame[10:100:20, 10:100:20] += 120
    with pytest.warns(DistaxWarning) as caught:
        found = UNMIXER(frame)
    lines = [str(warning.message) for warning in caught]
    assert sum("25 of 25 blobs are single bright pixels" in line for line in lines) == 1
    assert (found.flags & int(Flag.UNSURE)).all()


def test_a_peak_at_the_last_pixels_of_texture_is_unsure():
    """Texture goes on behind the frame, so that its slopes end in peaks there."""
    frame = clutter()[2:, 2:] + 400 * spot(98.0, 40.2, 0.8)[2:, 2:]
    frame = frame[:97]
    with pytest.warns(DistaxWarning, match="textured"):
        found = UNMIXER(frame)
    unsure = found.flags & int(Flag.UNSURE) > 0
    last = found.targets.position[:, 0] > 95
    assert last.any()
    assert unsure[last].all()
    assert not unsure.all()
