"""Scores of tracks against TrackEval 1.3.0, and by hand.

tests/reference/trackeval.npz has six sequences of wandering targets and tracks that swap them, and
what TrackEval's HOTA, CLEAR and Identity make of them, with the similarity 1 − distance / 0.5 px.
"""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from distax import make_targets
from distax.metrics import IdentitySums

jitted = jax.jit(jax.vmap(IdentitySums.of))
FRAMES = 6


@pytest.fixture(scope="module")
def answers(reference):
    arrays = reference("trackeval")

    def targets(name):
        mask = arrays[f"{name}_mask"]
        return make_targets(jnp.array(arrays[name]), jnp.ones(mask.shape), jnp.array(mask))

    return jitted(targets("track"), targets("true")), arrays


def hota_parts(sums):
    parts = sums.detection_accuracy, sums.association_accuracy
    return {"HOTA": sums.hota, "DetA": parts[0].mean(), "AssA": parts[1].mean()}


def test_sequences_score_as_in_trackeval(answers):
    each, expected = answers
    for number in range(len(each.true)):
        sums = jax.tree.map(lambda leaf, number=number: leaf[number], each)
        for name, value in hota_parts(sums).items():
            assert float(value) == pytest.approx(expected[f"{name}_each"][number], rel=1e-5), name
        assert float(sums.idf1) == pytest.approx(expected["IDF1_each"][number], rel=1e-6)
        assert int(sums.identity_hits) == expected["IDTP_each"][number]
        assert int(sums.hits) == expected["CLR_TP_each"][number]


def test_merged_sequences_score_as_in_trackeval(answers):
    each, expected = answers
    sums = jax.tree.map(lambda leaf: jnp.sum(leaf, axis=0), each)
    for name, value in hota_parts(sums).items():
        assert float(value) == pytest.approx(float(expected[name]), rel=1e-5), name
    assert float(sums.idf1) == pytest.approx(float(expected["IDF1"]), rel=1e-6)


def test_mota_differs_by_switches_only(answers):
    """TrackEval keeps a target's track from the frame before only, and here from any before."""
    each, expected = answers
    switches = np.asarray(each.switches)
    np.testing.assert_allclose(switches, expected["IDSW_each"], atol=1)
    np.testing.assert_allclose(
        np.asarray(jax.vmap(lambda sums: sums.mota)(each)),
        expected["MOTA_each"] + (expected["IDSW_each"] - switches) / np.asarray(each.true),
        rtol=1e-5,
    )


def lines(*rows, mask=None):
    """Returns targets at rest in all frames, 1 px apart along the rows."""
    place = np.array([[row, 0.0] for row in rows])
    position = np.tile(place, (1, FRAMES, 1, 1))
    mask = np.ones(position.shape[:-1], bool) if mask is None else mask
    return make_targets(jnp.float32(position), jnp.ones(mask.shape), jnp.asarray(mask))


def scores(tracks, truth):
    sums = jax.tree.map(lambda leaf: leaf[0], jitted(tracks, truth))
    return [float(value) for value in (sums.mota, sums.idf1, sums.hota)]


def test_perfect_tracks_in_any_order():
    assert scores(lines(2.0, 1.0), lines(1.0, 2.0)) == [1.0, 1.0, 1.0]


def test_tracks_that_swap_their_targets_halfway():
    swapped = lines(1.0, 2.0)
    position = swapped.position.at[:, 3:].set(swapped.position[:, 3:, ::-1])
    swapped = make_targets(position, swapped.intensity)
    # Each target and track agree in 3 of the 9 frames of either: AssA is 1/3, and DetA 1.
    assert scores(swapped, lines(1.0, 2.0)) == pytest.approx([1 - 2 / 12, 0.5, np.sqrt(1 / 3)])


def test_a_track_that_is_missing_in_a_third_of_the_frames():
    mask = np.ones((1, FRAMES, 1), bool)
    mask[:, 2:4] = False
    # DetA and AssA are both 2/3.
    assert scores(lines(1.0, mask=mask), lines(1.0)) == pytest.approx([2 / 3, 0.8, 2 / 3])


def test_a_track_that_is_too_far_away_is_false():
    mota, idf1, hota = scores(lines(1.3), lines(1.0))
    assert (mota, idf1) == (-1.0, 0.0)
    # Its similarity is 0.4, which reaches the first 8 of 19 thresholds.
    assert hota == pytest.approx(8 / 19)


def test_without_targets_and_tracks_nothing_is_defined():
    nothing = lines(1.0, mask=np.zeros((1, FRAMES, 1), bool))
    assert np.isnan(scores(nothing, nothing)).all()
    mota, idf1, hota = scores(nothing, lines(1.0))
    assert (mota, idf1, hota) == (0.0, 0.0, 0.0)
