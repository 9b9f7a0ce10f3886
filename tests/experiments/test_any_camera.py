"""Training of the network of `FastFit`, and the examples that it learns from."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from distax.fitting.network import load_network
from distax.imaging.scenes import ScenePrior, sample_each, scene_keys


@pytest.fixture(scope="module")
def training(experiment):
    """The training script, with few scenes of CSIST-100K's camera in a file."""
    script = experiment("any_camera")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(script, "PER_FILE", 2 * script.PER_CAMERA)
        patch.setattr(script, "BATCH", 8)
        yield script


@pytest.fixture(scope="module")
def folder(training, tmp_path_factory):
    """A folder with files of one and of two targets: of each one for training, one held out."""
    path = tmp_path_factory.mktemp("examples")
    for seed in (1, 2):
        training.simulate(path, seed, csist_share=1.0, files=2)
    return path


def test_examples_are_the_fits_of_scenes_and_their_targets(training, folder):
    for count in (1, 2):
        examples = training.read_examples(folder / f"examples_2_{count - 1:05d}_{count}.npz")
        assert examples.position.shape == (128, count, 2)
        best = np.argmax(examples.tokens.log_squares, axis=1)
        found = examples.tokens.position[np.arange(len(best)), best]
        away = np.linalg.norm(found[:, :, None] - examples.position[:, None], axis=-1)
        np.testing.assert_allclose(away.min(axis=1), 0.0, atol=0.06)


def test_a_turned_example_is_the_same_scene(training, folder):
    examples = jax.tree.map(jnp.asarray, training.read_examples(folder / "examples_2_00001_2.npz"))
    turned = training.turn(jax.random.key(0), examples)
    assert not np.allclose(turned.position, examples.position)

    def invariants(one):
        tokens = one.tokens
        step = tokens.step[..., :2]
        return {
            "from truth": jnp.linalg.norm(tokens.position - one.position[:, None], axis=-1),
            "from centre": jnp.linalg.norm(tokens.position - tokens.centre[:, :, None], axis=-1),
            "covariance": jnp.linalg.eigvalsh(tokens.covariance[..., :2, :2]),
            "step": jnp.einsum("nski,nskij,nskj->nsk", step, tokens.covariance[..., :2, :2], step),
            "room": jnp.sort(tokens.room, axis=-1),
            "camera": jnp.sort(tokens.camera, axis=-1),
            # In a mirrored image the room above a window is the room below it.
            "edge": jnp.max(tokens.room[:, ::2] + tokens.room[:, 1::2], axis=-1),
        }

    before, after = invariants(examples), invariants(turned)
    for name, value in before.items():
        np.testing.assert_allclose(after[name], value, rtol=1e-3, atol=1e-6, err_msg=name)


def test_placing_in_turn_keeps_square_and_distance(experiment):
    prior = ScenePrior(min_targets=4, max_targets=4)
    keys = scene_keys(jax.random.key(0), 200)
    together = sample_each(keys, prior)
    placed = experiment("mode_examples").place_in_turn(keys, together, prior)
    assert np.mean(np.any(placed.position != together.position, axis=(1, 2))) > 0.5
    away = placed.position[:, :, None] - placed.position[:, None]
    distance = np.linalg.norm(away, axis=-1) + 9 * np.eye(4)
    assert distance.min() >= prior.min_distance
    assert np.abs(away).max() <= prior.cluster + 1e-5


def test_a_short_training_writes_a_network_that_it_resumes(training, folder, capsys):
    training.train(folder, minutes=0.02, width=16, blocks=1, warm_up=2, every=2)
    assert "held-out loss on CSIST-100K" in capsys.readouterr().out
    first = load_network(folder / "network.safetensors")
    training.train(folder, minutes=0.02, every=2)
    assert load_network(folder / "network.safetensors").width == first.width == 16
