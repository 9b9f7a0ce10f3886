"""Infrared scenes of clutter with point targets: clouds, horizons, buildings, ground and lines.

Nothing in a scene is made by the methods that look for targets in it. Clouds and ground are
Gaussian fields whose power falls with the frequency (Huang & Turcotte, J. Geophys. Res. 94, 7491,
1989). Targets may lie anywhere, on ground and beside edges too.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from scipy.ndimage import gaussian_filter, uniform_filter

SIDE = 160
MARGIN = 8
"""Least distance in pixels of a target from the edge, as the overlay covers it."""
APART = 16
"""Least distance in pixels of two targets."""
LOCAL = 21
"""Side in pixels of the square whose filtered clutter a target's signal is measured by."""


@dataclass(frozen=True)
class Target:
    """A target of a scene.

    Attributes:
      row, column: its position in pixels.
      sigma: its width in pixels.
      signal: its signal-to-noise ratio: the matched filter's output for the target alone, over the
        standard deviation of the filtered clutter and noise around it.
    """

    row: float
    column: float
    sigma: float
    signal: float


def power_law(random: np.random.Generator, slope: float, stretch: float = 1.0) -> np.ndarray:
    """Returns a Gaussian field of unit variance whose power falls as frequency to -`slope`."""
    row = np.fft.fftfreq(SIDE)[:, None] * stretch
    frequency = np.hypot(row, np.fft.fftfreq(SIDE))
    frequency[0, 0] = math.inf
    spectrum = np.fft.fft2(random.standard_normal((SIDE, SIDE))) * frequency ** (-slope / 2)
    field = np.fft.ifft2(spectrum).real
    return (field - field.mean()) / field.std()


def clouds(random: np.random.Generator) -> np.ndarray:
    """Clouds: from smooth to torn ones."""
    return 70 + random.uniform(8, 25) * power_law(random, random.uniform(2.4, 3.4))


def ground(random: np.random.Generator) -> np.ndarray:
    """Textured ground, whose details are as small as targets."""
    fine = gaussian_filter(random.standard_normal((SIDE, SIDE)), random.uniform(0.5, 1.2))
    coarse = power_law(random, random.uniform(1.5, 2.5))
    return 100 + random.uniform(8, 20) * (fine / fine.std() + coarse)


def horizon(random: np.random.Generator) -> np.ndarray:
    """Sky above a horizon of hills of textured ground."""
    column = np.arange(SIDE)
    line = random.uniform(0.4, 0.8) * SIDE
    for length in (20, 35, 60):
        phase = random.uniform(0, 2 * math.pi)
        line = line + random.uniform(1, 6) * np.sin(2 * math.pi * column / length + phase)
    below = gaussian_filter((np.arange(SIDE)[:, None] > line).astype(float), 0.6)
    sky = 45 + random.uniform(3, 8) * power_law(random, 3.2)
    return (1 - below) * sky + below * ground(random)


def buildings(random: np.random.Generator) -> np.ndarray:
    """Buildings: rectangles with windows, before a sky."""
    scene = 50 + random.uniform(2, 6) * power_law(random, 3.0)
    for _ in range(random.integers(6, 14)):
        top, left = random.integers(30, SIDE - 20), random.integers(-10, SIDE - 10)
        width = random.integers(12, 50)
        level = random.uniform(40, 160)
        scene[top:, max(left, 0) : left + width] = level
        step = int(random.integers(5, 9))
        size = int(random.integers(1, 4))
        bright = level + random.uniform(-40, 40)
        for row in range(top + 4, SIDE, step):
            for at in range(max(left, 0) + 3, min(left + width, SIDE) - 3, step):
                if random.random() < 0.5:
                    scene[row : row + size, at : at + size] = bright
    return gaussian_filter(scene, 0.6)


def overlay(random: np.random.Generator) -> np.ndarray:
    """Clouds behind a frame line, a cross and strokes like those of letters."""
    scene = clouds(random)
    bright = random.uniform(180, 240)
    scene[:2] = scene[:, :2] = bright
    half = SIDE // 2
    scene[half, half - 20 : half - 4] = scene[half, half + 5 : half + 21] = bright
    scene[half - 20 : half - 4, half] = scene[half + 5 : half + 21, half] = bright
    for letter in range(random.integers(6, 14)):
        row, column = SIDE - 14, 8 + 7 * letter
        for _ in range(3):
            at = random.integers(0, 5)
            if random.random() < 0.5:
                scene[row + at, column : column + 5] = bright
            else:
                scene[row : row + 7, column + at] = bright
    return scene


def sea(random: np.random.Generator) -> np.ndarray:
    """Waves, longer along the rows than across them."""
    waves = power_law(random, random.uniform(1.8, 2.6), stretch=random.uniform(0.2, 0.4))
    return 80 + random.uniform(8, 16) * waves


KINDS: dict[str, Callable[[np.random.Generator], np.ndarray]] = {
    "clouds": clouds,
    "horizon": horizon,
    "buildings": buildings,
    "ground": ground,
    "overlay": overlay,
    "sea": sea,
}


def spot(row: float, column: float, sigma: float) -> np.ndarray:
    """Returns a Gaussian spot of flux 1, integrated over pixels."""
    from scipy.special import ndtr

    edge = np.arange(SIDE + 1) - 0.5
    across = (np.diff(ndtr((edge - at) / sigma)) for at in (row, column))
    return np.outer(*across)


def make_scene(
    kind: str, seed: int, targets: int = 3, signal: tuple[float, float] = (5.0, 30.0)
) -> tuple[np.ndarray, list[Target]]:
    """Makes a scene of 8 bits with its targets.

    Args:
      kind: a name in `KINDS`.
      seed: seed of its random numbers.
      targets: number of targets.
      signal: bounds of their signal-to-noise ratios, whose logarithm is uniform.
    """
    random = np.random.default_rng([seed, list(KINDS).index(kind)])
    scene = KINDS[kind](random) + random.uniform(1.0, 3.0) * random.standard_normal((SIDE, SIDE))
    placed: list[Target] = []
    light = np.zeros_like(scene)
    while len(placed) < targets:
        row, column = random.uniform(MARGIN, SIDE - 1 - MARGIN, 2)
        if any(math.hypot(row - one.row, column - one.column) < APART for one in placed):
            continue
        sigma = random.uniform(0.5, 1.2)
        ratio = math.exp(random.uniform(*np.log(signal)))
        # The filter of the target's own width, with the level around it subtracted.
        filtered = gaussian_filter(scene, sigma) - gaussian_filter(scene, 3 * sigma)
        shape = spot(row, column, sigma)
        response = gaussian_filter(shape, sigma) - gaussian_filter(shape, 3 * sigma)
        at = round(row), round(column)
        mean = uniform_filter(filtered, LOCAL)[at]
        variance = uniform_filter(filtered**2, LOCAL)[at] - mean**2
        light += ratio * math.sqrt(max(variance, 1e-6)) / response.max() * shape
        placed.append(Target(row, column, sigma, ratio))
    return np.clip(np.rint(scene + light), 0, 255), placed
