"""Law of a frame's noise, and the threshold of detection that follows from it.

The formula of `blobs.false_blobs` holds for Gaussian noise. The noise of counted photons, of an
amplifier with random gain or of hot pixels has a longer tail. If pixels are independent, the tail
of the matched filter follows from the law of single pixels, which a frame shows by thousands of
them.
"""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float

_SKEWNESS, _EXCESS, _ERRORS = 0.03, 0.15, 4.0
"""Noise counts as Gaussian if its skewness is below the first, and the number of high pixels above
that of a Gaussian by less than the second, relative to it, each with the third in standard errors.
Smaller values find a law in chance, larger ones miss that of many photons."""
_LEVELS = 2.5, 3.0, 3.5
"""Values above which pixels are high, in standard deviations."""
_FAR, _DEFECTS = 4.0, 0.003
"""If at most the second share of the pixels are above the first, and the others are Gaussian, then
these pixels are sources and hot pixels, and no noise."""
_TAIL = 0.002
"""Share of the pixels that show the decay of the law's tail. A larger share measures it nearer to
the bulk, where it decays more slowly; a smaller one has larger errors."""
_FEWEST_IN_TAIL = 60
"""Fewest pixels in the tail. The decay then is known to 13%."""
_OUTLIERS = 5e-4
"""Share of the pixels above which excesses are counted, but not their size: those of hot pixels and
of stars are not the noise's."""
_STEEPEST = 100.0
"""Largest decay of the tail, per standard deviation. A steeper one ends at once all the same."""
_BINS = 400
"""Number of values that stand for the bulk of the pixels. More take longer and change nothing."""
_LONGEST = 45.0
"""Decay lengths over which the tail is continued; its end has a probability of 1e-19."""
_TILTS = np.concatenate([np.linspace(-1.0, 0.9, 120), 1 - np.geomspace(0.09, 0.03, 20)])
"""Parameters θ of the cumulant generating function at which the tail is computed, in units of the
largest one at which it is finite."""
_SINGULAR = 0.03
"""The saddlepoint formula is 0 / 0 at θ = 0; it is interpolated for smaller |θ|, in standard
deviations of the sum."""


@dataclass(frozen=True)
class PixelLaw:
    """Law of the pixels of pure noise, as values with their probabilities.

    Attributes:
      value: `[V]`, counts above the background in standard deviations of the noise.
      mass: `[V]`, their probabilities.
      decay: decay of the exponential tail, per standard deviation.
    """

    value: Float[np.ndarray, " V"]
    mass: Float[np.ndarray, " V"]
    decay: float


def is_gaussian(pixels: Float[np.ndarray, " N"]) -> bool:
    """Returns True unless pixels have significantly more of an upper tail than a Gaussian.

    The skewness shows the law of many photons, and the number of high values that of few. A few
    much higher pixels are hot ones.

    Args:
      pixels: counts above the background in standard deviations of the noise.
    """
    from scipy.stats import norm

    number = len(pixels)
    middle = np.median(pixels)
    # Noise that is larger than was stated is no other law.
    pixels = pixels / max(1.0, float(norm.isf(0.25) ** -1 * np.median(np.abs(pixels - middle))))
    if np.mean(pixels >= _FAR) > _DEFECTS:
        return False
    near = pixels[pixels < _FAR]
    away = np.maximum(near, -_FAR) - near.mean()
    spread = max(float(away.std()), 1e-30)
    skewness = float(np.mean(away**3)) / spread**3
    if skewness > _SKEWNESS + _ERRORS * np.sqrt(6 / number):
        return False
    for level in _LEVELS:
        expected = number * (norm.sf(level) - norm.sf(_FAR))
        beyond = np.sum(near > level * max(spread, 1.0))
        if beyond > (1 + _EXCESS) * expected + _ERRORS * np.sqrt(expected) + 2:
            return False
    return True


def measure_law(pixels: Float[np.ndarray, " N"], step: float) -> PixelLaw:
    """Measures the law of pixels: their own values, and an exponential tail beyond the highest.

    The decay of the tail is the maximum-likelihood estimate from the excesses over a high value,
    of which the largest are censored. For whole counts it is that of the geometric law.

    Args:
      pixels: counts above the background in standard deviations of the noise.
      step: distance of neighbouring whole counts in the same unit; 0 for continuous values.
    """
    ordered = np.sort(pixels)
    number = len(ordered)
    in_tail = min(number // 4, max(_FEWEST_IN_TAIL, round(_TAIL * number)))
    top = ordered[number - in_tail]
    # Between two whole counts, so that all pixels of one count are on the same side.
    start = top - step / 2
    # Pixels of one value, as those of salt, have no excess.
    beyond = ordered[ordered >= start]
    censored = ordered[number - 1 - int(_OUTLIERS * number)]
    if censored <= top + step / 2:
        censored = ordered[-1]
    excess = np.minimum(beyond, censored) - start
    free = max(int(np.sum(beyond <= censored)), 1)
    if step > 0:
        steps = np.rint((excess - step / 2) / step)
        decay = (
            -np.log(np.sum(steps) / (np.sum(steps) + free)) / step if np.any(steps) else 3 / step
        )
        width = step
        offset = np.arange(int(_LONGEST / (decay * width)) + 2) * width
        value = start + step / 2 + offset
    else:
        decay = min(free / max(float(np.sum(excess)), 1e-30), _STEEPEST)
        width = 0.1 / decay
        offset = np.arange(int(_LONGEST / 0.1)) * width
        value = start + offset + width / 2
    share = len(beyond) / number
    mass = np.exp(-decay * offset) * -np.expm1(-decay * width)
    bulk = np.array_split(ordered[: number - len(beyond)], _BINS)
    return PixelLaw(
        value=np.concatenate([[part.mean() for part in bulk if len(part)], value]),
        mass=np.concatenate([[len(part) / number for part in bulk if len(part)], share * mass]),
        decay=float(decay),
    )


def filter_tail(
    law: PixelLaw, weights: Float[np.ndarray, " P"]
) -> Callable[[Float[np.ndarray, " S"]], Float[np.ndarray, " S"]]:
    """Returns the probability that a weighted sum of independent pixels exceeds a value.

    The pixel of the largest weight is summed over exactly. The tail of the sum of the others is
    the saddlepoint approximation from their cumulant generating function (Lugannani & Rice, Adv.
    Appl. Prob. 12, 475, 1980, equation 10).

    Args:
      law: law of the pixels.
      weights: weights of the pixels in the sum.
    """
    from scipy.stats import norm

    first, *others = np.sort(weights)[::-1]
    weight, times = np.unique(np.round(others, 6), return_counts=True)
    weight, times = weight[weight > 1e-3], times[weight > 1e-3]
    tilts = _TILTS * law.decay / weight.max()
    tilted = tilts[:, None, None] * weight[:, None] * law.value
    highest = tilted.max(axis=-1, keepdims=True)
    density = law.mass * np.exp(tilted - highest)
    total = density.sum(axis=-1)
    mean = (density * law.value).sum(axis=-1) / total
    second = (density * law.value**2).sum(axis=-1) / total
    cumulants = (times * (np.log(total) + highest[..., 0])).sum(axis=-1)
    place = (times * weight * mean).sum(axis=-1)
    curve = (times * weight**2 * (second - mean**2)).sum(axis=-1)
    root = np.sign(tilts) * np.sqrt(np.maximum(2 * (tilts * place - cumulants), 0.0))
    scaled = tilts * np.sqrt(np.maximum(curve, 1e-30))
    usable = (np.abs(scaled) > _SINGULAR) & (np.abs(root) > _SINGULAR)
    at, r, u = place[usable], root[usable], scaled[usable]
    survival = np.clip(norm.sf(r) + norm.pdf(r) * (1 / u - 1 / r), 1e-300, 1.0)
    log_survival = np.minimum.accumulate(np.log(survival))
    at = np.maximum.accumulate(at)

    def tail(values: np.ndarray) -> np.ndarray:
        rest = values[:, None] - first * law.value
        log_tail = np.interp(rest, at, log_survival, left=0.0, right=-690.0)
        return np.sum(law.mass * np.exp(log_tail), axis=1)

    return tail


def law_threshold(law: PixelLaw, weights: Float[np.ndarray, " P"], gaussian: float) -> float:
    """Returns the value that a filtered pixel exceeds as rarely as Gaussian noise another one.

    Args:
      law: law of the pixels.
      weights: weights of the matched filter; the sum of their squares is 1.
      gaussian: the threshold of Gaussian noise.
    """
    from scipy.stats import norm

    wanted = float(norm.logsf(gaussian))
    values = gaussian * np.geomspace(0.3, 60.0, 600)
    log_tail = np.log(np.maximum(filter_tail(law, weights)(values), 1e-300))
    return float(np.interp(-wanted, -np.minimum.accumulate(log_tail), values))
