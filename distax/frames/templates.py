"""Templates of what a blob may be: a point, a wider spot, a line, an edge; fitted to windows.

Every template is fitted together with a constant and a gradient, by weighted linear least squares.
Those are solved first, so that a template's share of the squares needs no further system.
"""

import math
from dataclasses import dataclass
from typing import Literal

import numpy as np
from jaxtyping import Float, Int

from distax.imaging.psf import Sigma, per_axis

Kind = Literal["point", "spot", "pixel", "line", "edge", "corner"]
KINDS: tuple[Kind, ...] = ("point", "spot", "pixel", "line", "edge", "corner")
PARAMETERS = {"point": 3, "spot": 4, "pixel": 1, "line": 4, "edge": 3, "corner": 5}
"""Number of parameters of each kind, besides the constant and the gradient."""

_GROWTH = 1.2
"""Ratio of the widths of neighbouring spots. A smaller one takes more templates, a larger one fits
worse."""
_WIDEST = 6.0
"""Smallest side of the window in standard deviations of a spot."""
_ANGLES = 8
"""Number of directions of lines and edges."""
_LONG = 3.0
"""Ratio of length to width of a short line, the end of a long one or a part of a broken one."""
_AT_ONCE = 2**24
"""Number of products of a window and a template that are held at a time. More take more memory."""


@dataclass(frozen=True)
class Templates:
    """Templates in a square window.

    Attributes:
      shape: `[T, P]`, the templates; points and spots have a flux of 1.
      kind: `[T]`, index of each one's kind in `KINDS`.
      place: `[T, 2]`, row and column of points and spots from the window's middle.
      width: `[T, 2]`, standard deviations of points and spots over rows and columns.
    """

    shape: Float[np.ndarray, "T P"]
    kind: Int[np.ndarray, " T"]
    place: Float[np.ndarray, "T 2"]
    width: Float[np.ndarray, "T 2"]


def gaussian(
    side: int, place: Float[np.ndarray, "N 2"], width: Float[np.ndarray, "N 2"]
) -> Float[np.ndarray, "N P"]:
    """Returns Gaussians of flux 1, integrated over the pixels of a window.

    Args:
      side: height and width of the window in pixels.
      place: row and column from the window's middle.
      width: standard deviations over rows and columns.
    """
    from scipy.special import ndtr

    edge = np.arange(side + 1) - side / 2
    share = np.diff(ndtr((edge - place[..., None]) / width[..., None]), axis=-1)
    return np.einsum("ni,nj->nij", share[:, 0], share[:, 1]).reshape(len(place), side**2)


def make_templates(side: int, sigma: Sigma) -> Templates:
    """Makes the templates for a PSF.

    Args:
      side: height and width of the window in pixels, odd.
      sigma: standard deviation of the PSF in pixels.
    """
    narrow = np.array([float(width) for width in per_axis(sigma)])
    middle = float(np.sqrt(np.prod(narrow)))
    number = max(1, int(math.log(side / _WIDEST / middle) / math.log(_GROWTH)) + 1)
    points = _square(narrow / 2, 4)
    spots = [(_square(narrow, 2), narrow * _GROWTH**power) for power in range(1, number)]
    place = np.concatenate([points, *(at for at, _ in spots)])
    width = np.concatenate(
        [np.broadcast_to(narrow, points.shape)]
        + [np.broadcast_to(wide, at.shape) for at, wide in spots]
    )
    compact = gaussian(side, place, width)
    pixel = np.zeros((1, side**2))
    pixel[0, side**2 // 2] = 1.0
    others = [pixel, *(make(side, middle) for make in (_lines, _edges, _corners))]
    sizes = [len(points), len(compact) - len(points), *map(len, others)]
    unplaced = np.zeros((sum(sizes[2:]), 2))
    return Templates(
        shape=np.concatenate([compact, *others]),
        kind=np.repeat(np.arange(len(KINDS)), sizes),
        place=np.concatenate([place, unplaced]),
        width=np.concatenate([width, unplaced + middle]),
    )


def _square(step: Float[np.ndarray, "2"], reach: int) -> Float[np.ndarray, "N 2"]:
    """Returns a square lattice of places around the middle."""
    axis = np.arange(-reach, reach + 1)
    return np.stack(np.meshgrid(axis, axis, indexing="ij"), axis=-1).reshape(-1, 2) * step


def _along_and_across(side: int) -> tuple[Float[np.ndarray, "A P"], Float[np.ndarray, "A P"]]:
    """Returns the distances of the pixels from the middle along and across each direction."""
    angle = np.arange(_ANGLES)[:, None] * math.pi / _ANGLES
    row, column = np.indices((side, side)).reshape(2, -1) - side // 2
    along = row * np.sin(angle) + column * np.cos(angle)
    return along, row * np.cos(angle) - column * np.sin(angle)


def _lines(side: int, sigma: float) -> Float[np.ndarray, "L P"]:
    """Returns lines of the PSF's width and of twice that, and short ones of the PSF's width."""
    along, across = _along_and_across(side)
    offset = sigma * np.arange(-3, 4)[:, None, None]
    found = [np.exp(-((across - offset) ** 2) / (2 * wide**2)) for wide in (sigma, 2 * sigma)]
    length = 2 * (_LONG * sigma) ** 2
    for at in (-_LONG * sigma, 0.0, _LONG * sigma):
        found.append(found[0][2:5] * np.exp(-((along - at) ** 2) / length))
    return np.concatenate([some.reshape(-1, side**2) for some in found])


def _edges(side: int, sigma: float) -> Float[np.ndarray, "E P"]:
    from scipy.special import ndtr

    _, across = _along_and_across(side)
    offset = sigma * np.arange(-4, 5)[:, None, None]
    return ndtr((across - offset) / sigma).reshape(-1, side**2)


def _corners(side: int, sigma: float) -> Float[np.ndarray, "C P"]:
    """Returns corners of a right and of a wider angle."""
    from scipy.special import ndtr

    _, across = _along_and_across(side)
    both = np.concatenate([across, -across])
    found = []
    place = sigma * np.arange(-3, 4, 2)[:, None, None]
    for turn in (_ANGLES // 4, _ANGLES // 2):
        one, other = (np.roll(both, way, axis=0) for way in (-turn, turn))
        found.append(ndtr((one - place) / sigma) * ndtr((other - place) / sigma))
    return np.concatenate([some.reshape(-1, side**2) for some in found])


@dataclass(frozen=True)
class TemplateFits:
    """Fits of all templates to windows.

    Attributes:
      squares: `[N]`, weighted squares of the window about its constant and gradient.
      explained: `[N, T]`, the part of them that each template explains; 0 for the wrong sign.
      amplitude: `[N, T]`, amplitude of each template.
      pixels: `[N]`, number of known pixels.
    """

    squares: Float[np.ndarray, " N"]
    explained: Float[np.ndarray, "N T"]
    amplitude: Float[np.ndarray, "N T"]
    pixels: Int[np.ndarray, " N"]

    def best(self, templates: Templates, kind: Kind) -> Int[np.ndarray, " N"]:
        """Returns the index of the best template of a kind in each window."""
        members = np.flatnonzero(templates.kind == KINDS.index(kind))
        return members[np.argmax(self.explained[:, members], axis=1)]


def fit_templates(
    templates: Templates,
    counts: Float[np.ndarray, "N P"],
    weight: Float[np.ndarray, "N P"],
) -> TemplateFits:
    """Fits every template, with a constant and a gradient, to every window.

    Args:
      templates: the templates.
      counts: counts above the background; any finite value where the weight is 0.
      weight: inverse variance of each pixel; 0 for pixels that are left out.
    """
    size = max(1, _AT_ONCE // len(templates.kind) // 4)
    parts = [
        _fit_some(templates, counts[first : first + size], weight[first : first + size])
        for first in range(0, max(len(counts), 1), size)
    ]
    squares, explained, amplitude = (np.concatenate(some) for some in zip(*parts, strict=True))
    edge = np.isin(templates.kind, [KINDS.index("edge"), KINDS.index("corner")])
    explained = np.where(edge | (amplitude > 0), explained, 0.0)
    return TemplateFits(squares, explained, amplitude, np.sum(weight > 0, axis=1))


def _fit_some(
    templates: Templates, counts: Float[np.ndarray, "N P"], weight: Float[np.ndarray, "N P"]
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    plane = plane_of(counts.shape[1])
    shape = templates.shape
    inverse, ahead = _plane_system(plane, counts, weight)
    weighted = weight * counts
    squares = np.sum(weighted * counts, axis=1) - np.einsum("nk,nkl,nl->n", ahead, inverse, ahead)
    mixed = np.einsum("knp,tp->nkt", weight * plane[:, None], shape, optimize=True)
    solved = np.einsum("nkl,nlt->nkt", inverse, mixed)
    top = weighted @ shape.T - np.einsum("nk,nkt->nt", ahead, solved)
    own = weight @ (shape**2).T
    power = own - np.sum(mixed * solved, axis=1)
    # A template that the constant and the gradient explain, or no known pixel sees, is left out.
    seen = power > 1e-6 * own + 1e-300
    power = np.where(seen, power, 1.0)
    top = np.where(seen, top, 0.0)
    return squares, top**2 / power, top / power


def plane_of(pixels: int) -> Float[np.ndarray, "3 P"]:
    """Returns a constant, and gradients over rows and columns, in a square window."""
    side = math.isqrt(pixels)
    row, column = np.indices((side, side)).reshape(2, -1) / (side / 2) - 1
    return np.stack([np.ones(pixels), row, column])


def squares_about_plane(
    counts: Float[np.ndarray, "N P"], weight: Float[np.ndarray, "N P"]
) -> Float[np.ndarray, " N"]:
    """Returns the weighted squares of windows about their constant and gradient."""
    inverse, ahead = _plane_system(plane_of(counts.shape[1]), counts, weight)
    explained = np.einsum("nk,nkl,nl->n", ahead, inverse, ahead)
    left: np.ndarray = np.sum(weight * counts**2, axis=1) - explained
    return left


def _plane_system(
    plane: Float[np.ndarray, "3 P"],
    counts: Float[np.ndarray, "N P"],
    weight: Float[np.ndarray, "N P"],
) -> tuple[Float[np.ndarray, "N 3 3"], Float[np.ndarray, "N 3"]]:
    matrix = np.einsum("kp,np,lp->nkl", plane, weight, plane, optimize=True)
    scale = np.trace(matrix, axis1=1, axis2=2)[:, None, None] + 1e-300
    inverse = np.linalg.inv(matrix / scale + 1e-9 * np.eye(3)) / scale
    return inverse, (weight * counts) @ plane.T
