"""From fits to targets by a network: the program of the estimator `FastFit`."""

from dataclasses import replace
from functools import partial

import jax
import jax.numpy as jnp
from flax import nnx
from jaxtyping import Array, Bool

from distax.fitting.by_count import unmix_by_count
from distax.fitting.cameras import bright_enough
from distax.fitting.candidates import Pool, Search, find_modes, sample_pools
from distax.fitting.mixture import decide
from distax.fitting.network import ModeNetwork
from distax.fitting.patch import Patch, lanes_last
from distax.fitting.prior import starting_scenes
from distax.fitting.tokens import Tokens, read_tokens
from distax.imaging.scenes import ScenePrior
from distax.imaging.sensor import Sensor
from distax.imaging.targets import OF_TARGETS, Targets
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
    and whether to trust an answer are those of `fitted`. Images that are noisier than those that
    the network knows keep the answer of `fitted`; see `cameras.bright_enough`.

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

    return unmix_by_count(rows, fitted, unmix, bright_enough(rows, sensor.psf, prior))


@partial(jax.jit, static_argnames=("graphdef", "search"))
def _unmix(
    rows: Patch,
    graphdef: nnx.GraphDef[ModeNetwork],
    state: nnx.State,
    pool: Pool,
    sensor: Sensor,
    prior: ScenePrior,
    search: Search,
) -> Targets:
    return _of_count(lanes_last(rows), pool, nnx.merge(graphdef, state), sensor, prior, search)


def fast_patch(
    patch: Patch,
    fitted: Targets,
    network: ModeNetwork,
    sensor: Sensor,
    prior: ScenePrior,
    search: Search,
) -> Targets:
    """Finds the same targets as `fast_rows`, in one program that can be traced and exported.

    The program cannot group images. It estimates every number of targets in every image, and keeps
    the estimate of the image's own number, so it takes several times as long.

    Args:
      patch: the windows.
      fitted, network, sensor, prior, search: as for `fast_rows`. The numbers of sensor and prior
        may be traced.
    """
    answer = fitted
    for pool in sample_pools(prior, search):
        count = len(pool)
        found = _of_count(patch, pool, network, sensor, prior, search)
        answer = _with_count(answer, fitted.count == count, found)
    return answer


def _with_count(answer: Targets, own: Bool[Array, " N"], found: Targets) -> Targets:
    """Replaces the targets of an answer by those found in the images of their number."""
    count = found.mask.shape[1]
    finite = jnp.all(jnp.isfinite(found.position), axis=(1, 2))
    slots = jnp.arange(answer.mask.shape[1]) < count
    chosen = (own & finite)[:, None] & slots

    def choose(old: Array, new: Array) -> Array:
        rest = [(0, 0)] * (new.ndim - 2)
        padded = jnp.pad(new, [(0, 0), (0, len(slots) - count), *rest])
        return jnp.where(chosen.reshape(*chosen.shape, *[1] * len(rest)), padded, old)

    replaced = {name: choose(getattr(answer, name), getattr(found, name)) for name in OF_TARGETS}
    trusted = jnp.asarray(answer.trusted) & (finite | ~own)
    return replace(answer, **replaced, trusted=trusted)


@exact_products
def _of_count(
    patch: Patch,
    pool: Pool,
    network: ModeNetwork,
    sensor: Sensor,
    prior: ScenePrior,
    search: Search,
) -> Targets:
    """Finds as many targets as the scenes of the pool have in every image."""
    tokens = fit_tokens(patch, pool, sensor, prior, search)
    found = decide(network(tokens), len(pool))
    return replace(found, position=found.position + patch.origin.T[:, None])


def fit_tokens(
    patch: Patch, pool: Pool, sensor: Sensor, prior: ScenePrior, search: Search
) -> Tokens:
    """Fits scenes of as many targets as the pool's to each image, and reads their tokens."""
    modes = find_modes(patch, pool, prior, search, sensor.psf)
    return read_tokens(patch, modes, sensor, prior, search.starts)
