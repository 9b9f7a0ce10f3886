import jax
import numpy as np
import pytest
from scipy.spatial import cKDTree

from distax import DistaxError, Sensor, render
from distax.frames.simulation import FrameScene, simulate_frame
from distax.imaging.scenes import ScenePrior

SCENE = FrameScene(height=96, width=128, clusters=12, stars=5, gradient=8.0, bad_pixels=1e-3)
SENSOR = Sensor(saturation=None, bit_depth=None, read_noise=2.0, background=100.0)


@pytest.fixture(scope="module")
def simulated():
    return simulate_frame(jax.random.key(3), SCENE, SENSOR)


def test_the_frame_is_targets_background_and_noise(simulated):
    pixels, truth = simulated
    row, column = np.indices(pixels.shape)
    background = 100 + 4.0 * row / 95 + 4.0 * column / 127
    ideal = np.asarray(render(truth.targets, Sensor(height=96, width=128)))
    left = pixels - background - ideal
    assert np.isnan(pixels).sum() == round(1e-3 * pixels.size) // 2
    hot = left > 9
    assert 0 < hot.sum() <= round(1e-3 * pixels.size) - np.isnan(pixels).sum()
    calm = left[np.isfinite(left) & ~hot]
    assert np.std(calm) == pytest.approx(2.0, rel=0.03)
    assert np.mean(calm) == pytest.approx(0.0, abs=0.1)


def test_clusters_follow_their_prior_and_keep_apart(simulated):
    _, truth = simulated
    position, intensity = truth.targets.position, truth.targets.intensity
    prior = ScenePrior()
    assert np.bincount(truth.group)[12:].tolist() == [1] * 5
    for group in range(12):
        members = position[truth.group == group]
        assert 1 <= len(members) <= prior.max_targets
        assert (np.ptp(members, axis=0) <= prior.cluster).all()
        assert (np.abs(members - np.rint(members.mean(axis=0))) <= prior.cluster).all()
        flux = intensity[truth.group == group]
        assert ((flux >= prior.min_intensity) & (flux <= prior.max_intensity)).all()
    pairs = cKDTree(position).query_pairs(6.0, output_type="ndarray")
    assert (truth.group[pairs[:, 0]] == truth.group[pairs[:, 1]]).all()
    assert (position > 3).all()
    assert (position < np.array([93, 125])).all()


def test_the_key_determines_the_frame(simulated):
    same, other = (simulate_frame(jax.random.key(k), SCENE, SENSOR)[0] for k in (3, 4))
    np.testing.assert_array_equal(same, simulated[0])
    assert not np.array_equal(other, same)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"clusters": 2000}, "has room for 1280 clusters and stars, not for 2030"),
        ({"bad_pixels": 2.0}, "between 0 and 1"),
        ({"height": 0}, "height must be greater"),
        ({"clusters": -1}, "clusters must not be negative"),
        ({"star_intensity": (0.0, 100.0)}, "star_intensity must be two bounds greater than 0"),
        ({"star_intensity": (100.0, 50.0)}, "star_intensity must be two bounds greater than 0"),
    ],
)
def test_an_invalid_scene_raises(options, message):
    with pytest.raises(DistaxError, match=message):
        FrameScene(**options)


def test_a_frame_may_hold_stars_only():
    scene = FrameScene(height=64, width=64, clusters=0, stars=3, bad_pixels=0.0)
    truth = simulate_frame(jax.random.key(0), scene, SENSOR)[1]
    assert truth.targets.intensity.shape == (3,)
    assert len(set(truth.group.tolist())) == 3
