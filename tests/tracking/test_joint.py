"""Paths fitted to the pixels of all frames: errors, lost targets, and motion of another kind."""

from dataclasses import replace

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from distax import DistaxError, Sensor, Unmixer, render
from distax.imaging.motion import SEQCSIST, simulate
from distax.imaging.sensor import expose
from distax.imaging.targets import Targets
from distax.tracking import Tracker, fit_paths, track, unmix_linked, unmix_sequences

PRIOR = replace(SEQCSIST, frames=10)
SENSOR = Sensor(read_noise=1.0)
ERROR = 0.2
"""Standard deviation in pixels of the made-up detections."""


def detect(truth, key=1):
    """Makes detections of the truth, with errors that are stated."""
    error = ERROR * jax.random.normal(jax.random.key(key), truth.position.shape)
    shape = truth.mask.shape
    return Targets(
        position=truth.position + error,
        intensity=truth.intensity,
        mask=truth.mask,
        score=jnp.ones(shape),
        covariance=jnp.broadcast_to(ERROR**2 * jnp.eye(2), (*shape, 2, 2)),
        hit_probability=jnp.full((*shape, 5), 0.5),
    )


def fit(frames, found):
    tracks = track(found, Tracker.for_prior(PRIOR)).targets
    return jax.tree.map(np.asarray, (fit_paths(frames, found, tracks, SENSOR, PRIOR), tracks))


def distances(truth, found):
    """Returns the distance in pixels from each true target to the nearest one found."""
    gap = np.linalg.norm(
        np.asarray(truth.position)[..., :, None, :] - found.position[..., None, :, :], axis=-1
    )
    gap = np.where(found.mask[..., None, :], gap, 9.0).min(axis=-1)
    return gap[np.asarray(truth.mask)]


@pytest.fixture(scope="module")
def scenes():
    return simulate(jax.random.key(4), 8, SENSOR, PRIOR)


@pytest.fixture(scope="module")
def fitted(scenes):
    return fit(scenes[0], detect(scenes[1]))


def test_paths_are_nearer_to_the_truth_than_tracks(scenes, fitted):
    paths, tracks = fitted
    error, before = (np.sqrt(np.mean(distances(scenes[1], each) ** 2)) for each in (paths, tracks))
    assert paths.trusted.all()
    assert paths.mask.shape == (8, 10, 4)
    np.testing.assert_array_equal(paths.mask.sum(-1), scenes[1].mask.sum(-1))
    assert error < 0.5 * before
    assert error < 0.06


def test_starts_that_are_poor_end_where_the_truth_does(scenes, fitted):
    best = fit(scenes[0], replace(detect(scenes[1]), position=scenes[1].position))[0]
    np.testing.assert_allclose(
        distances(scenes[1], fitted[0]), distances(scenes[1], best), atol=3e-3
    )


def test_stated_errors_are_as_large_as_true_errors(scenes, fitted):
    paths = fitted[0]
    # The posterior of four targets within a pixel is not Gaussian, and their errors are larger.
    few = np.asarray(scenes[1].mask[:, 0].sum(-1)) < 4
    some, truth = jax.tree.map(lambda leaf: np.asarray(leaf)[few], (paths, scenes[1]))
    stated = np.sqrt(np.trace(some.covariance[some.mask], axis1=-2, axis2=-1).mean())
    true = np.sqrt(np.mean(distances(truth, some) ** 2))
    # 14 targets with four parameters each: three standard deviations are 28%.
    assert few.sum() == 5
    assert 0.7 < true / stated < 1.4
    assert (np.diff(paths.hit_probability[paths.mask], axis=-1) >= 0).all()
    np.testing.assert_allclose(
        paths.score[paths.mask], paths.hit_probability[paths.mask].mean(-1), rtol=1e-5
    )


def test_a_target_that_the_tracks_lost_is_found_again(scenes):
    frames, truth = scenes
    found = detect(truth)
    # The last target of each sequence is seen in two frames only, too few for a track.
    last = np.asarray(truth.mask) & ~np.pad(truth.mask, ((0, 0), (0, 0), (0, 1)))[:, :, 1:]
    lost = last & ~np.isin(np.arange(10), (0, 9))[None, :, None]
    found = replace(found, mask=jnp.asarray(np.asarray(found.mask) & ~lost))
    paths, tracks = fit(frames, found)
    assert (tracks.mask.any(1).sum(-1) < truth.mask[:, 0].sum(-1)).all()
    np.testing.assert_array_equal(paths.mask.sum(-1), truth.mask.sum(-1))
    assert np.sqrt(np.mean(distances(truth, paths) ** 2)) < 0.06


def test_motion_of_another_kind_is_answered_by_the_tracks(scenes):
    time = np.arange(10)
    bend = 0.5 * np.stack([np.sin(2 * time), np.cos(2 * time)], -1)[None, :, None]
    truth = replace(scenes[1], position=scenes[1].position + jnp.asarray(bend, jnp.float32))
    frames = expose(jax.random.key(0), render(truth, SENSOR), SENSOR)
    paths, tracks = fit(frames, detect(truth))
    assert (paths.misfit > 1.4).all()
    assert not paths.trusted.any()
    kept = paths.mask[:, 0, 0]
    np.testing.assert_allclose(
        np.sort(paths.position[kept].sum(-1))[..., -1],
        np.sort(tracks.position[kept].sum(-1))[..., -1],
    )


def test_a_parabola_needs_an_acceleration(scenes):
    prior = replace(PRIOR, acceleration=0.02)
    frames, truth = simulate(jax.random.key(6), 4, SENSOR, prior)
    found = detect(truth)
    tracks = track(found, Tracker.for_prior(prior)).targets
    paths = jax.tree.map(np.asarray, fit_paths(frames, found, tracks, SENSOR, prior))
    straight = fit(frames, found)[0]
    assert paths.trusted.all()
    assert np.sqrt(np.mean(distances(truth, paths) ** 2)) < 0.1
    assert (straight.misfit > 1.05 * paths.misfit).any(axis=1).sum() >= 2


def test_unknown_pixels_are_left_out(scenes, fitted):
    frames = np.array(scenes[0])
    frames[:, :, 0] = np.nan
    frames[:, 3] = np.nan
    paths, _ = fit(frames, detect(scenes[1]))
    assert np.isfinite(paths.position).all()
    assert np.sqrt(np.mean(distances(scenes[1], paths) ** 2)) < 0.06


def test_a_method_is_linked():
    frames, truth = simulate(jax.random.key(8), 2, SENSOR, PRIOR)
    unmixer = Unmixer(method="refine", sensor=SENSOR, prior=PRIOR.frame_prior)
    linked = unmix_linked(unmixer, frames, PRIOR)
    alone = unmix_sequences(unmixer, frames)
    assert linked.mask.shape == (2, 10, 4)
    error, before = (np.sqrt(np.mean(distances(truth, each) ** 2)) for each in (linked, alone))
    assert error < 0.6 * before


def test_tracks_of_fewer_slots_and_with_more_fields_serve_as_well(scenes, fitted):
    frames, truth = scenes
    found = detect(truth)
    tracks = track(found, Tracker.for_prior(PRIOR)).targets
    few = jax.tree.map(lambda leaf: leaf[:, :, :1], tracks)
    for given in (replace(tracks, intensity_std=jnp.ones(tracks.mask.shape)), few):
        answer = fit_paths(frames, found, given, SENSOR, PRIOR)
        assert answer.mask.shape == fitted[0].mask.shape
    with pytest.raises(DistaxError, match="tracks need covariances"):
        fit_paths(frames, found, replace(tracks, covariance=None), SENSOR, PRIOR)


def test_the_tracker_has_room_for_all_targets_of_the_prior():
    many = replace(PRIOR, placement=replace(PRIOR.placement, max_targets=7, cluster=1.5))
    assert Tracker.for_prior(many).max_tracks == 14
