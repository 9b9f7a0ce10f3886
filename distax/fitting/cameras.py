"""Range of cameras and priors that the network of `FastFit` is trained for."""

import math

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float

from distax.fitting.patch import Patch, lanes_last
from distax.fitting.tokens import LARGEST_COUNT, mean_noise, middle_peak
from distax.imaging.psf import Psf
from distax.imaging.scenes import ScenePrior
from distax.imaging.sensor import Sensor
from distax.runtime.batching import in_batches, inference_batch

SIGMA = 0.35, 1.2
"""Smallest and largest standard deviation of the PSF along an axis, in pixels."""
LARGEST_RATIO = 1.4
"""Largest ratio of the PSF's two standard deviations."""
CLUSTER = 0.8, 4.0
"""Smallest and largest side of the cluster, in standard deviations of the PSF."""
INTENSITIES = 10.0
"""Largest ratio of the prior's largest intensity to its smallest."""
LEAST_PEAK = 5.0
"""Smallest signal-to-noise ratio of a target's peak."""
LEAST_SATURATION = 0.4
"""Smallest saturation above the background, as a share of a target's peak."""
_ROUNDING = 1.001
"""Factor by which numbers may lie beyond a bound, because they may be rounded."""


def outside_of_range(sensor: Sensor, prior: ScenePrior) -> str | None:
    """Says what about a sensor or a prior the network was not trained for; None if nothing.

    A target's peak is the light of its brightest pixel when it lies at the pixel's centre.

    Args:
      sensor: the camera, with known numbers.
      prior: the scenes' prior, with known numbers.
    """
    sigmas = [float(sigma) for sigma in sensor.sigmas]
    widest = max(sigmas)
    peak, variance = map(float, _peak_and_variance(sensor, prior))
    noise = math.sqrt(variance)
    saturation = (sensor.clip_level - sensor.background) / peak
    checks = (
        ("the sensor's sigma", min(sigmas), " px", *SIGMA),
        ("the sensor's sigma", widest, " px", *SIGMA),
        ("the ratio of the sensor's two sigmas", widest / min(sigmas), "", 1.0, LARGEST_RATIO),
        ("the prior's cluster", prior.cluster / widest, " sigma", *CLUSTER),
        ("the prior's max_targets", prior.max_targets, "", 1, LARGEST_COUNT),
        (
            "the ratio of the prior's max_intensity to its min_intensity",
            prior.max_intensity / prior.min_intensity,
            "",
            1.0,
            INTENSITIES,
        ),
        ("the signal-to-noise ratio of a peak", peak / noise, "", LEAST_PEAK, math.inf),
        ("the sensor's saturation", saturation, " of a peak", LEAST_SATURATION, math.inf),
    )
    for what, value, unit, low, high in checks:
        if not low / _ROUNDING <= value <= high * _ROUNDING:
            bounds = f"at least {low:g}" if math.isinf(high) else f"{low:g} to {high:g}"
            return f"{what} is {value:.3g}{unit}, and the network of fast knows {bounds}"
    return None


@jax.jit
def _peak_and_variance(
    sensor: Sensor, prior: ScenePrior
) -> tuple[Float[Array, ""], Float[Array, ""]]:
    """Returns a target's peak in counts, and the variance of its pixel in counts²."""
    peak = jnp.asarray(middle_peak(sensor.psf, prior))
    return peak, jnp.asarray(sensor.total_variance(sensor.background + peak))


def bright_enough(rows: Patch, psf: Psf, prior: ScenePrior) -> Bool[np.ndarray, " N"]:
    """Returns True for windows whose noise is in the range of the network.

    The windows of a frame differ in noise, which their sensor does not state.

    Args:
      rows: the windows, with images along the first axis.
      psf: the sensor's PSF.
      prior: the scenes' prior.
    """
    noise = in_batches(_mean_noise, rows, inference_batch())
    return np.asarray(middle_peak(psf, prior)) * _ROUNDING >= LEAST_PEAK * noise


@jax.jit
def _mean_noise(rows: Patch) -> Float[Array, " N"]:
    return mean_noise(lanes_last(rows))
