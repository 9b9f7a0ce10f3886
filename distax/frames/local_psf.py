"""Detection and windows of a frame over which the PSF varies."""

import warnings

import jax
import numpy as np
from jaxtyping import Float, Int

from distax.fitting.local_psf import LocalPsf
from distax.frames.blobs import psf_line, signal_to_noise
from distax.frames.cutouts import Cutouts, blob_flux
from distax.imaging.psf_grid import PsfGrid, axis_weights
from distax.imaging.scenes import RAYLEIGH, ScenePrior
from distax.imaging.sensor import Sensor
from distax.runtime.errors import DistaxWarning

_WIDEST_GAP = 0.6
"""Distance from a frame's edge to the nearest nodes, in distances between nodes, above which a
warning is given. Nodes in the middle of equal parts of the frame are half a distance away from its
edges. A larger limit misses grids that were made for another frame."""


def local_significance(
    counts: Float[np.ndarray, "height width"],
    noise: Float[np.ndarray, "height width"],
    grid: PsfGrid,
    first_row: int,
) -> Float[np.ndarray, "height width"]:
    """Computes the significance of a point source at each pixel, by the matched filter.

    The signal-to-noise ratio under the Gaussian of each node is computed around the node, and
    interpolated bilinearly as the PSF is. Each map has unit variance, and neighbouring ones differ
    little. So noise passes a threshold no more often than under one PSF.

    Args:
      counts, noise: as for `blobs.signal_to_noise`, for a band of the frame.
      grid: the PSF.
      first_row: row of the band's first pixels in the frame.
    """
    height, width = counts.shape
    down = axis_weights(np.arange(first_row, first_row + height), grid.rows)
    across = axis_weights(np.arange(width), grid.columns)
    margin = len(psf_line(max(grid.widest))) // 2
    total = np.zeros(counts.shape)
    for node, sigma in enumerate(grid.sigmas):
        row, column = divmod(node, len(grid.columns))
        rows, columns = np.flatnonzero(down[:, row]), np.flatnonzero(across[:, column])
        if not (len(rows) and len(columns)):
            continue
        top, left = max(rows[0] - margin, 0), max(columns[0] - margin, 0)
        around = np.s_[top : rows[-1] + margin + 1, left : columns[-1] + margin + 1]
        own = np.s_[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1]
        inner = np.s_[rows[0] - top :, columns[0] - left :]
        part = signal_to_noise(counts[around], noise[around], sigma)[inner]
        weight = np.outer(down[own[0], row], across[own[1], column])
        total[own] += weight * part[: weight.shape[0], : weight.shape[1]]
    return total


def local_flux(cutouts: Cutouts, grid: PsfGrid, prior: ScenePrior) -> Float[np.ndarray, " B"]:
    """Estimates the flux of each blob in counts as `cutouts.blob_flux` does, by its own PSF."""
    fluxes = [
        blob_flux(
            jax.tree.map(lambda leaf, k=k: leaf[k : k + 1], cutouts),
            Sensor(sigma=(row, column)),
            prior,
        )
        for k, (row, column) in enumerate(grid.sigmas_at(_places(cutouts.pixel)).tolist())
    ]
    return np.concatenate([np.zeros(0), *fluxes])


def psf_of_windows(grid: PsfGrid, pixel: Int[np.ndarray, "B 2"]) -> LocalPsf:
    """Interpolates the PSF to the windows' central pixels."""
    place = _places(pixel)
    rayleigh = RAYLEIGH * grid.sigmas_at(place).max(axis=1)
    return LocalPsf(psf=grid.psfs_at(place), rayleigh_unit=rayleigh.astype(np.float32))


def _places(pixel: Int[np.ndarray, "B 2"]) -> Float[np.ndarray, "B 2"]:
    return np.asarray(pixel, float)


def warn_of_gaps(grid: PsfGrid, shape: tuple[int, int]) -> None:
    """Warns if a grid covers only a part of a frame of a height and width in pixels."""
    if max(grid.gaps(shape)) <= _WIDEST_GAP:
        return
    warnings.warn(
        f"the nodes of the PSF grid cover rows {grid.rows[0]:g} to {grid.rows[-1]:g} and columns "
        f"{grid.columns[0]:g} to {grid.columns[-1]:g} of a frame of {shape[0]}×{shape[1]} px; "
        "beyond, the PSF of the grid's edge is used: give frames of the size that the grid was "
        "measured in",
        DistaxWarning,
        stacklevel=3,
    )
