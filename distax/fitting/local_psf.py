"""Windows that each have a PSF of their own, as in a frame over which the PSF varies.

The PSFs are traced rows beside the windows, and `vmap` takes both apart. So one program serves all
places of a frame, and windows of all places share batches.
"""

from dataclasses import replace
from functools import partial
from typing import Any, Protocol, runtime_checkable

import jax

from distax.fitting.all_counts import Pools
from distax.fitting.candidates import Search
from distax.fitting.patch import Patch
from distax.fitting.refine import refine_rows_together
from distax.imaging.psf import Psf
from distax.imaging.scenes import ScenePrior
from distax.imaging.targets import Targets
from distax.runtime.pytree import pytree


@pytree
class LocalPsf:
    """PSF of each window, with windows along the first axis.

    Attributes:
      psf: a tree like `Psf`, whose leaves have one more axis.
      rayleigh_unit: unit of the prior's distances in pixels under that PSF.
    """

    psf: Any
    rayleigh_unit: Any

    def of(self, prior: ScenePrior) -> tuple[Psf, ScenePrior]:
        """Returns PSF and prior of one window, after `vmap` has taken the first axis."""
        return self.psf, replace(prior, rayleigh_unit=self.rayleigh_unit)


@runtime_checkable
class LocalEstimator(Protocol):
    """The protocol of estimators that accept a PSF for each window."""

    def unmix_local(self, windows: Patch, local: LocalPsf, prior: ScenePrior) -> Targets:
        """Finds the targets `[N, K]` in windows, as `unmix_windows` does for one PSF.

        Args:
          windows: the windows, with images along the first axis.
          local: the windows' PSFs.
          prior: the scenes' prior, whose Rayleigh unit is replaced by each window's.
        """


@partial(jax.jit, static_argnames="search")
def refine_rows_apart(
    rows: tuple[Patch, LocalPsf], pools: Pools, prior: ScenePrior, search: Search
) -> Targets:
    """Refines windows as `refine.refine_rows_together` does, each under its own PSF.

    Args:
      rows: the windows and their PSFs, with images along the first axis.
      pools: scenes to start from; see `prior.all_starting_scenes`.
      prior: the scenes' prior.
      search: sizes for the cluster; see `Search.over`.
    """

    def one(row: Patch, own: LocalPsf) -> Targets:
        psf, own_prior = own.of(prior)
        alone = jax.tree.map(lambda leaf: leaf[None], row)
        found = refine_rows_together(alone, pools, psf, own_prior, search)
        first: Targets = jax.tree.map(lambda leaf: leaf[0], found)
        return first

    return jax.vmap(one)(*rows)
