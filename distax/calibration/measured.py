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
from dataclasses import replace

import jax.numpy as jnp
import numpy as np
from jaxtyping import Float

from distax.calibration.noise import Line
from distax.calibration.placed import WIDE, Placed, images_of, placed_sources, step_of, windows_of
from distax.calibration.psf import OWN, beside_pixels, image_and_slopes
from distax.calibration.quality import Residuals
from distax.calibration.rounds import AROUND, JointFit, check_shared, noise_left
from distax.calibration.shape import About, information_of, pull_of, settled
from distax.calibration.waves import Waves
from distax.fitting.patch import window_width
from distax.imaging.psf import MeasuredPsf, Psf

_DOUBTS = (0.05, 0.01, 0.0, 0.0)
"""By what share of itself an expected count may be off, in rounds that make the PSF better."""
_TURNS = 8
"""Of the PSF and the sources in a round."""
_STEPS = 3
"""Of the sources in a turn."""
_STILL = 1e-3
"""Pixels that a source moves in a turn when all is nearly found."""


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
