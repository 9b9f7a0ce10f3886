"""Joint fit of the targets of crowded blobs: positions and intensities of all of them at once."""

from dataclasses import dataclass
from typing import Any

import numpy as np
from jaxtyping import Bool, Float

from distax.frames.light import Ground, light_of
from distax.imaging.sensor import Sensor

_LARGEST_STEP = 0.5
"""Largest step of a position in standard deviations of the PSF. A longer one leaves the range in
which the derivatives hold; a shorter one needs more steps."""
_LEAST_SHARE = 0.1
"""Smallest intensity after a step, relative to that before it."""
_DAMPING = 1e-3
"""Damping relative to the diagonal. More is slower, less lets close pairs diverge."""
_ITERATIONS, _TOLERANCE = 100, 1e-3
"""Limits of the solution of each step, of which the next one corrects the error."""
_NEAREST = 8
"""Targets, its own included, that are free in the errors of a target. More take longer; the light
of farther ones does not overlap with it."""

_RIDGE = 1e-6
"""Share of the diagonal that keeps the matrices of coinciding targets invertible."""
_LEAST = 1e-300
"""Avoids divisions by zero where no pixel is known."""


@dataclass(frozen=True)
class Joint:
    """Targets that were fitted jointly.

    Attributes:
      position: `[K, 2]`, row and column in the frame.
      intensity: `[K]`, counts.
      covariance: `[K, 3, 3]`, of row, column and intensity, with the nearest targets free as well.
    """

    position: Float[np.ndarray, "K 2"]
    intensity: Float[np.ndarray, " K"]
    covariance: Float[np.ndarray, "K 3 3"]

    @property
    def significance(self) -> Float[np.ndarray, " K"]:
        """Square root of the rise of χ² without the target, whose place then needs no fit."""
        place, cross = self.covariance[:, :2, :2], self.covariance[:, :2, 2]
        known = np.einsum("ki,ki->k", cross, np.linalg.solve(place, cross[..., None])[..., 0])
        variance = self.covariance[:, 2, 2] - known
        return self.intensity / np.sqrt(np.maximum(variance, _LEAST))

    def among(self, chosen: Bool[np.ndarray, " K"]) -> "Joint":
        """Returns some of the targets."""
        return Joint(self.position[chosen], self.intensity[chosen], self.covariance[chosen])


NO_TARGETS = Joint(np.zeros((0, 2)), np.zeros(0), np.zeros((0, 3, 3)))
"""Joint fit of no targets."""


def fit_jointly(
    position: Float[np.ndarray, "K 2"],
    intensity: Float[np.ndarray, " K"],
    ground: Ground,
    sensor: Sensor,
    steps: int,
) -> Joint:
    """Fits positions and intensities of all targets to all pixels, by damped Gauss–Newton steps.

    Each step solves the normal equations by conjugate gradients, whose matrix is sparse. So time
    and memory grow in proportion to the number of targets.

    Args:
      position, intensity: start of the fit; at least one target.
      ground: the pixels.
      sensor: the sensor, for its PSF and shot noise.
      steps: number of steps.
    """
    longest = _LARGEST_STEP * np.array([float(sigma) for sigma in sensor.sigmas])
    for _ in range(steps):
        normal, ahead = _normal_equations(position, intensity, ground, sensor)
        step = _solve(normal, ahead).reshape(-1, 3)
        position = position + np.clip(step[:, :2], -longest, longest)
        intensity = np.maximum(intensity + step[:, 2], _LEAST_SHARE * intensity)
    return with_errors(position, intensity, ground, sensor)


def with_errors(
    position: Float[np.ndarray, "K 2"],
    intensity: Float[np.ndarray, " K"],
    ground: Ground,
    sensor: Sensor,
    share: float = 0.0,
) -> Joint:
    """Returns targets as they are with the errors of a joint fit.

    Args:
      position, intensity: the targets, at least one.
      ground: the pixels.
      sensor: the sensor, for its PSF and shot noise.
      share: share of the targets' light in a pixel that counts as noise, as no PSF is exact.
    """
    normal, _ = _normal_equations(position, intensity, ground, sensor, share)
    return Joint(position, intensity, _covariance(normal, position))


def variance_under(
    model: Float[np.ndarray, " M"], ground: Ground, sensor: Sensor
) -> Float[np.ndarray, " M"]:
    """Returns the variance of pixels in counts², with the shot noise of the targets' light."""
    return ground.noise**2 + np.asarray(sensor.shot_variance(model), np.float64)


def _normal_equations(
    position: Float[np.ndarray, "K 2"],
    intensity: Float[np.ndarray, " K"],
    ground: Ground,
    sensor: Sensor,
    share: float = 0.0,
) -> tuple[Any, Float[np.ndarray, " N"]]:
    """Returns the sparse matrix and the right-hand side of a Gauss–Newton step.

    A share of the model counts as noise of its pixels.
    """
    from scipy.sparse import csr_array

    light, pixels = light_of(position, intensity, ground, sensor), len(ground.pixel)
    model = light.total(ground)
    known = np.isfinite(ground.counts) & ~ground.clipped
    variance = variance_under(model, ground, sensor) + (share * model) ** 2
    root = np.where(known, 1 / np.sqrt(variance), 0.0)
    shape = light.derivative.shape
    row = np.broadcast_to(light.index[:, None], shape)
    column = np.broadcast_to(np.arange(3 * shape[0]).reshape(-1, 3, 1), shape)
    inside = row < pixels
    row, column = row[inside], column[inside]
    value = light.derivative[inside] * root[row]
    system = csr_array((value, (row, column)), shape=(pixels, 3 * shape[0]))
    left = root * np.where(known, ground.counts - model, 0.0)
    return (system.T @ system).tocsr(), system.T @ left


def _solve(normal: Any, ahead: Float[np.ndarray, " N"]) -> Float[np.ndarray, " N"]:
    """Solves the damped equations."""
    from scipy.sparse import diags_array
    from scipy.sparse.linalg import cg

    scale = 1 / np.sqrt(np.maximum(normal.diagonal(), _LEAST))
    scaled = diags_array(scale) @ normal @ diags_array(scale)
    damped = (scaled + _DAMPING * diags_array(np.ones(len(ahead)))).tocsr()
    solved, _ = cg(damped, scale * ahead, rtol=_TOLERANCE, maxiter=_ITERATIONS)
    step: np.ndarray = scale * solved
    return step


def _covariance(normal: Any, position: Float[np.ndarray, "K 2"]) -> Float[np.ndarray, "K 3 3"]:
    """Inverts the normal matrix of each target together with its nearest ones."""
    from scipy.spatial import cKDTree

    number = len(position)
    free = min(_NEAREST, number)
    nearest = cKDTree(position).query(position, free)[1].reshape(number, free)
    # Its own parameters come first, also if another target lies at the same place.
    nearest[:, 0] = np.arange(number)
    index = (3 * nearest[:, :, None] + np.arange(3)).reshape(number, 3 * free)
    row = np.broadcast_to(index[:, :, None], (number, 3 * free, 3 * free))
    block = np.asarray(normal[row.ravel(), row.swapaxes(1, 2).ravel()]).reshape(row.shape)
    scale = 1 / np.sqrt(np.maximum(np.diagonal(block, axis1=1, axis2=2), _LEAST))
    both = scale[:, :, None] * scale[:, None]
    inverse = np.linalg.inv(block * both + _RIDGE * np.eye(3 * free))
    return (inverse * both)[:, :3, :3]
