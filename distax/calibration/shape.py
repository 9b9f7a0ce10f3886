"""The amplitudes of a PSF by linear least squares, given the sources."""

from dataclasses import dataclass, replace

import numpy as np
from jaxtyping import Float

from distax.calibration.placed import Placed
from distax.calibration.waves import Waves

_AT_ONCE = 16
"""Sources whose share of the normal equations is in memory."""
_ALIKE = 0.05
"""Relative spread of fluxes from which on brighter and fainter sources are told apart."""


@dataclass(frozen=True)
class About:
    """What is known of a PSF before: the amplitudes' mean, and the resolved ones' precision."""

    mean: Float[np.ndarray, "B B"]
    precision: Float[np.ndarray, "resolved resolved"]


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
    wings = np.mean(away * level) / (np.var(bright) + (_ALIKE * bright.mean()) ** 2)
    amplitudes = amplitudes.copy()
    amplitudes[0, 0] += wings
    total = amplitudes[0, 0] * waves.area
    parameters = np.stack([row, column, flux * total, background - wings * flux])
    return amplitudes / total, replace(sources, parameters=parameters)
