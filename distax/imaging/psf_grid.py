"""A PSF that varies over the frame, given at the nodes of a grid and interpolated between them."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import jax
import numpy as np
from jaxtyping import Float, Shaped

from distax.imaging.psf import MeasuredPsf
from distax.runtime.errors import DistaxError, check_positive
from distax.runtime.fields import check_fields


@dataclass(frozen=True, repr=False)
class PsfGrid:
    """The PSF at the nodes of a rectangular grid of frame positions.

    Between the nodes the PSF is interpolated bilinearly. Beyond the outermost nodes it is that of
    the nearest point of the grid. photutils' `GriddedPSFModel` does both in the same way. Of a grid
    of Gaussians the widths are interpolated, and of a grid of measured PSFs the samples.

    Nodes are listed row by row, and from the first column to the last in each row.

    Attributes:
      rows, columns: coordinates in pixels of the grid's lines, in rising order, at least two each.
      sigmas: standard deviations in pixels of the Gaussian PSF at each node, over rows and over
        columns. Beside measured PSFs, those of the nearest Gaussian.
      psfs: measured PSF at each node, used instead of the Gaussian; all have as many samples.
        Default: the Gaussians.

    Raises:
      DistaxError: coordinates do not rise, or there are fewer than two; the number of widths or
        PSFs is not that of the nodes; a width is not positive; measured PSFs differ in oversampling
        or number of samples.
    """

    rows: tuple[float, ...]
    columns: tuple[float, ...]
    sigmas: tuple[tuple[float, float], ...]
    psfs: tuple[MeasuredPsf, ...] = ()

    def __post_init__(self) -> None:
        check_fields(self)
        for name, lines in (("rows", self.rows), ("columns", self.columns)):
            if len(lines) < 2:
                raise DistaxError(f"a PSF grid has at least two {name} of nodes, got {len(lines)}")
            if any(np.diff(lines) <= 0):
                raise DistaxError(
                    f"the {name} of a PSF grid must rise from node to node, got "
                    f"{', '.join(f'{line:g}' for line in lines)}; sort the nodes with their PSFs"
                )
        nodes = len(self.rows) * len(self.columns)
        for name, given in (("sigmas", self.sigmas), ("psfs", self.psfs)):
            if len(given) != nodes and (given or name == "sigmas"):
                raise DistaxError(
                    f"a PSF grid of {len(self.rows)}×{len(self.columns)} nodes needs {nodes} "
                    f"{name}, got {len(given)}"
                )
        for sigma in self.sigmas:
            for width in sigma:
                check_positive(sigmas=width)
        shapes = {(psf.oversampling, len(psf.rows[0])) for psf in self.psfs}
        if len(shapes) > 1:
            listed = " and ".join(
                f"{side} samples, {each} a pixel" for each, side in sorted(shapes)
            )
            raise DistaxError(
                "the measured PSFs of a grid must all have as many samples a pixel and along an "
                f"axis, got {listed}"
            )

    def __repr__(self) -> str:
        kind = "measured PSFs" if self.psfs else "Gaussians"
        low, high = np.min(self.sigmas), np.max(self.sigmas)
        return (
            f"PsfGrid({len(self.rows)}×{len(self.columns)} {kind}, sigma {low:.4g} to {high:.4g})"
        )

    @property
    def constant(self) -> bool:
        """True if all nodes have the same PSF."""
        return len(set(self.psfs or self.sigmas)) == 1

    @property
    def widest(self) -> tuple[float, float]:
        """Largest standard deviations in pixels of all nodes, over rows and over columns."""
        row, column = np.max(self.sigmas, axis=0).tolist()
        return row, column

    @property
    def narrowest(self) -> tuple[float, float]:
        """Smallest standard deviations in pixels of all nodes, over rows and over columns."""
        row, column = np.min(self.sigmas, axis=0).tolist()
        return row, column

    def weights(self, position: Float[np.ndarray, "N 2"]) -> Float[np.ndarray, "N nodes"]:
        """Computes the weights of the nodes in bilinear interpolation; their sum is 1.

        Args:
          position: rows and columns in pixels; beyond the grid its nearest point counts.
        """
        row = axis_weights(position[:, 0], self.rows)
        column = axis_weights(position[:, 1], self.columns)
        return (row[:, :, None] * column[:, None]).reshape(len(position), -1)

    def sigmas_at(self, position: Float[np.ndarray, "N 2"]) -> Float[np.ndarray, "N 2"]:
        """Interpolates the standard deviations to positions, in pixels."""
        return self.weights(position) @ np.array(self.sigmas)

    def samples_at(self, position: Float[np.ndarray, "N 2"]) -> Float[np.ndarray, "N side side"]:
        """Interpolates the samples of the measured PSFs to positions; see `MeasuredPsf.samples`."""
        return np.tensordot(self.weights(position), self._samples, axes=1)

    def psf_at(self, row: float, column: float) -> tuple[tuple[float, float], MeasuredPsf | None]:
        """Interpolates the PSF to one position.

        Returns:
          Standard deviations in pixels over rows and over columns; the measured PSF, or None in a
          grid of Gaussians.
        """
        position = np.array([[row, column]], float)
        row_sigma, column_sigma = self.sigmas_at(position)[0].tolist()
        if not self.psfs:
            psf = None
        elif self.constant:
            psf = self.psfs[0]
        else:
            psf = MeasuredPsf.from_samples(self.samples_at(position)[0], self._oversampling)
        return (row_sigma, column_sigma), psf

    def psfs_at(self, position: Float[np.ndarray, "N 2"]) -> Any:
        """Interpolates the PSF to positions, as one tree with the positions on the first axis.

        It is a `Psf` whose leaves `vmap` takes apart. Its static parts do not depend on the
        positions, so one compiled program serves them all.
        """
        if not self.psfs:
            row, column = self.sigmas_at(position).astype(np.float32).T
            return row, column
        rows, power, columns = np.linalg.svd(self.samples_at(position), full_matrices=False)
        scale = np.sqrt(power[:, : self._terms, None])
        profiles = (
            np.float32(scale * rows.swapaxes(1, 2)[:, : self._terms]),
            np.float32(scale * columns[:, : self._terms]),
        )
        return jax.tree.unflatten(jax.tree.structure(self._all_profiles), profiles)

    @property
    def _oversampling(self) -> int:
        return self.psfs[0].oversampling

    @cached_property
    def _samples(self) -> Float[np.ndarray, "nodes side side"]:
        return np.stack([psf.samples for psf in self.psfs])

    @cached_property
    def _terms(self) -> int:
        """Number of terms that the PSF needs at the nodes and midway between them."""
        rows, columns = (
            np.interp(np.arange(0, len(lines) - 0.75, 0.5), np.arange(len(lines)), lines)
            for lines in (self.rows, self.columns)
        )
        places = np.stack(np.meshgrid(rows, columns, indexing="ij"), axis=-1).reshape(-1, 2)
        each = (MeasuredPsf.from_samples(s, self._oversampling) for s in self.samples_at(places))
        return max(len(psf.rows) for psf in each)

    @cached_property
    def _all_profiles(self) -> MeasuredPsf:
        """The profiles of all nodes, whose number of harmonics suffices for every mixture."""
        return MeasuredPsf(
            self._oversampling,
            tuple(profile for psf in self.psfs for profile in psf.rows),
            tuple(profile for psf in self.psfs for profile in psf.columns),
        )

    def gaps(self, shape: tuple[int, int]) -> tuple[float, float]:
        """Returns the pixels of a frame beyond the grid, along rows and along columns.

        They are measured in distances between the two outermost lines of nodes on that side.

        Args:
          shape: height and width of the frame in pixels.
        """
        row, column = (
            max(
                lines[0] / (lines[1] - lines[0]),
                (size - 1 - lines[-1]) / (lines[-1] - lines[-2]),
                0.0,
            )
            for lines, size in zip((self.rows, self.columns), shape, strict=True)
        )
        return row, column


def axis_weights(
    coordinate: Shaped[np.ndarray, " N"], lines: Sequence[float]
) -> Float[np.ndarray, "N lines"]:
    """Computes the weights of lines of nodes in linear interpolation along an axis.

    Args:
      coordinate: coordinates in pixels; beyond the lines the nearest line has all the weight.
      lines: coordinates of the lines in rising order.
    """
    units = np.eye(len(lines))
    return np.stack([np.interp(coordinate, lines, unit) for unit in units], axis=-1)
