"""Measurement of the widths of a PSF that varies over the frame, at the nodes of a grid.

Each isolated source is fitted by a Gaussian with widths of its own. The widths at the nodes then
follow by weighted linear least squares, with the weights of bilinear interpolation as the design
matrix. So every source between nodes constrains all of them, and a width that varies linearly from
node to node is measured without bias. Sources whose widths depart from their neighbours' are
rejected in rounds.
"""

from dataclasses import dataclass, replace

import jax.numpy as jnp
import numpy as np
from jaxtyping import Bool, Float

from distax.calibration.joint_fit import (
    MAD_TO_SIGMA,
    JointFit,
    Residuals,
    assign_noise,
    fit_each_source,
    fit_residual_noise,
    min_background,
)
from distax.calibration.noise import NoiseModel
from distax.calibration.result import Node
from distax.calibration.sources import MIN_SOURCES, IsolatedSources
from distax.fitting.gaussian_psf import WIDTHS, fit_psf
from distax.imaging.psf_grid import PsfGrid
from distax.imaging.sensor import Sensor
from distax.runtime.errors import DistaxError

_ROUNDS = 3
"""Rounds of fit, noise model and rejection by χ². Noise and rejections agree after three."""
_CLIPS = 6
"""Rounds of the rejection of widths. Fewer leave close pairs, whose widths are larger."""
_CLIP = 4.0
"""If a source's width departs from the grid's by more than this many standard deviations, it is no
isolated star. A smaller limit trims good sources, a larger one keeps closer pairs."""
_SCATTER = 0.003
"""Relative error of a single source's width besides its noise: of the interpolation, and of pixels
that are not alike. Without it a few very bright sources would decide alone."""


@dataclass(frozen=True)
class GridMeasurement:
    """The measured grid.

    Attributes:
      grid: the PSF.
      nodes: each node with its errors and its number of sources.
      joint: the fit of each source with widths of its own, the noise, and the sources in use.
    """

    grid: PsfGrid
    nodes: tuple[Node, ...]
    joint: JointFit

    @property
    def mean_sigmas(self) -> tuple[float, float]:
        """Mean widths of all nodes in pixels, over rows and over columns."""
        row, column = np.mean(self.grid.sigmas, axis=0).tolist()
        return row, column


@dataclass(frozen=True)
class _Widths:
    """Widths of sources, over rows and over columns.

    Attributes:
      value: standard deviations of the PSF in pixels.
      variance: their variances from the noise.
    """

    value: Float[np.ndarray, "sources 2"]
    variance: Float[np.ndarray, "sources 2"]


def measure_grid(
    sources: IsolatedSources,
    frame: tuple[int, int],
    lines: tuple[int, int],
    sensor: Sensor,
    noise: NoiseModel,
    noise_known: bool,
    dark_noise: NoiseModel | None,
) -> GridMeasurement:
    """Measures the PSF at the nodes of a grid that spans the frame.

    Args:
      sources: windows around isolated sources, and their places in the frame.
      frame: height and width of the frames in pixels.
      lines: number of rows and of columns of nodes.
      sensor: the sensor; its sigma starts the fit.
      noise: the noise model, or a first guess.
      noise_known: True keeps `noise`. False fits it to the residuals.
      dark_noise: noise model from dark frames, whose intercept is kept.

    Raises:
      DistaxError: a node has too few sources near it.
    """
    rows, columns = (
        tuple(np.linspace(0.0, size - 1.0, number).tolist())
        for size, number in zip(frame, lines, strict=True)
    )
    blank = PsfGrid(rows, columns, ((1.0, 1.0),) * (len(rows) * len(columns)))
    weights = blank.weights(np.asarray(sources.pixel, float))
    nearest = np.argmax(weights, axis=1)
    _check_nodes(blank, np.bincount(nearest, minlength=weights.shape[1]), "isolated")
    joint = _fit_separately(sources, sensor, noise, noise_known, dark_noise)
    widths = _widths(joint)
    sigmas, std, used = _widths_at_nodes(widths, weights, joint.used)
    number = np.bincount(nearest[used], minlength=weights.shape[1])
    _check_nodes(blank, number, "usable")
    joint = replace(joint, used=used)
    grid = PsfGrid(rows, columns, _pairs(sigmas))
    nodes = tuple(
        Node(row, column, sigma, error, sources=count)
        for (row, column), sigma, error, count in zip(
            ((row, column) for row in rows for column in columns),
            grid.sigmas,
            _pairs(std),
            number.tolist(),
            strict=True,
        )
    )
    return GridMeasurement(grid=grid, nodes=nodes, joint=joint)


def _check_nodes(grid: PsfGrid, number: np.ndarray, kind: str) -> None:
    """Raises DistaxError if a node has too few sources near it."""
    poorest = int(np.argmin(number))
    if number[poorest] < MIN_SOURCES:
        row, column = divmod(poorest, len(grid.columns))
        raise DistaxError(
            f"the node of the PSF grid at row {grid.rows[row]:.0f}, column "
            f"{grid.columns[column]:.0f} has {number[poorest]} {kind} sources near it, and needs "
            f"{MIN_SOURCES}: give more frames, or a grid of fewer nodes"
        )


def _pairs(values: Float[np.ndarray, "nodes 2"]) -> tuple[tuple[float, float], ...]:
    return tuple((row, column) for row, column in values.tolist())


def _fit_separately(
    sources: IsolatedSources,
    sensor: Sensor,
    noise: NoiseModel,
    noise_known: bool,
    dark_noise: NoiseModel | None,
) -> JointFit:
    """Fits each source with two widths of its own, and the noise, and rejects misfits in rounds."""
    windows = sources.windows
    fit, patch, side = fit_each_source(windows, sensor, noise)
    used = np.ones(len(windows), bool)
    for turn in range(_ROUNDS):
        patch = assign_noise(patch, noise, np.asarray(fit.image) + sensor.background)
        fit = fit_psf(
            fit.parameters,
            patch,
            min_background(noise, sensor, len(windows)),
            jnp.ones(len(windows), bool),
            side,
            shared=False,
            round_psf=False,
        )
        residuals = Residuals(fit, patch, side, sensor, round_psf=False, shared=False)
        guessed = turn == 0 and not noise_known
        used = residuals.select_typical() if guessed else residuals.select_within_noise(used)
        if not noise_known and turn < _ROUNDS - 1:
            noise = fit_residual_noise(residuals, used, dark_noise)
    return JointFit(residuals=residuals, used=used, noise=noise, sensor=sensor)


def _widths(joint: JointFit) -> _Widths:
    """Returns the widths of separately fitted sources, and their variances."""
    value = np.asarray(joint.residuals.fit.parameters, float)[WIDTHS].T
    information, _ = joint.residuals.width_equations()
    variance = np.diagonal(np.linalg.inv(information), axis1=1, axis2=2)
    return _Widths(value=value, variance=np.where(variance > 0, variance, np.inf))


def _widths_at_nodes(
    widths: _Widths,
    weights: Float[np.ndarray, "sources nodes"],
    usable: Bool[np.ndarray, " sources"],
) -> tuple[
    Float[np.ndarray, "nodes 2"], Float[np.ndarray, "nodes 2"], Bool[np.ndarray, " sources"]
]:
    """Solves for the widths at the nodes by least squares, and rejects outliers in rounds.

    Returns:
      Widths at the nodes, their standard deviations, and the sources in use. Where the sources
      scatter more than their noise, the standard deviations are multiplied by the excess.
    """
    variance = widths.variance + (_SCATTER * widths.value) ** 2
    # The first fit must not follow close pairs, which look like bright wide stars.
    used = usable & np.all(widths.value < 2 * np.median(widths.value[usable], axis=0), axis=1)
    for _ in range(_CLIPS):
        sigmas, covariances = zip(
            *(_solve(weights[used], widths.value[used, a], variance[used, a]) for a in range(2)),
            strict=True,
        )
        away = (widths.value - weights @ np.stack(sigmas, axis=1)) / np.sqrt(variance)
        scale = np.maximum(1.0, MAD_TO_SIGMA * np.median(np.abs(away[used]), axis=0))
        used = usable & np.all(np.abs(away) < _CLIP * scale, axis=1)
    freedom = max(1, int(used.sum()) - weights.shape[1])
    excess = np.maximum(1.0, np.sqrt(np.sum(away[used] ** 2, axis=0) / freedom))
    std = np.stack([np.sqrt(np.diag(each)) for each in covariances], axis=1) * excess
    return np.stack(sigmas, axis=1), std, used


def _solve(
    weights: Float[np.ndarray, "sources nodes"],
    value: Float[np.ndarray, " sources"],
    variance: Float[np.ndarray, " sources"],
) -> tuple[Float[np.ndarray, " nodes"], Float[np.ndarray, "nodes nodes"]]:
    """Solves for values at nodes by weighted least squares; returns them and their covariance."""
    covariance = np.linalg.inv((weights.T / variance) @ weights)
    return covariance @ (weights.T @ (value / variance)), covariance
