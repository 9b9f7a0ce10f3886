"""Frames over which the PSF varies, with at most two targets per blob."""

from dataclasses import dataclass, replace

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from distax import DistaxError, DistaxWarning, Sensor
from distax.fitting.estimators import FastFit
from distax.fitting.local_psf import refine_rows_apart
from distax.frames import FramePrior, FrameUnmixer
from distax.frames.blobs import signal_to_noise
from distax.frames.local_psf import local_significance
from distax.frames.residual import Residual
from distax.frames.simulation import FrameScene, simulate_frame
from distax.imaging.psf_grid import PsfGrid
from distax.imaging.scenes import ScenePrior

SIDE = 128
LINES = (0.0, 63.5, 127.0)
# Wide at the top and narrow at the bottom, elongated on the right.
SIGMAS = tuple(
    (down + 0.03 * across, down - 0.03 * across)
    for down in (0.75, 0.6, 0.45)
    for across in (0, 1, 2)
)
GRID = PsfGrid(LINES, LINES, SIGMAS)
CAMERA = Sensor(
    sigma=0.6, saturation=None, bit_depth=None, read_noise=2.0, background=100.0, psf_grid=GRID
)
SCENE = FrameScene(
    height=SIDE,
    width=SIDE,
    clusters=8,
    prior=ScenePrior(
        min_targets=2, max_targets=2, min_intensity=800.0, max_intensity=1500.0, separation=1.4
    ),
    stars=30,
    star_intensity=(500.0, 5000.0),
    gradient=0.0,
    bad_pixels=0.0,
)
UNMIXER = FrameUnmixer(sensor=CAMERA, prior=FramePrior(max_targets=2, cluster=1.5))


@pytest.fixture(scope="module")
def frame():
    return simulate_frame(jax.random.key(4), SCENE, CAMERA)


@pytest.fixture(scope="module")
def found(frame):
    return UNMIXER(frame[0])


def pulls(found, truth):
    """Returns the errors of all targets in units of the stated ones, each target found once."""
    true = np.asarray(truth.targets.position)
    distance = np.linalg.norm(found.targets.position[:, None] - true, axis=-1)
    nearest = distance.argmin(axis=1)
    assert sorted(nearest.tolist()) == list(range(len(true)))
    away = (found.targets.position - true[nearest]) / found.targets.position_std
    excess = found.targets.intensity - np.asarray(truth.targets.intensity)[nearest]
    return away, excess / found.targets.intensity_std


def test_every_target_is_found_once_within_its_error(frame, found):
    position, intensity = pulls(found, frame[1])
    assert np.sqrt(np.mean(position**2)) == pytest.approx(1.0, abs=0.25)
    assert np.sqrt(np.mean(intensity**2)) == pytest.approx(1.0, abs=0.3)
    assert np.median(found.misfit) == pytest.approx(1.0, abs=0.1)


def test_one_psf_gives_wrong_numbers_and_fluxes(frame, found):
    """So the grid is what finds every target in the test above."""
    with pytest.warns(DistaxWarning):
        one = replace(UNMIXER, sensor=replace(CAMERA, psf_grid=None))(frame[0])
    right = np.bincount(found.blob)
    wrong = np.mean(np.bincount(one.blob, minlength=len(right))[: len(right)] != right)
    assert wrong > 0.2


def test_the_residual_is_noise(frame, found):
    residual = Residual(frame[0], found, CAMERA)[:]
    assert np.std(residual) == pytest.approx(2.0, abs=0.1)
    assert np.abs(residual).max() < 15
    one = Residual(frame[0], found, replace(CAMERA, psf_grid=None))[:]
    assert np.abs(one).max() > 50


def test_a_mirrored_frame_has_mirrored_targets(frame, found):
    upside = PsfGrid(LINES, LINES, tuple(SIGMAS[3 * r + c] for r in (2, 1, 0) for c in range(3)))
    mirrored = replace(UNMIXER, sensor=replace(CAMERA, psf_grid=upside))(frame[0][::-1])
    there = mirrored.targets.position * [-1, 1] + [SIDE - 1, 0]
    distance = np.linalg.norm(found.targets.position[:, None] - there, axis=-1)
    assert len(there) == len(found.blob)
    assert (distance.min(axis=1) < found.targets.position_std.max(axis=1)).all()


def test_the_height_of_bands_does_not_matter(frame, found):
    banded = replace(UNMIXER, rows_at_once=13)(frame[0])
    np.testing.assert_array_equal(banded.blobs.pixel, found.blobs.pixel)
    np.testing.assert_allclose(banded.targets.position, found.targets.position, atol=1e-3)


@pytest.fixture(scope="module")
def even():
    """A frame with one PSF everywhere, and its unmixer."""
    camera = replace(CAMERA, psf_grid=None, sigma=(0.6, 0.55))
    unmixer = replace(UNMIXER, method="refine", sensor=camera)
    pixels, _ = simulate_frame(jax.random.key(7), SCENE, camera)
    return pixels, unmixer, unmixer(pixels)


def with_grid(unmixer, *sigmas):
    grid = PsfGrid(LINES, LINES, sigmas)
    return replace(unmixer, sensor=replace(unmixer.sensor, psf_grid=grid))


def test_a_constant_grid_gives_exactly_the_answers_of_one_psf(even):
    pixels, unmixer, one = even
    constant = with_grid(unmixer, *[(0.6, 0.55)] * 9)(pixels)
    for field in ("position", "intensity", "covariance", "score"):
        np.testing.assert_array_equal(getattr(constant.targets, field), getattr(one.targets, field))
    assert constant.threshold == one.threshold


def test_a_nearly_constant_grid_gives_nearly_these_answers(even):
    """Here every window has a PSF of its own."""
    pixels, unmixer, one = even
    nearly = with_grid(unmixer, *[(0.6, 0.55)] * 8, (0.6, 0.55001))(pixels)
    np.testing.assert_array_equal(nearly.blobs.pixel, one.blobs.pixel)
    assert nearly.blob.tolist() == one.blob.tolist()
    moved = np.abs(nearly.targets.position - one.targets.position)
    assert (moved < 0.02 * one.targets.position_std + 1e-4).all()


def test_all_places_and_frames_share_one_program(found):
    size = refine_rows_apart._cache_size()
    turned = replace(CAMERA, psf_grid=replace(GRID, sigmas=SIGMAS[::-1]))
    for key, camera in enumerate((CAMERA, turned)):
        other, _ = simulate_frame(jax.random.key(key), replace(SCENE, stars=17), camera)
        replace(UNMIXER, sensor=camera)(other)
    assert refine_rows_apart._cache_size() == size


def test_detection_interpolates_between_the_filters_of_the_nodes():
    rng = np.random.default_rng(0)
    counts, noise = rng.normal(size=(SIDE, SIDE)), rng.uniform(1.0, 2.0, (SIDE, SIDE))
    maps = np.stack([signal_to_noise(counts, noise, sigma) for sigma in SIGMAS])
    place = np.stack(np.indices((SIDE, SIDE)), axis=-1).reshape(-1, 2).astype(float)
    expected = np.sum(GRID.weights(place).T.reshape(9, SIDE, SIDE) * maps, axis=0)
    np.testing.assert_allclose(local_significance(counts, noise, GRID, 0), expected, atol=1e-6)
    part = local_significance(counts[20:90], noise[20:90], GRID, 20)
    np.testing.assert_allclose(part[10:-10], expected[30:80], atol=1e-6)


@dataclass(frozen=True)
class _OwnMethod:
    name = "own"
    fits = True
    portion_size = 1

    def __call__(self, images, sensor, prior):
        raise NotImplementedError

    def unmix_windows(self, windows, sensor, prior):
        raise NotImplementedError


@pytest.mark.parametrize(
    ("method", "message"),
    [
        ("fast", "the PSF varies over the frame, .* choose the method refine or posterior"),
        (FastFit(), "the PSF varies over the frame, .* choose the method refine or posterior"),
        (_OwnMethod(), "the method own takes one PSF for all windows .* choose refine or poste"),
    ],
)
def test_a_method_for_one_psf_is_refused(method, message):
    with pytest.raises(DistaxError, match=message):
        replace(UNMIXER, method=method)


def test_a_grid_of_another_frame_warns(frame):
    small = replace(GRID, rows=(0.0, 30.0, 60.0))
    with pytest.warns(DistaxWarning) as caught:
        replace(UNMIXER, sensor=replace(CAMERA, psf_grid=small))(frame[0])
    expected = "cover rows 0 to 60 and columns 0 to 127 of a frame of 128×128 px; beyond, the PSF"
    assert any(expected in str(warning.message) for warning in caught)


def test_the_simulated_light_has_the_psf_of_its_place():
    alone = replace(SCENE, clusters=0, stars=1, star_intensity=(1e4, 1e4))
    quiet = replace(CAMERA, read_noise=0.0, background=0.0)
    pixels, truth = simulate_frame(jax.random.key(1), alone, quiet)
    place = jnp.asarray(truth.targets.position)
    offset = np.indices(pixels.shape) - np.asarray(place).T[:, :, None]
    width = np.sqrt(np.sum(offset**2 * pixels, axis=(1, 2)) / pixels.sum())
    expected = np.sqrt(GRID.sigmas_at(np.asarray(place, float))[0] ** 2 + 1 / 12)
    np.testing.assert_allclose(width, expected, rtol=1e-3)
