from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

import distax
from distax import DistaxError, Sensor, weights
from distax.imaging.scenes import ScenePrior, simulate
from distax.metrics import cso_map

SCENES = 200


@pytest.fixture(scope="module")
def detect():
    model, sensor = weights.load("density")
    assert sensor == Sensor()
    graph, state = nnx.split(model)
    return jax.jit(lambda images: nnx.merge(graph, state).detect(images))


@pytest.fixture(scope="module")
def scenes():
    return simulate(jax.random.key(10_000), SCENES)


@pytest.fixture(scope="module")
def found(detect, scenes):
    return detect(scenes[0])


def test_positions_are_near_the_bayes_limit(found, scenes):
    result = cso_map(found, scenes[1])
    assert float(result.mean) > 0.90
    assert float(result.ap[0]) > 0.72


def test_the_count_is_right(found, scenes):
    assert float(jnp.mean(found.count == scenes[1].count)) >= 0.995
    assert float(jnp.mean(found.count_probability)) > 0.99


def test_up_to_three_targets_are_found_to_a_twentieth_of_a_pixel(found, scenes):
    few = np.asarray(scenes[1].count) <= 3
    few_found, few_true = jax.tree.map(lambda leaf: leaf[few], (found, scenes[1]))
    assert float(cso_map(few_found, few_true).ap[0]) > 0.98


def test_a_lone_target_is_measured_as_well_as_stated(found, scenes):
    truth, lone = scenes[1], np.asarray(scenes[1].count) == 1
    offset = (found.position - truth.position)[lone, 0]
    squares = jnp.einsum("ni,nij,nj->n", offset, jnp.linalg.inv(found.covariance[lone, 0]), offset)
    assert float(jnp.mean(squares)) == pytest.approx(2.0, abs=0.9)
    error = (found.intensity - truth.intensity)[lone, 0]
    assert float(jnp.sqrt(jnp.mean(error**2))) < 1


def test_regions_hold_their_share_of_the_targets(found, scenes):
    truth = scenes[1]
    distance = np.linalg.norm(found.position[:, :, None] - truth.position[:, None], axis=-1)
    nearest = np.where(truth.mask[:, None], distance, np.inf).min(axis=-1)
    inside = (nearest[..., None] <= found.credible_radius)[np.asarray(found.mask)].mean(axis=0)
    np.testing.assert_allclose(inside, [0.5, 0.9, 0.95], atol=0.1)


def test_own_images_are_trusted(found):
    assert float(jnp.mean(found.trusted)) > 0.98


@pytest.mark.parametrize(
    ("sensor", "prior"),
    [
        (Sensor(read_noise=3.0), ScenePrior()),
        (Sensor(background=10.0), ScenePrior()),
        (Sensor(), ScenePrior(min_targets=6, max_targets=6, separation=0.4)),
        (Sensor(sigma=0.6), ScenePrior(max_targets=3)),
    ],
    ids=["noise", "background", "six targets", "wide PSF"],
)
def test_other_images_are_not(detect, sensor, prior):
    images, _ = simulate(jax.random.key(3), 40, sensor, prior)
    assert float(jnp.mean(detect(images).trusted)) < 0.1


def test_an_empty_image_has_no_targets(detect):
    assert not detect(jnp.zeros((1, 11, 11))).mask.any()


def test_an_unknown_name_is_answered_with_the_known_ones():
    with pytest.raises(DistaxError, match=r"unknown weights 'densty': did you mean 'density'\?"):
        weights.load("densty")


def test_a_changed_file_is_refused(monkeypatch):
    monkeypatch.setitem(weights._SHA256, "density", "0" * 64)
    with pytest.raises(DistaxError, match=r"density\.safetensors: missing, incomplete or changed"):
        weights.load("density")


def test_every_name_has_a_file_of_less_than_ten_megabytes_and_a_card():
    folder = Path(distax.weights.__file__).parent
    for name in weights.names():
        assert (folder / f"{name}.safetensors").stat().st_size < 10e6
        assert weights._SHA256[name]
        assert (folder / f"{name}.md").read_text().startswith(f"# {name}\n")


def test_what_cannot_be_found_is_answered_with_what_can(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(
        DistaxError, match=r"'cfgn_ofset': did you mean 'cfgn_offset'\?.*folder or a"
    ):
        weights.find("cfgn_ofset")
    with pytest.raises(DistaxError, match="runs/none"):
        weights.find("runs/none")
