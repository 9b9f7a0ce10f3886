"""The PSF of any shape that isolated sources share, and where they lie under it.

The PSF is a trigonometric polynomial in the offset of a pixel's centre from the source, up to the
frequencies that the optics pass. Given positions, fluxes and backgrounds it follows by linear least
squares; given the PSF each source's four parameters do. The two take turns (as in Anderson & King,
"Toward high-precision astrometry with WFPC2", PASP 112, 2000, who tabulate the same function), and
the Gaussian that was fitted before is where they start and what they stay near where sources are
too few or too faint to tell.

Where the PSF is centred no data can tell: positions agree on average with those under the Gaussian.
"""

import math
from collections.abc import Iterable
from dataclasses import dataclass, replace

import jax.numpy as jnp
import numpy as np
from jaxtyping import Bool, Float

from distax.calibration.fourier_basis import About, Waves
from distax.calibration.gaussian_psf import OWN, beside_pixels, image_and_slopes
from distax.calibration.joint_fit import (
    AROUND,
    JointFit,
    Residuals,
    check_shared,
    noise_left,
    with_noise,
)
from distax.calibration.noise import Line
from distax.fitting.likelihood import censored, image_of
from distax.fitting.patch import Patch, cut, window_width
from distax.imaging.psf import MeasuredPsf, Psf
from distax.imaging.scenes import ScenePrior

_DOUBTS = (0.05, 0.01, 0.0, 0.0)
"""By what share of itself an expected count may be off, in rounds that make the PSF better."""
_TURNS = 8
"""Of the PSF and the sources in a round."""
_STEPS = 3
"""Of the sources in a turn."""
_STILL = 1e-3
"""Pixels that a source moves in a turn when all is nearly found."""
WIDE = ScenePrior(cluster=6.0, max_targets=1)
"""A window that is cut for this prior holds the wings of the PSF."""
_MOST = 300
"""Sources, the brightest, that the PSF is taken from."""
_LARGEST_MOVE = 0.1
"""Pixels that a source moves in a step, at most."""
_AT_ONCE = 16
"""Sources whose share of the normal equations is in memory."""
_ALIKE_FLUXES = 0.05
"""Relative spread of fluxes from which on brighter and fainter sources are told apart."""


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


def measure_psf(
    joint: JointFit,
    crops: Float[np.ndarray, "N side side"],
    line: Line,
    noise_known: bool,
    darkness: Line | None,
) -> tuple[MeasuredPsf, JointFit]:
    """The PSF of isolated sources, and a joint fit with it instead of the Gaussian.

    Args:
      joint: the fit of a Gaussian.
      crops: what it was fitted to.
      line, noise_known, darkness: as for `rounds.joint_fit`.

    Raises:
      DistaxError: too few sources share one PSF.
    """
    row_sigma, column_sigma = joint.sigmas.tolist()
    waves = Waves.for_window(window_width(joint.sensor, WIDE), min(row_sigma, column_sigma))
    amplitudes = waves.gaussian(row_sigma, column_sigma)
    about = About(amplitudes, waves.precision(row_sigma, column_sigma))
    psf: Psf = (row_sigma, column_sigma)
    own = np.asarray(joint.residuals.fit.parameters, float)[:OWN]
    joint = _looked_at(replace(joint, line=line), crops, own, psf, _DOUBTS[0])
    for doubt in _DOUBTS:
        sources = placed_sources(joint, crops, psf, doubt)
        amplitudes, sources, error = _turns(sources, amplitudes, about, waves)
        samples = waves.samples(amplitudes)
        measured = MeasuredPsf.from_samples(samples, waves.oversampling, error)
        joint, psf = _looked_at(joint, crops, sources.parameters, measured, doubt), measured
        check_shared(joint.used)
        if not (doubt or noise_known):
            joint = replace(joint, line=noise_left(joint, darkness))
    return measured, joint


def _turns(
    sources: Placed, amplitudes: Float[np.ndarray, "B B"], about: About, waves: Waves
) -> tuple[Float[np.ndarray, "B B"], Placed, float]:
    """The PSF and the sources after they took turns, and the error left in the PSF's samples."""
    amplitudes, middle = amplitudes.copy(), sources.middle
    moved = math.inf
    for _ in range(_TURNS):
        functions = waves.at(sources.offsets())
        residual, weight = sources.left(images_of(functions, amplitudes))
        # It costs most, and changes little while the sources stay.
        if moved > _STILL:
            information = information_of(sources, functions, weight, waves)
            covariance = np.linalg.inv(information + about.precision)
        pull = pull_of(sources, functions, weight * residual, waves)
        pull -= about.precision @ (amplitudes - about.mean)[waves.resolved]
        amplitudes[waves.resolved] += covariance @ pull
        before = sources
        amplitudes, sources = settled(amplitudes, sources, waves)
        for _ in range(_STEPS):
            sources = sources.stepped(step_of(sources, amplitudes, waves))
        sources = sources.moved(middle - sources.middle)
        moved = np.abs(sources.parameters - before.parameters)[:2, sources.telling].max()
    return amplitudes, sources, waves.spread(covariance)


def _looked_at(
    joint: JointFit,
    crops: Float[np.ndarray, "N side side"],
    own: Float[np.ndarray, "own N"],
    psf: Psf,
    doubt: float,
) -> JointFit:
    """A fit with some PSF and the sources' parameters, in the windows that it had before.

    Sources are used that the noise explains or, while the PSF is in doubt, that are as usual.
    """
    patch, width, expected = windows_of(joint, crops, AROUND, own, psf, doubt)
    parameters = joint.residuals.fit.parameters.at[:OWN].set(own)
    # What the pixels would tell of the parameters is much the same under the Gaussian.
    _, slopes = image_and_slopes(parameters, width)
    fit = beside_pixels(parameters, jnp.asarray(expected, jnp.float32), slopes, patch)
    residuals = Residuals(fit, patch, width, joint.sensor, joint.residuals.round_psf)
    used = residuals.usual() if doubt else residuals.within_noise(joint.used)
    return replace(joint, residuals=residuals, used=used)


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


def information_of(
    sources: Placed,
    functions: Float[np.ndarray, "2 lanes width B"],
    weight: Float[np.ndarray, "lanes width width"],
    waves: Waves,
) -> Float[np.ndarray, "resolved resolved"]:
    """What pixels of some weight tell of the amplitudes, the sources' parameters known."""
    root = (np.sqrt(weight) * sources.flux)[sources.telling]
    rows, columns = functions[:, sources.telling]
    row, column = np.nonzero(waves.resolved)
    total = np.zeros((len(row), len(row)))
    for first in range(0, len(root), _AT_ONCE):
        some = slice(first, first + _AT_ONCE)
        products = rows[some, :, None, row] * columns[some, None, :, column]
        whitened = (root[some, ..., None] * products).reshape(-1, len(row))
        total += whitened.T @ whitened
    return total


def pull_of(
    sources: Placed,
    functions: Float[np.ndarray, "2 lanes width B"],
    force: Float[np.ndarray, "lanes width width"],
    waves: Waves,
) -> Float[np.ndarray, " resolved"]:
    """Where the pixels would have the amplitudes go, each by its residual times its weight."""
    rows, columns = functions
    each = rows.swapaxes(1, 2) @ (sources.flux * force) @ columns
    return each[sources.telling].sum(axis=0)[waves.resolved]


def settled(
    amplitudes: Float[np.ndarray, "B B"], sources: Placed, waves: Waves
) -> tuple[Float[np.ndarray, "B B"], Placed]:
    """The PSF with all its flux, the sources' images as they were.

    What brighter sources have more of around them is the PSF's, not background.
    """
    row, column, flux, background = sources.parameters
    bright, level = (values[sources.telling] for values in (flux, background))
    away = bright - bright.mean()
    # Sources of one brightness do not tell.
    wings = np.mean(away * level) / (np.var(bright) + (_ALIKE_FLUXES * bright.mean()) ** 2)
    amplitudes = amplitudes.copy()
    amplitudes[0, 0] += wings
    total = amplitudes[0, 0] * waves.area
    parameters = np.stack([row, column, flux * total, background - wings * flux])
    return amplitudes / total, replace(sources, parameters=parameters)
