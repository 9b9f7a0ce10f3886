"""From fits to targets by a network: the estimator `FastFit`."""

from dataclasses import replace
from functools import partial

import jax
import jax.numpy as jnp
from flax import nnx

from distax.fitting.candidates import Pool, Search
from distax.fitting.mixture import decide
from distax.fitting.network import ModeNetwork
from distax.fitting.patch import Patch, lanes_last
from distax.fitting.refine import TRUSTED_MISFIT, find_modes_and_refine
from distax.fitting.tokens import read_tokens
from distax.imaging.scenes import ScenePrior
from distax.imaging.sensor import Sensor
from distax.imaging.targets import Targets, clear_padding
from distax.runtime.numerics import exact_products


@partial(jax.jit, static_argnames=("graphdef", "search"))
@exact_products
def fast_rows(
    rows: Patch,
    graphdef: nnx.GraphDef[ModeNetwork],
    state: nnx.State,
    pools: tuple[Pool, ...],
    sensor: Sensor,
    prior: ScenePrior,
    search: Search,
) -> Targets:
    """Finds targets that maximise the expected number of hits under the network's density.

    The number of targets, the misfit and whether to trust an answer are those of the method
    `refine`. If the imaging model does not explain an image, the errors of its fits are multiplied
    by the misfit before the network sees them.

    Args:
      rows: the windows, with images along the first axis; see `patch.cut_rows`.
      graphdef, state: the network.
      pools: scenes to start from, for each number of targets; see `candidates.sample_pools`.
      sensor: the camera.
      prior: the scenes' prior.
      search: sizes for the cluster; see `Search.over`.

    Returns:
      Targets `[N, prior.max_targets]`, those with the highest score first.
    """
    patch = lanes_last(rows)
    modes, fitted = find_modes_and_refine(patch, pools, sensor.psf, prior, search)
    tokens = read_tokens(patch, modes, fitted.count, sensor, prior, search.starts)
    misfit = jnp.asarray(fitted.misfit)
    widening = jnp.where(misfit > TRUSTED_MISFIT, misfit, 1.0) ** 2
    tokens = replace(tokens, covariance=widening[:, None, None, None, None] * tokens.covariance)
    found = decide(nnx.merge(graphdef, state)(tokens), jnp.asarray(tokens.mask))
    answer = replace(
        found,
        position=found.position + patch.origin.T[:, None],
        count_probability=fitted.count_probability,
        misfit=fitted.misfit,
        trusted=fitted.trusted,
    )
    return clear_padding(answer)
