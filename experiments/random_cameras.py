"""Random cameras and priors of the range that the mode network is trained for."""

import math
from dataclasses import dataclass

import numpy as np

from distax.imaging.psf import peak_share
from distax.imaging.scenes import RAYLEIGH, ScenePrior
from distax.imaging.sensor import Sensor
from distax.runtime.errors import DistaxError

NEVER = 1e9
"""Saturation, or gain, that stands for none. One program then serves cameras with and without."""
_LEAST_ROOM = 0.01
"""Smallest share of random arrangements that a prior must allow. CSIST-100K's allows 5% of those of
five targets. Scenes with less room take long to sample."""
_STEPS = 30
"""Bit depth that never clips. Real-valued readings are simulated by many counts a target."""


@dataclass(frozen=True)
class Camera:
    """A camera, the prior of its scenes, and how they are placed.

    Attributes:
      sensor: the camera.
      prior: the prior of its scenes, all of the same number of targets.
      in_turn: True to place targets one after the other.
      masked: probability that a pixel is unknown.
    """

    sensor: Sensor
    prior: ScenePrior
    in_turn: bool
    masked: float


def csist(rng: np.random.Generator, count: int) -> Camera:
    """Returns CSIST-100K's camera, and its prior for one number of targets."""
    sensor = Sensor(saturation=255.0, bit_depth=_STEPS, gain=NEVER)
    prior = ScenePrior(min_targets=count, max_targets=count)
    return Camera(sensor=sensor, prior=prior, in_turn=rng.random() < 0.2, masked=0.0)


def random_camera(rng: np.random.Generator, count: int) -> Camera:
    """Draws a camera and a prior of the range for one number of targets; see the model card."""
    while True:
        try:
            camera = _draw(rng, count)
        except DistaxError:  # The targets do not fit the square.
            continue
        if _room_for(camera.prior, rng) >= _LEAST_ROOM:
            return camera


def _room_for(prior: ScenePrior, rng: np.random.Generator) -> float:
    """Estimates the share of random arrangements in the square whose targets keep the distance."""
    count = prior.max_targets
    place = rng.uniform(0, prior.cluster, (1000, count, 1, 2))
    away = np.linalg.norm(place - place.swapaxes(1, 2), axis=-1) + 1e9 * np.eye(count)
    return float(np.mean(away.min(axis=(1, 2)) >= prior.min_distance))


def _draw(rng: np.random.Generator, count: int) -> Camera:
    def log_uniform(low: float, high: float) -> float:
        return math.exp(rng.uniform(math.log(low), math.log(high)))

    sigma = 0.5 if rng.random() < 0.25 else log_uniform(0.35, 1.2)
    ratio = 1.0 if rng.random() < 0.6 else log_uniform(1 / 1.4, 1.4)
    sigmas = np.clip([sigma * ratio**0.5, sigma / ratio**0.5], 0.35, 1.2).tolist()
    widest = max(sigmas)
    cluster = 2 * sigma if rng.random() < 0.35 else widest * log_uniform(0.8, 4.0)
    brightest = 250.0 if rng.random() < 0.4 else log_uniform(60.0, 40_000.0)
    kind = rng.random()
    spread = 250 / 220 if kind < 0.4 else 1.002 if kind < 0.5 else log_uniform(1.05, 10.0)
    middle = (1 + 1 / spread) / 2 * brightest
    peak = middle * float(peak_share((sigmas[0], sigmas[1])))
    noise = 0.0 if rng.random() < 0.3 else peak / log_uniform(5.0, 1000.0)
    background = 0.0 if rng.random() < 0.4 else rng.uniform(0.0, 2.0) * peak
    # From three electrons at the peak's signal-to-noise ratio of 5 up to none to speak of.
    gain = log_uniform(25.0, 1e5) / peak if rng.random() < 0.3 else NEVER
    saturation = peak * log_uniform(0.4, 6.0) + background if rng.random() < 0.5 else NEVER
    sensor = Sensor(
        sigma=(sigmas[0], sigmas[1]),
        saturation=saturation,
        bit_depth=_STEPS,
        read_noise=noise,
        gain=gain,
        background=background,
    )
    prior = ScenePrior(
        min_targets=count,
        max_targets=count,
        min_intensity=brightest / spread,
        max_intensity=brightest,
        separation=0.52 if rng.random() < 0.4 else rng.uniform(0.0, 0.9),
        rayleigh_unit=RAYLEIGH * widest,
        cluster=cluster,
        border=0,
    )
    masked = 0.02 if rng.random() < 0.15 else 0.0
    return Camera(sensor=sensor, prior=prior, in_turn=rng.random() < 0.4, masked=masked)
