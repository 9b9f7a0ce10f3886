import numpy as np

from distax.frames import Flag
from distax.viz.ranking import best_targets, doubt, interesting_blobs
from tests.viz.made_up import answer


def test_unsure_is_doubted_most_and_no_flag_least():
    flags = [0, Flag.CROWDED, Flag.BORDER | Flag.CLIPPED, Flag.UNSURE, Flag.UNSURE | Flag.CROWDED]
    assert doubt(np.array(flags, int)).tolist() == [0, 1, 1, 2, 2]


def test_targets_are_ordered_by_doubt_then_by_score_then_by_intensity():
    found = answer(
        *(np.zeros((5, 2)), [0] * 5, [[0, 0]], (20, 20)),
        flags=[Flag.UNSURE, 0, 0, Flag.CROWDED, 0],
        score=[9, 1, 2, 9, 2],
    )
    # Intensities fall from target to target.
    assert best_targets(found).tolist() == [2, 4, 1, 3, 0]


def test_blobs_without_doubt_come_first_then_those_of_several_targets_then_bright_ones():
    found = answer(
        *(np.zeros((7, 2)), [1, 2, 3, 3, 4, 5, 5], np.zeros((6, 2)), (20, 20)),
        flags=[0, Flag.UNSURE, 0, 0, 0, 0, Flag.BORDER],
        snr=[60, 50, 40, 30, 20, 10],
    )
    assert interesting_blobs(found).tolist() == [3, 1, 4, 5, 2, 0]
