"""Fits of one round or elongated spot to windows."""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float

from distax.frames.templates import gaussian, plane_of

_STEPS = 6
"""Steps of the fit from the nearest template, which is off by a fifth of the width at most."""
_LARGEST_STEP = 0.3
"""Largest change of a step in widths."""
_DIFFERENCE = 0.02
"""Change, in widths, from which derivatives are taken."""


@dataclass(frozen=True)
class Spots:
    """Spots fitted to windows.

    Attributes:
      place: `[N, 2]`, row and column from the window's middle.
      width: `[N, 2]`, standard deviations over rows and columns in pixels.
      flux, flux_std: `[N]`, flux in counts and its standard deviation.
      squares: `[N]`, weighted squares of the residual.
      residual: `[N, P]`, counts minus the spot and its plane.
    """

    place: Float[np.ndarray, "N 2"]
    width: Float[np.ndarray, "N 2"]
    flux: Float[np.ndarray, " N"]
    flux_std: Float[np.ndarray, " N"]
    squares: Float[np.ndarray, " N"]
    residual: Float[np.ndarray, "N P"]


def refine_spots(
    counts: Float[np.ndarray, "N P"],
    weight: Float[np.ndarray, "N P"],
    place: Float[np.ndarray, "N 2"],
    width: Float[np.ndarray, "N 2"],
) -> Spots:
    """Fits one spot with a constant and a gradient to each window, by Gauss–Newton steps.

    Row, column and the common factor of the widths are free.

    Args:
      counts: counts above the background.
      weight: inverse variance of each pixel; 0 for pixels that are left out.
      place, width: start of the fit.
    """
    side = round(counts.shape[1] ** 0.5)
    start_place, start = place, width
    for _ in range(_STEPS):
        columns = _columns(side, place, width)
        solution = _solve(columns, counts, weight)[0]
        flux = np.maximum(solution[:, 0], 1e-30)
        step = np.clip(solution[:, 1:4] / flux[:, None], -_LARGEST_STEP, _LARGEST_STEP)
        place = np.clip(place + step[:, :2] * width, start_place - start, start_place + start)
        width = np.clip(width * np.exp(step[:, 2:]), 0.5 * start, 2.0 * start)
    columns = _columns(side, place, width)
    # The free place and width add to the error of the flux.
    inverse = _solve(columns, counts, weight)[1]
    flux_std = np.sqrt(np.maximum(inverse[:, 0, 0], 0.0))
    columns = columns[:, [0, 4, 5, 6]]
    solution, _ = _solve(columns, counts, weight)
    left = counts - np.einsum("nk,nkp->np", solution, columns)
    return Spots(
        place=place,
        width=width,
        flux=solution[:, 0],
        flux_std=flux_std,
        squares=np.sum(weight * left**2, axis=1),
        residual=left,
    )


def _columns(
    side: int, place: Float[np.ndarray, "N 2"], width: Float[np.ndarray, "N 2"]
) -> Float[np.ndarray, "N 7 P"]:
    """Returns a spot, its derivatives by row, column and width in widths, and the plane."""
    middle = gaussian(side, place, width)
    moves = _DIFFERENCE * width[:, None] * np.eye(2)
    derivatives = [
        (gaussian(side, place + moves[:, k], width) - gaussian(side, place - moves[:, k], width))
        / (2 * _DIFFERENCE)
        for k in range(2)
    ]
    ratio = np.exp(_DIFFERENCE)
    wider = gaussian(side, place, width * ratio) - gaussian(side, place, width / ratio)
    plane = np.broadcast_to(plane_of(side**2), (len(place), 3, side**2))
    spot = np.stack([middle, *derivatives, wider / (2 * _DIFFERENCE)], axis=1)
    return np.concatenate([spot, plane], axis=1)


def _solve(
    columns: Float[np.ndarray, "N k P"],
    counts: Float[np.ndarray, "N P"],
    weight: Float[np.ndarray, "N P"],
) -> tuple[Float[np.ndarray, "N k"], Float[np.ndarray, "N k k"]]:
    """Solves weighted least squares in each window; returns solution and inverse matrix."""
    weighted = columns * weight[:, None]
    matrix = weighted @ columns.swapaxes(1, 2)
    scale = 1 / np.sqrt(np.maximum(np.diagonal(matrix, axis1=1, axis2=2), 1e-300))
    both = scale[:, :, None] * scale[:, None]
    inverse = np.linalg.inv(matrix * both + 1e-6 * np.eye(matrix.shape[-1])) * both
    solution = np.einsum("nkl,nlp,np->nk", inverse, weighted, counts, optimize=True)
    return solution, inverse
