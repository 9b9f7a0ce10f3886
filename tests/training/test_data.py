"""Feeds and held-out data for models of sequences, and single frames of sequences."""

from dataclasses import replace

import jax
import numpy as np
import pytest

from distax import DistaxError
from distax.datasets import seqcsist
from distax.imaging.motion import sample_frames, sample_sequences, simulate
from distax.imaging.scenes import ScenePrior, scene_keys
from distax.runtime.sharding import data_mesh
from distax.training.config import DataConfig, ModelConfig, MotionConfig, TrainConfig
from distax.training.data import make_feed, make_held_out, simulation
from tests.models.sizes import SEQUENCES

PRIOR = ScenePrior(min_targets=2, max_targets=4)
CONFIG = TrainConfig(
    model=ModelConfig("tdan", options=SEQUENCES["tdan"]),
    prior=PRIOR,
    motion=MotionConfig(frames=6, speed=0.3),
    batch_size=2,
    eval_images=20,
)
SINGLE = replace(CONFIG, model=ModelConfig("espcn"))
NAME = "simulated_seed1_4_2_1"


@pytest.fixture(scope="module")
def data_dir(tmp_path_factory):
    folder = tmp_path_factory.mktemp("data")
    seqcsist.build(NAME, folder)
    return str(folder)


def on_disk(config, data_dir, **settings):
    return replace(config, data=DataConfig(f"seqcsist/{NAME}", data_dir, **settings))


def take(config, steps=2):
    ((frames, targets),) = make_feed(config, data_mesh()).batches([range(steps)])
    return np.asarray(frames), jax.tree.map(np.asarray, targets)


def keys_of_step(config, step):
    key = jax.random.fold_in(jax.random.key(config.seed), 0)
    return scene_keys(jax.random.split(jax.random.fold_in(key, step))[0], config.batch_size)


def test_the_prior_is_that_of_the_scenes_with_the_motion():
    prior = CONFIG.motion_prior
    assert (prior.placement, prior.frames, prior.speed) == (PRIOR, 6, 0.3)
    assert simulation(CONFIG) == {"prior": prior, "single_frames": False}
    assert simulation(SINGLE) == {"prior": PRIOR, "single_frames": False}
    moving = replace(SINGLE, data=DataConfig(moving=True))
    assert simulation(moving) == {"prior": prior, "single_frames": True}


def test_sequences_are_simulated_from_the_steps_keys():
    frames, targets = take(CONFIG)
    assert frames.shape == (2, 2, 6, 11, 11)
    for step in range(2):
        expected = sample_sequences(keys_of_step(CONFIG, step), CONFIG.motion_prior)
        np.testing.assert_allclose(targets.position[step], expected.position, atol=1e-5)
    assert set(np.unique(targets.count)) <= {2, 3, 4}


def test_single_frames_of_moving_scenes():
    config = replace(SINGLE, data=DataConfig(moving=True))
    frames, targets = take(config)
    assert frames.shape == (2, 2, 11, 11)
    expected = sample_frames(keys_of_step(config, 1), config.motion_prior)
    np.testing.assert_allclose(targets.position[1], expected.position, atol=1e-5)
    # A frame is one of those of the sequence that a half of its key gives.
    keys = jax.vmap(jax.random.split)(keys_of_step(config, 1))[:, 0]
    sequences = sample_sequences(keys, config.motion_prior).position
    distance = np.abs(np.asarray(sequences) - targets.position[1][:, None]).max(axis=(2, 3))
    assert (distance.min(axis=1) < 1e-5).all()


def test_held_out_sequences_hold_as_many_frames():
    frames, targets = make_held_out(CONFIG)
    assert frames.shape == (3, 6, 11, 11)
    assert targets.mask.shape == (3, 6, 4)
    key = jax.random.fold_in(jax.random.key(0), 1)
    np.testing.assert_array_equal(frames, simulate(key, 3, prior=CONFIG.motion_prior)[0])
    single = make_held_out(replace(SINGLE, data=DataConfig(moving=True)))
    assert single[0].shape == (20, 11, 11)


def test_sequences_on_disk(data_dir):
    config = on_disk(CONFIG, data_dir)
    frames, _ = take(config)
    every = seqcsist.read_split(seqcsist.open_split(NAME, "train", data_dir))[0]
    assert {row.tobytes() for row in frames.reshape(4, 20, 11, 11)} == {
        row.tobytes() for row in every
    }
    streamed, _ = take(on_disk(CONFIG, data_dir, feed="stream"))
    np.testing.assert_array_equal(streamed, frames)
    held_out, _ = make_held_out(replace(config, eval_images=40))
    expected = seqcsist.read_split(seqcsist.open_split(NAME, "validation", data_dir))[0]
    np.testing.assert_array_equal(held_out, expected)


def test_a_model_of_single_images_gets_the_frames_one_by_one(data_dir):
    config = on_disk(SINGLE, data_dir)
    frames, targets = take(config, steps=40)
    every, truth = seqcsist.read_split(seqcsist.open_split(NAME, "train", data_dir))
    assert {row.tobytes() for row in frames.reshape(80, 11, 11)} == {
        row.tobytes() for row in every.reshape(80, 11, 11)
    }
    assert targets.count.sum() == truth.count.sum()
    with pytest.raises(DistaxError, match="single frames of sequences cannot be streamed"):
        make_feed(on_disk(SINGLE, data_dir, feed="stream"), data_mesh())


def test_more_targets_than_the_prior_has_are_refused(data_dir):
    few = replace(on_disk(CONFIG, data_dir), prior=ScenePrior(min_targets=1, max_targets=1))
    for make in (make_held_out, lambda config: make_feed(config, data_mesh())):
        with pytest.raises(DistaxError, match=r"targets, the prior at most 1; give --prior\.max"):
            make(few)


def test_what_does_not_fit_is_refused():
    images = replace(CONFIG, data=DataConfig("simulated"))
    with pytest.raises(DistaxError, match="tdan takes sequences, simulated has images; name a"):
        make_feed(images, data_mesh())
    with pytest.raises(DistaxError, match="targets may move"):
        make_feed(replace(CONFIG, motion=MotionConfig(speed=2.0)), data_mesh())
    with pytest.raises(DistaxError, match=r"nearer than 0\.5 px to the image's edge"):
        make_feed(replace(CONFIG, prior=replace(PRIOR, border=0)), data_mesh())
