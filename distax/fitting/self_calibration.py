"""Self-calibration: a sensor fitted to images of unknown scenes, together with their targets.

The evidence of all images is maximised by alternation. The scenes are fitted with the present
sensor. Then PSF and background take a Gauss–Newton step in which each image's scene is marginalised
(the Schur complement of the joint normal equations), and the noise is re-estimated from the
residuals. See `sensor_noise` for the noise and the saturation.

Source: MacKay, Neural Computation 4 (1992), for the re-estimation; Golub & Pereyra, SIAM Journal on
Numerical Analysis 10 (1973), for the step with eliminated parameters.
"""

import warnings
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from functools import partial

import jax
import numpy as np
from jaxtyping import Array, Bool, Float

from distax.fitting.candidates import Search, sample_pools
from distax.fitting.patch import blob_reach, cut_rows, window_width
from distax.fitting.sensor_equations import SensorTerms, sensor_terms
from distax.fitting.sensor_noise import Noise, check_counts, fit_noise, seen_saturation
from distax.imaging.checks import check_single, to_stack
from distax.imaging.scenes import ScenePrior
from distax.imaging.sensor import Sensor
from distax.runtime.batching import in_batches, inference_batch
from distax.runtime.errors import DistaxError, DistaxWarning

MOST_IMAGES = 1024
"""Largest number of images that enter a fit. More take longer, but errors of a few hundred images
are already far below those that matter for positions. Longer stacks are thinned out evenly."""
FEWEST_IMAGES = 16
"""Fewest images with targets for a fit. With fewer, one wrong number of targets moves the sensor,
and the halves cannot be compared."""
_ROUNDS = 30
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
_CAMERA_SIGMAS, _CAMERA_SHARE, _CAMERA_LEVEL = 5.0, 0.03, 10.0
"""If the two halves differ by more than the first number in standard deviations and by more than
the second as a share of the value, the images come from two cameras. The share of a background
below the third number, in counts, is taken of that number. Smaller numbers refuse one camera by
chance or for a slow drift."""
_HELD, _FREE = 1e-4, 1e6
"""Factor of the prior's standard deviations that holds a field at its given value, and a standard
deviation that leaves a field free. float64 resolves the normal equations with both."""


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
        have targets; the two halves of the stack come from different cameras.
    """
    check_single(sensor, prior)
    stack = to_stack(images, sensor)
    check_counts(stack, sensor)
    if len(stack) > MOST_IMAGES:
        stack = stack[np.linspace(0, len(stack) - 1, MOST_IMAGES).round().astype(int)]
    row, column = (float(sigma) for sigma in sensor.sigmas)
    start = replace(sensor, sigma=(row, column), saturation=seen_saturation(stack, sensor))
    fit = _fit_rounds(
        _sensor_terms_of(stack, start, prior, search), start, _prior_std(start, prior)
    )
    poor = _undetermined(fit)
    if poor.any():
        # The other fields are fitted again under the given value of a field that is kept.
        spread = np.where(poor, _HELD * fit.spread, fit.spread)
        fit = _fit_rounds(fit.compute, start, spread)
    _check_one_camera(fit.terms, fit.sensor)
    if not fit.settled:
        warnings.warn(
            f"the sensor still changes after {_ROUNDS} rounds; its errors are too small: "
            "check the prior, and that the PSF is a Gaussian",
            DistaxWarning,
            stacklevel=2,
        )
    return _result(fit, sensor, stack, poor)


@dataclass(frozen=True)
class _Fit:
    """State at the end of the rounds.

    Attributes:
      compute: computes the terms of all images under a sensor.
      spread: standard deviations of the prior around the given sigmas and background.
      sensor: the fitted sensor.
      covariance: covariance of sigmas and background.
      terms: terms of the usable images in the last round.
      noise: noise estimated in the last round.
      rounds: number of rounds.
      settled: False if the sensor still changed in the last round.
    """

    compute: Callable[[Sensor], SensorTerms]
    spread: Float[np.ndarray, "3"]
    sensor: Sensor
    covariance: Float[np.ndarray, "3 3"]
    terms: SensorTerms
    noise: Noise
    rounds: int
    settled: bool = True

    @property
    def std(self) -> Float[np.ndarray, "3"]:
        """Standard deviations of sigmas and background."""
        return np.sqrt(np.diag(self.covariance))


def _fit_rounds(
    compute: Callable[[Sensor], SensorTerms], start: Sensor, spread: Float[np.ndarray, "3"]
) -> _Fit:
    """Alternates between scenes and sensor until the sensor's steps are far below its errors."""
    sensor = start
    for done in range(1, _ROUNDS + 1):
        terms = _drop_unusable(compute(sensor))
        step, covariance = _step(terms, _optics(sensor) - _optics(start), spread)
        noise = fit_noise(terms.residuals, sensor)
        moved = _move(noise.sensor, step)
        fit = _Fit(compute, spread, moved, covariance, terms, noise, done)
        change = np.abs(_optics(moved) - _optics(sensor)) / fit.std
        sensor = moved
        if max(change.max(), noise.shift) < _SETTLED:
            return fit
    return replace(fit, settled=False)


def _sensor_terms_of(
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


def _optics(sensor: Sensor) -> Float[np.ndarray, "3"]:
    """Returns sigma over rows, sigma over columns and the background."""
    return np.array([*sensor.sigmas, sensor.background], float)


def _move(sensor: Sensor, step: Float[np.ndarray, "3"]) -> Sensor:
    """Returns the sensor after a step, which is shortened where it is too long."""
    sigmas = np.array(sensor.sigmas)
    row, column = (sigmas + np.clip(step[:2], *(sigmas * [[-1], [1]] * _LARGEST_STEP))).tolist()
    background = min(max(0.0, sensor.background + float(step[2])), sensor.clip_level - 1.0)
    return replace(sensor, sigma=(row, column), background=background)


def _prior_std(sensor: Sensor, prior: ScenePrior) -> Float[np.ndarray, "3"]:
    """Returns the standard deviations of the prior around the given sensor."""
    row, column = sensor.sigmas
    background = _BACKGROUND_PRIOR * prior.max_intensity
    return np.array([_SIGMA_PRIOR * row, _SIGMA_PRIOR * column, background], float)


def _drop_unusable(terms: SensorTerms) -> SensorTerms:
    """Leaves out images without a target, and those that the model explains far worse than most.

    Raises:
      DistaxError: no image has a target, or too few do.
    """
    usable = (terms.count > 0) & np.isfinite(terms.misfit)
    if not usable.any():
        raise DistaxError(
            "images: none holds a target under this sensor and prior; check the prior's "
            "intensities and the background"
        )
    usable &= terms.misfit <= _MISFIT_RATIO * np.median(terms.misfit[usable])
    if usable.sum() < FEWEST_IMAGES:
        raise DistaxError(
            f"images: {usable.sum()} of {len(usable)} can be used to fit the sensor; give at least "
            f"{FEWEST_IMAGES} with targets, better 64"
        )
    return jax.tree.map(lambda leaf: leaf[usable], terms)


def _step(
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


def _undetermined(fit: _Fit) -> Bool[np.ndarray, "3"]:
    """Returns True for sigmas and background of which the images say less than the prior."""
    poor = fit.std**2 > fit.spread**2 / 2
    # One width of the PSF is not kept without the other.
    return np.array([poor[:2].any(), poor[:2].any(), poor[2]])


def _check_one_camera(terms: SensorTerms, sensor: Sensor) -> None:
    """Raises DistaxError if sigma or background of the two halves of the images differ."""
    half, free = len(terms.count) // 2, np.full(3, _FREE)
    steps, covariances = zip(
        *(
            _step(jax.tree.map(lambda leaf, part=part: leaf[part], terms), np.zeros(3), free)
            for part in (slice(half), slice(half, None))
        ),
        strict=True,
    )
    present, std = _optics(sensor), np.sqrt(np.diag(sum(covariances)))
    share = _CAMERA_SHARE * np.maximum(present, [0.0, 0.0, _CAMERA_LEVEL])
    over = np.abs(steps[0] - steps[1]) > np.maximum(_CAMERA_SIGMAS * std, share)
    for index in np.flatnonzero(over):
        name = ("sigma over rows", "sigma over columns", "background")[index]
        first, second = (max(present[index] + step[index], 0.0) for step in steps)
        raise DistaxError(
            f"images: {name} is {first:.3g} in the first half and {second:.3g} in the second, so "
            "they come from two cameras; fit the images of each camera by themselves"
        )


def _result(
    fit: _Fit, given: Sensor, images: Float[np.ndarray, "N height width"], poor: np.ndarray
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
