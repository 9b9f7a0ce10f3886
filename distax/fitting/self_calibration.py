"""Self-calibration: a sensor fitted to images of unknown scenes, together with their targets.

The evidence of all images is maximised by alternation. The scenes are fitted with the present
sensor. Then PSF and background take a Gauss–Newton step in which each image's scene is marginalised
(the Schur complement of the joint normal equations), and the noise is re-estimated from the
residuals. See `sensor_noise` for the noise and the saturation.

Source: MacKay, Neural Computation 4 (1992), for the re-estimation; Golub & Pereyra, SIAM Journal on
Numerical Analysis 10 (1973), for the step with eliminated parameters.
"""

import warnings
from collections.abc import Mapping
from dataclasses import dataclass, replace

import numpy as np
from jaxtyping import Array, Bool, Float

from distax.fitting.candidates import Search
from distax.fitting.one_camera import check_one_camera
from distax.fitting.sensor_noise import check_counts, seen_saturation
from distax.fitting.sensor_rounds import (
    MOST_ROUNDS,
    Fit,
    check_number,
    fit_rounds,
    prior_std,
    sensor_terms_of,
)
from distax.imaging.checks import check_single, to_stack
from distax.imaging.scenes import ScenePrior
from distax.imaging.sensor import Sensor
from distax.runtime.errors import DistaxWarning

MOST_IMAGES = 1024
"""Largest number of images that enter a fit. More take longer, but errors of a few hundred images
are already far below those that matter for positions. Longer stacks are thinned out evenly."""
_FEW_LEFT_OUT = 0.05
"""If more than this share of the images is left out, there is a warning. A smaller share warns of
single odd images."""
_HELD = 1e-4
"""Factor of the prior's standard deviations that holds a field at its given value. float64 resolves
the normal equations with it."""


@dataclass(frozen=True)
class FittedSensor:
    """A sensor fitted to images by `fit_sensor`.

    Attributes:
      sensor: the sensor; its `sigma` is a pair, over rows and over columns.
      std: standard deviations of the fitted fields by name, in the fields' units; of "sigma" a
        pair.
      kept: names of the fields that the images do not determine, which have the given values.
      rounds: number of rounds until the fit ended.
      images: number of images with targets that the sensor was fitted to.
    """

    sensor: Sensor
    std: Mapping[str, float | tuple[float, float]]
    kept: tuple[str, ...]
    rounds: int
    images: int


def fit_sensor(
    images: Float[Array | np.ndarray, "N height width"],
    sensor: Sensor,
    prior: ScenePrior,
    search: Search = Search(),
) -> FittedSensor:
    """Fits sigma, background, read noise, gain and saturation to images of unknown scenes.

    Each field starts from the given sensor. Sigma and background have a weak Gaussian prior around
    it. A gain of None stays None. Read noise and gain are estimated from the residuals of pixels
    that neither clip nor read zero. A saturation is taken from the images if many pixels share
    their largest value.

    Args:
      images: raw images in counts, at least `FEWEST_IMAGES`; NaN marks pixels to leave out. Of more
        than `MOST_IMAGES` evenly spaced ones are used.
      sensor: the sensor as far as it is known; sigma within about 15%.
      prior: the scenes' prior.
      search: sizes of the search for each scene.

    Raises:
      DistaxError: the images have another size, or counts that the sensor cannot deliver; too few
        have targets; they come from two cameras.
    """
    check_single(sensor, prior)
    stack = to_stack(images, sensor)
    check_counts(stack, sensor)
    # Before the search, which takes long to compile.
    check_number(len(stack), len(stack))
    if len(stack) > MOST_IMAGES:
        stack = stack[np.linspace(0, len(stack) - 1, MOST_IMAGES).round().astype(int)]
    row, column = (float(sigma) for sigma in sensor.sigmas)
    start = replace(sensor, sigma=(row, column), saturation=seen_saturation(stack, sensor))
    compute = sensor_terms_of(stack, start, prior, search)
    fit = fit_rounds(compute, start, prior_std(start, prior))
    poor = _undetermined(fit)
    if poor.any():
        # The other fields are fitted again under the given value of a field that is kept.
        spread = np.where(poor, _HELD * fit.spread, fit.spread)
        fit = fit_rounds(compute, start, spread)

    def refit(some: Float[np.ndarray, "_ height width"]) -> Fit:
        return fit_rounds(sensor_terms_of(some, start, prior, search), fit.sensor, fit.spread)

    check_one_camera(fit, start, stack, refit)
    _warn(fit)
    return _result(fit, sensor, stack, poor)


def _warn(fit: Fit) -> None:
    """Warns if the fit did not end, or left out many images."""
    if not fit.settled:
        warnings.warn(
            f"the sensor still changes after {MOST_ROUNDS} rounds; its errors are too small: "
            "check the prior, and that the PSF is a Gaussian",
            DistaxWarning,
            stacklevel=4,
        )
    used = len(fit.terms.count)
    if fit.left_out > _FEW_LEFT_OUT * (used + fit.left_out):
        warnings.warn(
            f"{fit.left_out} of {used + fit.left_out} images fit far worse than the others and "
            "were left out of the sensor's fit; they may come from another camera",
            DistaxWarning,
            stacklevel=4,
        )


def _undetermined(fit: Fit) -> Bool[np.ndarray, "3"]:
    """Returns True for sigmas and background of which the images say less than the prior."""
    poor = fit.std**2 > fit.spread**2 / 2
    # One width of the PSF is not kept without the other.
    return np.array([poor[:2].any(), poor[:2].any(), poor[2]])


def _result(
    fit: Fit, given: Sensor, images: Float[np.ndarray, "N height width"], poor: np.ndarray
) -> FittedSensor:
    """Returns the fitted sensor, with the given values of the fields that are kept."""
    row, column, background = fit.std.tolist()
    std: dict[str, float | tuple[float, float]] = {
        "sigma": (row, column),
        "background": background,
        **fit.noise.std,
    }
    kept = [name for name, is_poor in (("sigma", poor[0]), ("background", poor[2])) if is_poor]
    kept += [name for name in ("read_noise", "gain") if not fit.noise.changed(name, given)]
    if given.saturation is not None and not (images >= fit.sensor.clip_level).any():
        kept.append("saturation")
    return FittedSensor(
        sensor=replace(fit.sensor, **{name: getattr(given, name) for name in kept}),
        std={name: value for name, value in std.items() if name not in kept},
        kept=tuple(kept),
        rounds=fit.rounds,
        images=len(fit.terms.count),
    )
