import numpy as np
import pytest

from distax import DistaxError, Sensor
from distax.frames import FramePrior


@pytest.mark.parametrize("sigma", [0.5, 1.3])
def test_shares_of_a_blobs_flux_become_counts(sigma):
    prior = FramePrior(min_share=0.1, max_share=2.0)
    placed, unit = prior.placement(Sensor(sigma=sigma)), prior.unit(np.array([500.0, 8.0]))
    np.testing.assert_allclose(placed.max_intensity * unit, [1000.0, 16.0])
    np.testing.assert_allclose(placed.min_intensity * unit, [50.0, 0.8])
    assert placed.cluster == pytest.approx(4 * sigma)
    assert placed.min_distance == pytest.approx(0.52 * 1.22 * sigma)


def test_known_intensities_do_not_depend_on_the_flux():
    prior = FramePrior(min_intensity=220.0, max_intensity=250.0, cluster=1.0)
    placed, unit = prior.placement(Sensor()), prior.unit(np.array([500.0, 8.0]))
    np.testing.assert_allclose(placed.max_intensity * unit, 250.0)
    np.testing.assert_allclose(placed.min_intensity * unit, 220.0)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"min_intensity": 3.0}, "give both"),
        ({"min_intensity": 0.0, "max_intensity": 3.0}, "min_intensity must be greater"),
        ({"min_share": 2.0}, "max_share lies below min_share: 1.5 < 2.0; give both"),
        ({"max_share": 0}, "max_share must be greater than 0, got 0"),
        ({"max_share": np.inf}, "max_share must be a finite number, got inf"),
        ({"min_intensity": 1.0, "max_intensity": 0.0}, "max_intensity must be greater than 0"),
        ({"min_intensity": 9, "max_intensity": 3}, "max_intensity lies below min_intensity: 3"),
        ({"min_intensity": 1, "max_intensity": 2, "min_share": 0.9}, "min_share .* no effect"),
        ({"max_targets": "a"}, "max_targets must be a whole number, got 'a'"),
        ({"max_share": np.ones(2)}, "max_share must be a finite number, got array"),
        ({"max_targets": 0}, "max_targets must be greater"),
        ({"cluster": 0.5}, "do not fit"),
    ],
)
def test_invalid_priors_are_refused(options, message, any_types):
    with pytest.raises(DistaxError, match=message):
        FramePrior(**options)
