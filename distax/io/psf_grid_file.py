"""Grids of PSFs as FITS files, in the form that photutils' `GriddedPSFModel` reads (STDPSF).

The primary image is a cube with one PSF a node, sampled four times a pixel. NXPSFS and NYPSFS give
the number of nodes, IPSFX01, … and JPSFY01, … their columns and rows, counted from 1.

Source: Anderson & King, HST instrument science report ACS 2006-01; photutils, `stdpsf_reader`.
"""

import math
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float

from distax.imaging.psf import MeasuredPsf, Psf, profiles
from distax.imaging.psf_grid import PsfGrid
from distax.io.faults import translated
from distax.runtime.errors import DistaxError, check_finite, shown
from distax.runtime.files import atomic_write, local_copy
from distax.runtime.optional import require

OVERSAMPLING = 4
"""Samples per pixel. The format does not state the number: readers assume it."""
_REACH = 5.0
"""Standard deviations of a Gaussian PSF that its samples reach beyond half a pixel."""
_SPLIT = (36, 56, 90, 200)
"""Numbers of nodes that readers take for those of several detectors in one file."""
_MOST_LINES = 99
"""Most rows and columns of nodes, whose number has two digits in the keywords."""
_MOST_SAMPLES, _LONGEST_SIDE = 4 * 10**6, 401
"""Most samples of all PSFs of a grid, and of one PSF along an axis. Those of space telescopes have
about 101. A PSF of 401 takes seconds to take apart into terms, and far longer ones minutes."""


def sample_psf(psf: Psf, side: int) -> Float[np.ndarray, "{side} {side}"]:
    """Samples a PSF four times a pixel, as the share of the flux in a pixel around each sample.

    Args:
      psf: a Gaussian's standard deviations, or a measured PSF.
      side: number of samples along an axis, odd, with the target in the middle.
    """
    offset = (np.arange(side) - side // 2) / OVERSAMPLING
    row, column = (
        np.asarray(profile.response(-offset, np.zeros(1))[..., 0], float)
        for profile in profiles(psf)
    )
    return row.T @ column


def samples_along(grid: PsfGrid) -> int:
    """Returns the number of samples along an axis that holds all PSFs of a grid."""
    if grid.psfs:
        reach = math.floor(grid.psfs[0].reach * OVERSAMPLING)
    else:
        reach = math.ceil((_REACH * max(grid.widest) + 0.5) * OVERSAMPLING)
    return 2 * reach + 1


def write_psf_grid(path: Path, grid: PsfGrid) -> None:
    """Writes a grid of PSFs to a FITS file that photutils reads, atomically.

    Widths of Gaussians are not written: they become samples.

    Raises:
      DistaxError: the file cannot be written, readers would take the grid for another's, or it has
        more samples than `read_psf_grid` takes.
    """
    require("astropy", "FITS files")
    from astropy.io import fits

    nodes, most = len(grid.sigmas), max(len(grid.rows), len(grid.columns))
    if nodes in _SPLIT or most > _MOST_LINES:
        why = f"takes {nodes} PSFs for those of several detectors"
        if most > _MOST_LINES:
            why = f"has at most {_MOST_LINES} rows and columns of nodes"
        raise DistaxError(
            f"{path}: the format STDPSF {why}, and the grid has {len(grid.rows)}×"
            f"{len(grid.columns)} nodes; choose another number"
        )
    side = samples_along(grid)
    _check_size(path, (nodes, side, side))
    cube = np.stack([sample_psf(psf, side) for psf in grid.psfs or grid.sigmas])
    image = fits.PrimaryHDU(cube.astype(np.float32))
    image.header["NXPSFS"] = len(grid.columns), "nodes along columns"
    image.header["NYPSFS"] = len(grid.rows), "nodes along rows"
    for letters, lines in (("IPSFX", grid.columns), ("JPSFY", grid.rows)):
        for number, line in enumerate(lines, start=1):
            image.header[f"{letters}{number:02d}"] = line + 1.0, "pixel, counted from 1"
    with atomic_write(path) as unfinished:
        image.writeto(unfinished, overwrite=True)


def read_psf_grid(path: Path) -> PsfGrid:
    """Reads a grid of PSFs from a FITS file in the form STDPSF.

    The PSFs are scaled to unit flux.

    Raises:
      DistaxError: the file cannot be read or has another form; the nodes are not sorted; a PSF has
        an even number of samples, is not square or holds no flux.
    """
    require("astropy", "FITS files")
    from astropy.io import fits

    try:
        with local_copy(path) as local, translated(path, "FITS"), fits.open(local) as parts:
            header = parts[0].header
            columns = _lines(path, header, "NXPSFS", "IPSFX")
            rows = _lines(path, header, "NYPSFS", "JPSFY")
            shape = parts[0].shape
            if len(shape) != 3 or shape[0] != len(rows) * len(columns):
                raise DistaxError(
                    f"{path}: an array of shape {shape} for {len(rows)}×{len(columns)} nodes; a "
                    "PSF grid has one sampled PSF a node"
                )
            _check_size(path, shape)
            cube = np.asarray(parts[0].data, float)
    except OSError as error:
        raise DistaxError(f"{path}: cannot be read ({error.strerror or error})") from error
    try:
        psfs = tuple(MeasuredPsf.from_samples(samples, OVERSAMPLING) for samples in cube)
        return PsfGrid(rows, columns, tuple(map(nearest_gaussian, psfs)), psfs)
    except DistaxError as error:
        raise DistaxError(f"{path}: {error}") from None


def _check_size(path: Path, shape: tuple[int, ...]) -> None:
    """Raises DistaxError for PSFs of another form than `[nodes, side, side]`, or too large ones."""
    _, height, width = shape
    if height != width or height % 2 == 0:
        raise DistaxError(
            f"{path}: PSFs of {height}×{width} samples; they must be square with an odd number of "
            "samples, the target in the middle"
        )
    if height > _LONGEST_SIDE or math.prod(shape) > _MOST_SAMPLES:
        raise DistaxError(
            f"{path}: {'×'.join(map(str, shape))} samples of PSFs, at most {_MOST_SAMPLES:,} in "
            f"all and {_LONGEST_SIDE} along an axis are taken; cut the PSFs, or take fewer nodes"
        )


def _lines(path: Path, header: Any, number: str, letters: str) -> tuple[float, ...]:
    """Reads the coordinates of the nodes along an axis, counted from 0."""
    count = header.get(number)
    if type(count) is not int or not 1 <= count <= _MOST_LINES:
        problem = f"{number} is {shown(count)}, not a number from 1 to {_MOST_LINES}"
        raise _other_form(path, number, letters, problem)
    names = [f"{letters}{line:02d}" for line in range(1, count + 1)]
    for name in names:
        if name not in header:
            raise _other_form(path, number, letters, f"{name} is missing")
        check_finite(**{f"{path}: {name}": header[name]})
    return tuple(float(header[name]) - 1.0 for name in names)


def _other_form(path: Path, number: str, letters: str, problem: str) -> DistaxError:
    return DistaxError(
        f"{path}: no grid of PSFs in the form STDPSF, which has {number} and {letters}01 in the "
        f"header of its first image; {problem}"
    )


def nearest_gaussian(psf: MeasuredPsf) -> tuple[float, float]:
    """Fits a Gaussian that is integrated over pixels to a PSF's samples, by least squares.

    Returns:
      Standard deviations in pixels over rows and over columns.
    """
    from scipy.optimize import least_squares
    from scipy.special import erf

    samples = psf.samples
    offset = (np.arange(len(samples)) - len(samples) // 2) / psf.oversampling

    def line(place: float, sigma: float) -> np.ndarray:
        edges = np.stack([offset - place + 0.5, offset - place - 0.5]) / (math.sqrt(2) * sigma)
        return -0.5 * np.diff(erf(edges), axis=0)[0]

    def residual(parameters: np.ndarray) -> np.ndarray:
        row, column, row_sigma, column_sigma, flux = parameters.tolist()
        gaussian = flux * np.outer(line(row, row_sigma), line(column, column_sigma))
        return (gaussian - samples).ravel()

    bounds = ([-2, -2, 0.05, 0.05, 0.0], [2, 2, len(samples), len(samples), 10.0])
    fit = least_squares(residual, [0.0, 0.0, 1.0, 1.0, 1.0], bounds=bounds)
    row, column = fit.x[2:4].tolist()
    return row, column
