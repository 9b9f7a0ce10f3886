"""From fits to targets by a network: the program of the estimator `FastFit`."""

from dataclasses import replace
from functools import partial

import jax
from flax import nnx

from distax.fitting.by_count import unmix_by_count
from distax.fitting.candidates import Pool, Search, find_modes
from distax.fitting.mixture import decide
from distax.fitting.network import ModeNetwork
from distax.fitting.patch import Patch, lanes_last
from distax.fitting.prior import starting_scenes
from distax.fitting.tokens import Tokens, read_tokens
from distax.imaging.scenes import ScenePrior
from distax.imaging.sensor import Sensor
from distax.imaging.targets import Targets
from distax.runtime.batching import in_batches, inference_batch
from distax.runtime.numerics import exact_products

SEARCH = Search(pool=512, starts=8)
"""Sizes of the search for the modes that the network sees. It is trained for this number of starts.
With 8 starts instead of 4 the fits alone, without training, gain 3 points of CSO-mAP on
CSIST-100K's images of five targets; with 16 they gain no more."""


def fast_rows(
    rows: Patch,
    fitted: Targets,
    network: ModeNetwork,
    sensor: Sensor,
    prior: ScenePrior,
    search: Search,
) -> Targets:
    """Finds targets that maximise the expected number of hits under the network's density.

    Images with the same number of targets are estimated together. The number of targets, the misfit
    and whether to trust an answer are those of `fitted`.

    Args:
      rows: the windows, with images along the first axis; see `patch.cut_rows`.
      fitted: the windows' targets by `refine`.
      network: the network.
      sensor: the camera.
      prior: the scenes' prior.
      search: sizes for the cluster; see `Search.over`.

    Returns:
      Targets `[N, prior.max_targets]`, those with the highest score first.
    """
    graphdef, state = nnx.split(network)

    def unmix(some: Patch, count: int) -> Targets:
        one_batch = partial(
            _unmix,
            graphdef=graphdef,
            state=state,
            pool=starting_scenes(prior, count, search.pool),
            sensor=sensor,
            prior=prior,
            search=search,
        )
        return in_batches(one_batch, some, inference_batch())

    return unmix_by_count(rows, fitted, unmix)


@partial(jax.jit, static_argnames=("graphdef", "search"))
@exact_products
def _unmix(
    rows: Patch,
    graphdef: nnx.GraphDef[ModeNetwork],
    state: nnx.State,
    pool: Pool,
    sensor: Sensor,
    prior: ScenePrior,
    search: Search,
) -> Targets:
    patch = lanes_last(rows)
    tokens = fit_tokens(patch, pool, sensor, prior, search)
    found = decide(nnx.merge(graphdef, state)(tokens), len(pool))
    return replace(found, position=found.position + patch.origin.T[:, None])


def fit_tokens(
    patch: Patch, pool: Pool, sensor: Sensor, prior: ScenePrior, search: Search
) -> Tokens:
    """Fits scenes of as many targets as the pool's to each image, and reads their tokens."""
    modes = find_modes(patch, pool, prior, search, sensor.psf)
    return read_tokens(patch, modes, sensor, prior, search.starts)
