import hypothesis
import hypothesis.extra.numpy as hnp
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from distax import DistaxError
from distax.metrics import MaskSums, RegionCounts
from distax.metrics.masks import pair_near

SHAPE = (4, 5, 6)
jitted = jax.jit(MaskSums.of)
masks = hnp.arrays(bool, SHAPE)


@hypothesis.given(masks, masks)
def test_overlaps_are_those_of_sets_of_pixels(mask, truth):
    sums = jitted(mask, truth)
    pairs = [
        ({*map(tuple, np.argwhere(one))}, {*map(tuple, np.argwhere(true))})
        for one, true in zip(mask, truth, strict=True)
    ]
    both, either = (
        sum(len(operation(*pair)) for pair in pairs) for operation in (set.__and__, set.__or__)
    )
    if either:
        assert float(sums.iou) == pytest.approx(both / either)
        each = [len(one & true) / len(one | true) for one, true in pairs if one | true]
        assert float(sums.niou) == pytest.approx(np.mean(each))
    else:
        assert np.isnan([sums.iou, sums.niou]).all()


@hypothesis.given(masks, masks)
def test_parts_add_up_to_the_whole(mask, truth):
    first = jnp.array([True, False, False, True])
    merged = jax.tree.map(jnp.add, jitted(mask, truth, first), jitted(mask, truth, ~first))
    jax.tree.map(np.testing.assert_array_equal, merged, jitted(mask, truth))


def drawn(*rectangles, shape=(12, 20)):
    mask = np.zeros(shape, bool)
    for row, column, height, width in rectangles:
        mask[row : row + height, column : column + width] = True
    return mask


def test_regions_by_hand():
    truth = drawn((1, 1, 2, 2), (8, 8, 1, 1), (8, 15, 1, 1))
    # The first is found 1 px beside; the second is 3 px away, which is too far; one is false.
    found = drawn((1, 2, 2, 2), (8, 11, 1, 1), (3, 15, 1, 3))
    counts = RegionCounts.of(found, truth)
    assert counts == RegionCounts(targets=3, detected=1, false_pixels=1 + 3, pixels=240)
    assert (counts.pd, counts.fa) == (pytest.approx(1 / 3), pytest.approx(4 / 240))
    twice = sum([counts, counts], RegionCounts())
    assert (twice.targets, twice.pixels, twice.pd) == (6, 480, counts.pd)


def test_pixels_that_touch_at_a_corner_are_one_region():
    counts = RegionCounts.of(drawn((1, 1, 1, 1), (2, 2, 1, 1)), drawn((1, 1, 2, 2)))
    assert (counts.detected, counts.false_pixels) == (1, 0)


def test_empty_masks_have_no_rate_of_detection():
    nothing = drawn()
    counts = RegionCounts.of(nothing, nothing)
    assert (counts.pd, counts.fa) == (None, 0.0)
    assert RegionCounts().fa is None
    assert RegionCounts.of(nothing, drawn((1, 1, 1, 1))).pd == 0.0


def test_as_many_points_are_paired_as_possible():
    # Nearest first would give the second point away, and leave the first without a partner.
    found, true = np.array([[0.0, 0.0], [0.0, 2.0]]), np.array([[0.0, 1.9], [0.0, 4.0]])
    assert pair_near(found, true).tolist() == [0, 1]
    assert pair_near(found, true, reach=1.9).tolist() == [-1, 0]
    assert pair_near(found, true[:0]).tolist() == [-1, -1]
    assert pair_near(found[:0], true).tolist() == []


def test_what_cannot_be_compared_is_refused(any_types):
    with pytest.raises(DistaxError, match=r"masks of \(12, 20\) and \(3, 3\) pixels"):
        RegionCounts.of(drawn(), drawn(shape=(3, 3)))
    with pytest.raises(DistaxError, match=r"masks of \(12, 20\) and \(1, 20\) pixels"):
        MaskSums.of(drawn(), drawn(shape=(1, 20)))
    grey = drawn((1, 1, 2, 2)).astype(np.uint8)
    for compare in (MaskSums.of, RegionCounts.of):
        with pytest.raises(DistaxError, match="must be of bool, got uint8 and uint8; compare them"):
            compare(grey, 255 * grey)
    for several in (np.zeros((2, 5, 5), bool), np.zeros((0, 5), bool)):
        with pytest.raises(DistaxError, match="regions are counted in one image, got masks of"):
            RegionCounts.of(several, several)
    with pytest.raises(DistaxError, match="reach must be greater than 0"):
        RegionCounts.of(drawn(), drawn(), reach=0.0)
