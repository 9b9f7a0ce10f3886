import numpy as np
import pytest

from distax import Sensor
from distax.fitting.cameras import outside_of_range
from distax.imaging.scenes import ScenePrior

WIDE = ScenePrior(max_targets=3, cluster=2.0)


@pytest.mark.parametrize(
    ("sensor", "prior"),
    [
        (Sensor(), ScenePrior()),
        (Sensor(sigma=(1.2, 0.9), saturation=None, bit_depth=14), WIDE),
        (Sensor(sigma=0.35, read_noise=10.0, gain=2.0), ScenePrior(max_targets=1)),
        (Sensor(read_noise=20.0, background=40.0), ScenePrior(border=0)),
        (Sensor(bit_depth=None, saturation=44.0), ScenePrior(cluster=1.6, max_targets=6)),
    ],
)
def test_the_stated_range_is_accepted(sensor, prior):
    assert outside_of_range(sensor, prior) is None


@pytest.mark.parametrize(
    ("sensor", "prior", "message"),
    [
        (Sensor(sigma=0.3), ScenePrior(), "the sensor's sigma is 0.3 px, .* knows 0.35 to 1.2"),
        (Sensor(sigma=1.5), WIDE, "the sensor's sigma is 1.5 px"),
        (
            Sensor(sigma=(1.0, 0.6)),
            WIDE,
            "the ratio of the sensor's two sigmas is 1.67, .* knows 1 to 1.4",
        ),
        (Sensor(), ScenePrior(cluster=2.5), "the prior's cluster is 5 sigma, .* knows 0.8 to 4"),
        (
            Sensor(),
            ScenePrior(max_targets=7, cluster=2.0),
            "the prior's max_targets is 7, .* knows 1 to 6",
        ),
        (
            Sensor(),
            ScenePrior(min_intensity=20.0),
            "the ratio of the prior's max_intensity to its min_intensity is 12.5, .* knows 1 to 10",
        ),
        (Sensor(read_noise=30.0), ScenePrior(), "the signal-to-noise ratio of a peak is 3.* 5"),
        (Sensor(gain=0.05), ScenePrior(), "the signal-to-noise ratio of a peak is 2"),
        (
            Sensor(saturation=30.0),
            ScenePrior(),
            "the sensor's saturation is .* of a peak, .* at least 0.4",
        ),
    ],
)
def test_what_lies_outside_is_named(sensor, prior, message):
    with pytest.raises(AssertionError, match=message):
        raise AssertionError(outside_of_range(sensor, prior))


def test_a_peak_is_the_brightest_pixel_of_a_target():
    peak = 235 * 0.682689**2  # Of a pixel from −1 to 1 standard deviations along each axis.
    limit = np.sqrt((peak / 5) ** 2 - 1 / 12)
    for factor, known in ((0.99, True), (1.01, False)):
        noisy = Sensor(read_noise=factor * limit)
        assert (outside_of_range(noisy, ScenePrior()) is None) is known
