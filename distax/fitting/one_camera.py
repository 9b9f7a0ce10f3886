"""Checks that images come from one camera, by the fits of parts of them."""

from collections.abc import Callable

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Bool, Float

from distax.fitting.sensor_equations import SensorTerms
from distax.fitting.sensor_rounds import FEWEST_IMAGES, Fit, optics, solve_step
from distax.imaging.sensor import Sensor
from distax.runtime.errors import DistaxError

_SIGMAS, _SHARE, _LEVEL = 5.0, 0.03, 10.0
"""If two parts of the images differ by more than the first number in standard deviations and by
more than the second as a share of the value, the images come from two cameras. The share of a
background below the third number, in counts, is taken of that number. Smaller numbers refuse one
camera by chance or for a slow drift."""
_DISPERSED, _NOISY = 1.5, 1.5
"""If the scores of the images have more than this mean square, or if the fitted variance of the
noise is more than this many times the given one, the images are sorted by their scores and fitted
again. Smaller numbers cost this time more often. Larger ones miss cameras that alternate."""
_QUIETER = 0.7
"""If the fits of the sorted images have less than this share of the noise's variance, the images
come from two cameras. Images of one camera reach 0.86. A smaller share misses similar cameras."""
_FREE = 1e6
"""Standard deviation of a prior that leaves a field free. float64 resolves the normal equations
with it."""
_NAMES = ("sigma over rows", "sigma over columns", "background")
_ADVICE = "so they come from two cameras; fit the images of each camera by themselves"


def check_one_camera(
    fit: Fit,
    given: Sensor,
    images: Float[np.ndarray, "N height width"],
    refit: Callable[[Float[np.ndarray, "_ height width"]], Fit],
) -> None:
    """Checks that the images come from one camera.

    Two cameras one after the other show by the difference between the first half of the images and
    the second. Cameras that alternate inflate the fitted noise instead. If the images are sorted by
    the sign of their scores, which are the derivatives of their log-likelihoods with respect to
    sigma or to the background, each part is mostly of one camera. Its fit leaves out the others and
    has less noise.

    Args:
      fit: the fit of all images.
      given: the sensor before the fit.
      images: the images.
      refit: fits the sensor to some of the images.

    Raises:
      DistaxError: the images come from two cameras.
    """
    _check_halves(fit.terms, fit.sensor)
    usable = _scores(fit.terms)
    dispersion = {name: float(np.mean(score**2)) for name, score in usable.items()}
    variance = _variance(fit, fit.sensor)
    if max(dispersion.values()) < _DISPERSED and variance < _NOISY * _variance(fit, given):
        return
    name = max(dispersion, key=dispersion.__getitem__)
    above = _scores(fit.compute(fit.sensor))[name] > 0
    if min(above.sum(), (~above).sum()) < FEWEST_IMAGES:
        return
    try:
        parts = [refit(images[part]) for part in (above, ~above)]
    except DistaxError:
        # Too few images of a part can be used, so nothing can be said.
        return
    sizes = [len(part.terms.count) for part in parts]
    quieter = np.average([_variance(fit, part.sensor) for part in parts], weights=sizes)
    first, second = (optics(part.sensor) for part in parts)
    over = _differ(first, second, np.hypot(parts[0].std, parts[1].std))
    for index in np.flatnonzero(over & (quieter < _QUIETER * variance)):
        raise DistaxError(
            f"images: {_NAMES[index]} is {first[index]:.3g} in about {sizes[0]} of them and "
            f"{second[index]:.3g} in about {sizes[1]}, {_ADVICE}"
        )


def _check_halves(terms: SensorTerms, sensor: Sensor) -> None:
    """Raises DistaxError if sigma or background of the two halves of the images differ."""
    half, free = len(terms.count) // 2, np.full(3, _FREE)
    steps, covariances = zip(
        *(
            solve_step(jax.tree.map(lambda leaf, part=part: leaf[part], terms), np.zeros(3), free)
            for part in (slice(half), slice(half, None))
        ),
        strict=True,
    )
    first, second = (np.maximum(optics(sensor) + step, 0.0) for step in steps)
    for index in np.flatnonzero(_differ(first, second, np.sqrt(np.diag(sum(covariances))))):
        raise DistaxError(
            f"images: {_NAMES[index]} is {first[index]:.3g} in the first half and "
            f"{second[index]:.3g} in the second, {_ADVICE}"
        )


def _differ(
    first: Float[np.ndarray, "3"], second: Float[np.ndarray, "3"], std: Float[np.ndarray, "3"]
) -> Bool[np.ndarray, "3"]:
    """Returns True where sigmas and background of two cameras differ clearly."""
    share = _SHARE * np.maximum((first + second) / 2, [0.0, 0.0, _LEVEL])
    return np.abs(first - second) > np.maximum(_SIGMAS * std, share)


def _scores(terms: SensorTerms) -> dict[str, Float[np.ndarray, " N"]]:
    """Returns each image's scores of sigma and background, divided by their standard deviations."""
    matrix, vector = np.asarray(terms.matrix, float), np.asarray(terms.vector, float)
    sigma = vector[:, :2].sum(axis=1), matrix[:, :2, :2].sum(axis=(1, 2))
    background = vector[:, 2], matrix[:, 2, 2]
    return {
        name: score / np.sqrt(np.maximum(information, np.finfo(float).tiny))
        for name, (score, information) in (("sigma", sigma), ("background", background))
    }


def _variance(fit: Fit, sensor: Sensor) -> float:
    """Returns a sensor's variance of the noise, rounding included, at the images' mean level."""
    return float(sensor.total_variance(jnp.mean(fit.terms.residuals.level)))
