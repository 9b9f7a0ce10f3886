"""Sources under a given PSF: their windows, images and parameters."""

from collections.abc import Iterable
from dataclasses import dataclass, replace

import jax.numpy as jnp
import numpy as np
from jaxtyping import Bool, Float

from distax.calibration.psf import OWN
from distax.calibration.rounds import JointFit, with_noise
from distax.calibration.waves import Waves
from distax.fitting.likelihood import censored, image_of
from distax.fitting.patch import Patch, cut, window_width
from distax.imaging.psf import Psf
from distax.imaging.scenes import ScenePrior

WIDE = ScenePrior(cluster=6.0, max_targets=1)
"""A window that is cut for this prior holds the wings of the PSF."""
_MOST = 300
"""Sources, the brightest, that the PSF is taken from."""
_LARGEST_MOVE = 0.1
"""Pixels that a source moves in a step, at most."""


@dataclass(frozen=True)
class Placed:
    """Sources and what their pixels say.

    Attributes:
      parameters: as the first four of `PsfFit`.
      patch: windows around them, with the noise that is believed.
      width: of the windows in pixels.
      telling: which of them the PSF is taken from.
    """

    parameters: Float[np.ndarray, "own lanes"]
    patch: Patch
    width: int
    telling: Bool[np.ndarray, " lanes"]

    @property
    def flux(self) -> Float[np.ndarray, "lanes 1 1"]:
        """In counts."""
        return self.parameters[2, :, None, None]

    @property
    def middle(self) -> Float[np.ndarray, "2"]:
        """Mean position in the windows, of those that the PSF is taken from."""
        return self.parameters[:2, self.telling].mean(axis=1)

    def moved(self, way: Float[np.ndarray, "2"]) -> "Placed":
        """All of them, by as much."""
        return self.stepped(np.concatenate([way, np.zeros(OWN - 2)])[:, None])

    def stepped(self, step: Float[np.ndarray, "own #lanes"]) -> "Placed":
        """With other parameters."""
        return replace(self, parameters=self.parameters + step)

    def offsets(self) -> Float[np.ndarray, "2 lanes width"]:
        """Of the window's rows and columns from each source."""
        return np.arange(self.width) - self.width // 2 - self.parameters[:2, :, None]

    def left(
        self, shape: Float[np.ndarray, "lanes width width"]
    ) -> tuple[Float[np.ndarray, "lanes width width"], Float[np.ndarray, "lanes width width"]]:
        """Residuals and weights of the pixels, given images of the unit sources."""
        expected = self.flux * shape + self.parameters[3, :, None, None]
        lanes_last = jnp.asarray(expected.reshape(len(shape), -1).T, jnp.float32)
        residual, weight, _ = censored(lanes_last, self.patch)
        residuals, weights = (np.asarray(part, float).T for part in (residual, weight))
        return residuals.reshape(shape.shape), weights.reshape(shape.shape)


def placed_sources(
    joint: JointFit, crops: Float[np.ndarray, "N side side"], psf: Psf, doubt: float
) -> Placed:
    """The sources in windows that hold the PSF's wings."""
    parameters = np.asarray(joint.residuals.fit.parameters, float)[:OWN]
    patch, width, _ = windows_of(joint, crops, WIDE, parameters, psf, doubt)
    brightness = np.where(joint.used, parameters[2], 0.0)
    dimmest = np.sort(brightness)[-_MOST:][0]
    return Placed(parameters, patch, width, joint.used & (brightness >= dimmest))


def windows_of(
    joint: JointFit,
    crops: Float[np.ndarray, "N side side"],
    prior: ScenePrior,
    parameters: Float[np.ndarray, "own N"],
    psf: Psf,
    doubt: float,
) -> tuple[Patch, int, Float[np.ndarray, "pixels N"]]:
    """Windows of a prior's size with their noise and doubt, and what is expected in them."""
    width = window_width(joint.sensor, prior)
    scene = jnp.asarray(parameters[None, :3], jnp.float32)
    light = np.asarray(image_of(scene, width, psf), float)
    patch = cut(crops, joint.sensor, prior)
    patch = with_noise(patch, joint.line, light + parameters[3] + joint.sensor.background)
    doubtful = jnp.asarray((doubt * light) ** 2, jnp.float32)
    return replace(patch, variance=patch.variance + doubtful), width, light + parameters[3]


def images_of(
    functions: Iterable[Float[np.ndarray, "lanes width B"]], amplitudes: Float[np.ndarray, "B B"]
) -> Float[np.ndarray, "lanes width width"]:
    """Of sources of unit flux, by the functions in their windows' rows and columns."""
    rows, columns = functions
    return rows @ amplitudes @ columns.swapaxes(1, 2)


def step_of(
    sources: Placed, amplitudes: Float[np.ndarray, "B B"], waves: Waves
) -> Float[np.ndarray, "own lanes"]:
    """A Gauss–Newton step of every source's parameters."""
    offsets = sources.offsets()
    (rows, columns), (down, across) = waves.at(offsets), waves.slope(offsets)
    shape = images_of((rows, columns), amplitudes)
    residual, weight = sources.left(shape)
    slopes = np.stack(
        [
            -sources.flux * images_of((down, columns), amplitudes),
            -sources.flux * images_of((rows, across), amplitudes),
            shape,
            np.ones_like(shape),
        ]
    )
    matrix = np.einsum("pnij,nij,qnij->npq", slopes, weight, slopes, optimize=True)
    vector = np.einsum("pnij,nij->np", slopes, weight * residual)
    # Of what is no source the pixels may tell nothing.
    matrix += 1e-9 * (np.eye(OWN) * matrix + np.eye(OWN))
    step = np.linalg.solve(matrix, vector[..., None])[..., 0].T
    step[:2] = np.clip(step[:2], -_LARGEST_MOVE, _LARGEST_MOVE)
    return step
