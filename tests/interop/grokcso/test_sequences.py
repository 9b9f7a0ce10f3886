"""Parity of DeRefNet and TDAN with the original toolkit: answers, steps between and losses."""

from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from distax import DistaxError
from distax.interop import grokcso

ZOO = Path(__file__).parents[2] / "reference/zoo_more"
# The largest change of an original's output under rounding; parity is within ten times of it.
ROUNDING = {"derefnet": 4e-4, "tdan": 5e-4}


def read(name):
    with np.load(ZOO / f"{name}.npz") as file:
        arrays = dict(file)
    return arrays, {
        key.removeprefix("weights/"): np.float32(value)
        for key, value in arrays.items()
        if key.startswith("weights/")
    }


def load(name, **options):
    arrays, weights = read(name)
    matrices = {key: arrays[key] for key in ("phi", "q_init") if key in arrays}
    model = grokcso.load(name, weights, factor=3, **matrices, **options)
    images = jnp.asarray(arrays["sequence"].reshape(*arrays["sequence"].shape[:2], 11, 11))
    return model, images, arrays


TERMS = ("regression", "alignment", "symmetry")


def grids_of(arrays):
    return jnp.asarray(arrays["target"].reshape(*arrays["target"].shape[:2], 33, 33))


def assert_close(found, expected, name):
    np.testing.assert_allclose(
        found, expected.reshape(np.shape(found)), rtol=0, atol=10 * ROUNDING[name]
    )


@pytest.fixture(scope="module")
def derefnet():
    model, images, arrays = load("derefnet")

    def run(model, images, grids):
        features = model.alignment.extract((model.run(images).single * gate(model))[:1, :3])[0]
        frame, neighbour = features[2:3], features[:1]
        attention = model.alignment.attention(frame, neighbour)
        first = model.alignment.first(neighbour, attention)
        pair = {
            "feature_centre": frame,
            "feature_neighbour": neighbour,
            "attention": attention,
            "offset_1": model.alignment.first.offset(attention),
            "deformed_1": first,
            "offset_2": model.alignment.second.offset(first),
            "deformed_2": model.alignment.second(first),
        }
        losses = [
            model.loss_terms(images[index, None], grids[index, None])
            for index in range(len(images))
        ]
        return model.run(images), pair, losses, model.objective(images, grids)

    def gate(model):
        return model.gate(7).reshape(7, 33, 33)

    with jax.default_matmul_precision("highest"):
        found = jax.jit(run)(model, images, grids_of(arrays))
        return model, found, gate(model), arrays


def test_derefnet_answers_as_the_original(derefnet):
    model, (steps, *_), _, arrays = derefnet
    assert_close(steps.output, arrays["output"], "derefnet")
    assert_close(steps.aligned, arrays["aligned"], "derefnet")
    assert_close(steps.single, arrays["stages"][:, :, -1], "derefnet")
    assert list(model.answered(7)) == arrays["frames"].tolist()


def test_derefnet_gates_by_time(derefnet):
    np.testing.assert_allclose(derefnet[2].reshape(7, -1), derefnet[3]["gate"], rtol=0, atol=2e-6)


def test_derefnet_aligns_step_by_step(derefnet):
    (_, pair, *_), arrays = derefnet[1], derefnet[3]
    for name, maps in pair.items():
        expected = np.moveaxis(arrays[f"pair_{name}"], 0, -1)
        np.testing.assert_allclose(
            maps[0, 11:22], expected, rtol=0, atol=1e-5 * np.abs(expected).max(), err_msg=name
        )


def test_derefnet_is_trained_by_the_originals_terms_once(derefnet):
    (steps, _, losses, objective), arrays = derefnet[1], derefnet[3]
    found = np.array([[terms[name] for name in TERMS] for terms in losses])
    np.testing.assert_allclose(found, arrays["losses"][:, :3], rtol=1e-5)
    assert float(objective) == pytest.approx(arrays["losses"][:, 3].mean(), rel=1e-5)
    squares = [np.mean(np.square(maps).reshape(2, 7, -1), -1) for maps in steps.asymmetries]
    np.testing.assert_allclose(np.stack(squares, -1), arrays["symmetry_mean_square"], rtol=1e-4)


@pytest.fixture(scope="module")
def tdan():
    model, images, arrays = load("tdan", middle_frame=True)

    def run(model, images, grids):
        features = model.features(images[0, :3, ..., None])
        frame, neighbour, part = features[2:3], features[:1], model.alignment
        first = part.first(neighbour, guide := part.guide(frame, neighbour))
        merged = part.merge(jnp.concatenate([frame, neighbour], axis=-1))
        once = part.refine[0](merged)
        pair = {
            "agg0": merged,
            "agg1_offset": part.refine[0].offset(merged),
            "agg1": once,
            "agg2_offset": part.refine[1].offset(once),
            "agg2": guide,
            "align1_offset": part.first.offset(guide),
            "align1": first,
            "align2_offset": part.second.offset(first),
            "align2": part.second(first),
        }
        losses = [
            model.loss_terms(images[index, None], grids[index, None])
            for index in range(len(images))
        ]
        return model(images), model.align(images), features, pair, losses

    with jax.default_matmul_precision("highest"):
        return model, images, jax.jit(run)(model, images, grids_of(arrays)), arrays


def test_tdan_answers_as_the_original(tdan):
    model, _, (output, aligned, *_), arrays = tdan
    assert_close(output, arrays["output"], "tdan")
    assert_close(aligned, arrays["aligned"], "tdan")
    assert list(model.answered(9)) == arrays["frames"].tolist()


def test_tdan_aligns_step_by_step(tdan):
    (_, _, features, pair, _), arrays = tdan[2], tdan[3]
    expected = np.moveaxis(arrays["feature"], 1, -1)
    np.testing.assert_allclose(features, expected, rtol=0, atol=1e-5 * np.abs(expected).max())
    for name, maps in pair.items():
        expected = np.moveaxis(arrays[f"pair_{name}"], 0, -1)
        np.testing.assert_allclose(
            maps[0, 3:8], expected, rtol=0, atol=1e-5 * np.abs(expected).max(), err_msg=name
        )


def test_tdan_is_trained_by_the_originals_terms_once(tdan):
    (*_, losses), arrays = tdan[2], tdan[3]
    found = np.array([[terms[name] for name in TERMS[:2]] for terms in losses])
    np.testing.assert_allclose(found, arrays["losses"][:, :2], rtol=1e-5)


def test_tdans_window_is_centred_on_the_frame_unless_asked(tdan):
    _, images, (_, published, *_), _ = tdan
    model = load("tdan")[0]
    aligned = model.align(images)
    np.testing.assert_array_equal(aligned[:, :, 2], images[:, 2:7])
    np.testing.assert_array_equal(published[:, :, 2], np.repeat(images[:, 4:5], 5, axis=1))
    assert_close(np.delete(aligned, 2, 2), np.delete(published, 2, 2), "tdan")


@pytest.mark.parametrize("name", ["derefnet", "tdan"])
def test_sizes_are_read_from_the_arrays(name):
    sizes = {
        "derefnet": {"stages": 3, "transform_channels": 32, "channels": 16, "blocks": 5},
        "tdan": {"channels": 32, "groups": 8, "blocks": 1, "tail_blocks": 2},
    }
    assert grokcso.sizes(name, read(name)[1]) == sizes[name]


def test_a_missing_array_is_named():
    _, weights = read("tdan")
    del weights["align_2.weight"]
    with pytest.raises(DistaxError, match=r"'alignment\.second\.kernel' is missing"):
        grokcso.load("tdan", weights)
