"""Rates and CSO-mAP of SeqCSIST's toolkit: against its results, and on cases worked by hand."""

from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from distax import DistaxError, Sensor
from distax.imaging.grid import decode
from distax.imaging.targets import make_targets
from distax.metrics import RADII, RateSums, cso_map
from distax.metrics.sequence_rates import scan_match

REFERENCE = Path(__file__).parents[1] / "reference/seqcsist/metrics.npz"


@pytest.fixture(scope="module")
def archive():
    with np.load(REFERENCE) as file:
        return dict(file)


@pytest.fixture(scope="module")
def truth(archive):
    targets = jnp.asarray(archive["targets"], jnp.float32)
    mask = jnp.arange(5) < archive["count"][..., None]
    return make_targets(targets[..., :2], targets[..., 2], mask)


def detections(archive, threshold):
    grids = jnp.asarray(archive["prediction"]).reshape(-1, 16, 33, 33)
    return decode(grids, float(threshold), Sensor(), max_targets=64)


def frames_of(truth, first):
    return jax.tree.map(lambda leaf: leaf[:, first : first + 16], truth)


@pytest.mark.parametrize("threshold", [50, 70])
@pytest.mark.parametrize(("kind", "first"), [("aligned", 2), ("as_published", 0)])
def test_rates_are_those_of_the_toolkit(archive, truth, threshold, kind, first):
    sums = RateSums.of(detections(archive, threshold), frames_of(truth, first))
    assert int(sums.detections) == archive[f"detections_{threshold}"]
    assert int(sums.targets) == archive[f"truths_{threshold}"]
    for rate in ("detection_rate", "false_rate"):
        expected = archive[f"{rate}_{kind}_{threshold}"]
        np.testing.assert_allclose(getattr(sums, rate), expected, rtol=1e-6)


@pytest.mark.parametrize("threshold", [50, 70])
def test_cso_map_is_that_of_the_toolkit(archive, truth, threshold):
    result = cso_map(detections(archive, threshold), frames_of(truth, 2))
    np.testing.assert_allclose(result.ap, archive[f"ap_{threshold}"], rtol=1e-5)
    assert float(result.mean) == pytest.approx(archive[f"mean_ap_{threshold}"], rel=1e-5)


def test_sums_of_parts_add_up_to_those_of_the_whole(archive, truth):
    found, truth = detections(archive, 70), frames_of(truth, 2)
    whole = RateSums.of(found, truth)
    parts = [
        jax.tree.map(lambda leaf, rows=rows: leaf[rows], (found, truth))
        for rows in (slice(0, 2), slice(2, 6))
    ]
    total = jax.tree.map(jnp.add, *(RateSums.of(*part) for part in parts))
    chosen = jnp.broadcast_to(jnp.arange(6)[:, None] < 2, (6, 16))
    masked = RateSums.of(found, truth, valid=chosen)
    for name in ("matches", "targets", "detections"):
        np.testing.assert_array_equal(getattr(total, name), getattr(whole, name))
        first = getattr(RateSums.of(*parts[0]), name)
        np.testing.assert_array_equal(getattr(masked, name), first)


def test_the_first_detection_in_scan_order_is_taken():
    """The nearest of the two comes later in the scan, and is left to the second true target."""
    found = make_targets(
        jnp.array([[5.1, 5.0], [5.0, 5.0], [9.0, 9.0]]), jnp.array([90.0, 80.0, 100.0])
    )
    truth = make_targets(jnp.array([[5.1, 5.0], [5.0, 5.0]]), jnp.array([230.0, 240.0]))
    matched = scan_match(found, truth, jnp.array([0.05, 0.2]))
    # Within 0.2 px the first true target takes (5.0, 5.0), the second (5.1, 5.0).
    np.testing.assert_array_equal(matched, [[True, True], [True, True]])
    near = make_targets(jnp.array([[5.1, 5.0], [5.25, 5.0]]), jnp.array([230.0, 240.0]))
    # (5.25, 5.0) has only (5.1, 5.0) within 0.2 px; the first true target takes (5.0, 5.0).
    np.testing.assert_array_equal(scan_match(found, near, jnp.array([0.2])), [[True], [True]])
    far = make_targets(jnp.array([[5.05, 5.0], [4.85, 5.0]]), jnp.array([230.0, 240.0]))
    # The first true target takes (5.0, 5.0), the only one that the second could have.
    np.testing.assert_array_equal(scan_match(found, far, jnp.array([0.2])), [[True], [False]])


def test_a_detection_at_the_radius_is_no_match():
    found = make_targets(jnp.array([[5.0, 5.25]]), jnp.array([90.0]))
    truth = make_targets(jnp.array([[5.0, 5.0]]), jnp.array([230.0]))
    np.testing.assert_array_equal(scan_match(found, truth, jnp.array([0.25, 0.26])), [[0, 1]])


def test_empty_answers_and_empty_truth():
    none = make_targets(jnp.zeros((1, 3, 2)), jnp.zeros((1, 3)), jnp.zeros((1, 3), bool))
    one = make_targets(jnp.zeros((1, 1, 2)), jnp.ones((1, 1)))
    for found, truth, false in ((none, one, 0.0), (one, none, 1.0), (none, none, 0.0)):
        sums = RateSums.of(found, truth)
        np.testing.assert_array_equal(sums.detection_rate, np.zeros(len(RADII)))
        np.testing.assert_array_equal(sums.false_rate, np.full(len(RADII), false))


def test_other_numbers_of_frames_are_refused():
    one, two = (make_targets(jnp.zeros((n, 1, 2)), jnp.ones((n, 1))) for n in (1, 2))
    with pytest.raises(DistaxError, match="cannot be compared with the truth"):
        RateSums.of(one, two)
