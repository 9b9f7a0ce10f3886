"""Rounds of self-calibration, which alternate between the scenes and the sensor."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial

import jax
import numpy as np
from jaxtyping import Float

from distax.fitting.candidates import Search, sample_pools
from distax.fitting.patch import blob_reach, cut_rows, window_width
from distax.fitting.sensor_equations import SensorTerms, sensor_terms
from distax.fitting.sensor_noise import Noise, fit_noise
from distax.imaging.scenes import ScenePrior
from distax.imaging.sensor import Sensor
from distax.runtime.batching import in_batches, inference_batch
from distax.runtime.errors import DistaxError

FEWEST_IMAGES = 16
"""Fewest images with targets for a fit. With fewer, one wrong number of targets moves the sensor,
and two halves cannot be compared."""
MOST_ROUNDS = 30
"""Largest number of rounds. Five are usual with noise; without it ten, or twenty from a sigma that
is 15% wrong. More help only if fits keep changing their number of targets."""
_SETTLED = 0.1
"""If a round changes the sensor by less than this share of its standard deviations, the fit ends. A
smaller limit costs rounds that change the sensor by less than its error."""
_SIGMA_PRIOR, _BACKGROUND_PRIOR = 0.2, 0.1
"""Standard deviations of the prior around the given sensor: of sigma as a share of it, and of the
background as a share of the brightest target. Narrower ones pull towards a wrong sensor. Wider ones
let images of little information move it anywhere."""
_LARGEST_STEP = 0.15
"""Largest change of sigma in a round, as a share of it. Larger ones overshoot from a poor start."""
_SMALLEST_WINDOW = 5
"""Smallest width in pixels of the windows. Narrower ones hold no pixels without light, which
determine the background. Wider ones take longer."""
_MISFIT_RATIO = 2.0
"""If an image's misfit is more than this many times the median, the image is left out. A lower
ratio loses good images, a higher one keeps images that are no scenes of the prior."""


@dataclass(frozen=True)
class Fit:
    """State at the end of the rounds.

    Attributes:
      compute: computes the terms of all images under a sensor.
      spread: standard deviations of the prior around the given sigmas and background.
      sensor: the fitted sensor.
      covariance: covariance of sigmas and background.
      terms: terms of the usable images in the last round.
      noise: noise estimated in the last round.
      rounds: number of rounds.
      left_out: number of images with targets that the model explains far worse than the others.
      settled: False if the sensor still changed in the last round.
    """

    compute: Callable[[Sensor], SensorTerms]
    spread: Float[np.ndarray, "3"]
    sensor: Sensor
    covariance: Float[np.ndarray, "3 3"]
    terms: SensorTerms
    noise: Noise
    rounds: int
    left_out: int
    settled: bool = True

    @property
    def std(self) -> Float[np.ndarray, "3"]:
        """Standard deviations of sigmas and background."""
        return np.sqrt(np.diag(self.covariance))


def fit_rounds(
    compute: Callable[[Sensor], SensorTerms], start: Sensor, spread: Float[np.ndarray, "3"]
) -> Fit:
    """Alternates between scenes and sensor until the sensor's steps are far below its errors."""
    sensor = start
    for done in range(1, MOST_ROUNDS + 1):
        terms, left_out = _drop_unusable(compute(sensor))
        step, covariance = solve_step(terms, optics(sensor) - optics(start), spread)
        noise = fit_noise(terms.residuals, sensor)
        moved = _move(noise.sensor, step)
        fit = Fit(compute, spread, moved, covariance, terms, noise, done, left_out)
        change = np.abs(optics(moved) - optics(sensor)) / fit.std
        sensor = moved
        if max(change.max(), noise.shift) < _SETTLED:
            return fit
    return replace(fit, settled=False)


def sensor_terms_of(
    images: Float[np.ndarray, "N height width"], start: Sensor, prior: ScenePrior, search: Search
) -> Callable[[Sensor], SensorTerms]:
    """Returns a function that computes the terms of all images under a sensor.

    The windows have the width that suits the starting sensor, so that one compiled program serves
    all rounds.
    """
    width = max(window_width(start, prior.cluster), _SMALLEST_WINDOW)
    search = search.over(prior.cluster)
    reach, pools = blob_reach(width), sample_pools(prior, search)

    def compute(sensor: Sensor) -> SensorTerms:
        cut = partial(cut_rows, sensor=sensor, width=width, reach=reach)
        windows = in_batches(cut, images, inference_batch())
        fit = partial(sensor_terms, pools=pools, sensor=sensor, prior=prior, search=search)
        return in_batches(fit, windows, inference_batch())

    return compute


def optics(sensor: Sensor) -> Float[np.ndarray, "3"]:
    """Returns sigma over rows, sigma over columns and the background."""
    return np.array([*sensor.sigmas, sensor.background], float)


def _move(sensor: Sensor, step: Float[np.ndarray, "3"]) -> Sensor:
    """Returns the sensor after a step, which is shortened where it is too long."""
    sigmas = np.array(sensor.sigmas)
    row, column = (sigmas + np.clip(step[:2], *(sigmas * [[-1], [1]] * _LARGEST_STEP))).tolist()
    background = min(max(0.0, sensor.background + float(step[2])), sensor.clip_level - 1.0)
    return replace(sensor, sigma=(row, column), background=background)


def prior_std(sensor: Sensor, prior: ScenePrior) -> Float[np.ndarray, "3"]:
    """Returns the standard deviations of the prior around the given sensor."""
    row, column = sensor.sigmas
    background = _BACKGROUND_PRIOR * prior.max_intensity
    return np.array([_SIGMA_PRIOR * row, _SIGMA_PRIOR * column, background], float)


def _drop_unusable(terms: SensorTerms) -> tuple[SensorTerms, int]:
    """Leaves out images without a target, and those that the model explains far worse than most.

    Returns:
      The terms of the others, and the number of images with targets that are left out.

    Raises:
      DistaxError: no image has a target, or too few do.
    """
    usable = (terms.count > 0) & np.isfinite(terms.misfit)
    if not usable.any():
        raise DistaxError(
            "images: none holds a target under this sensor and prior; check the prior's "
            "intensities and the background"
        )
    with_targets = usable.sum()
    usable &= terms.misfit <= _MISFIT_RATIO * np.median(terms.misfit[usable])
    check_number(int(usable.sum()), len(usable))
    return jax.tree.map(lambda leaf: leaf[usable], terms), int(with_targets - usable.sum())


def check_number(usable: int, images: int) -> None:
    """Raises DistaxError for fewer images with targets than a fit needs."""
    if usable < FEWEST_IMAGES:
        raise DistaxError(
            f"images: {usable} of {images} can be used to fit the sensor; give at least "
            f"{FEWEST_IMAGES} with targets, better 64"
        )


def solve_step(
    terms: SensorTerms, away: Float[np.ndarray, "3"], spread: Float[np.ndarray, "3"]
) -> tuple[Float[np.ndarray, "3"], Float[np.ndarray, "3 3"]]:
    """Solves the normal equations of all images.

    Args:
      terms: the images' parts.
      away: present parameters minus the given ones.
      spread: standard deviations of the prior around the given ones.

    Returns:
      The step, and the covariance of the parameters. The covariance is multiplied by the squared
      misfit if the imaging model does not explain the images.
    """
    precision = spread**-2
    matrix = terms.matrix.sum(axis=0, dtype=float) + np.diag(precision)
    vector = terms.vector.sum(axis=0, dtype=float) - precision * away
    covariance = np.linalg.inv(matrix)
    widening = max(1.0, float(np.mean(terms.misfit**2)))
    return covariance @ vector, widening * covariance
