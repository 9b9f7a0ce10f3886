"""Fast method: a network turns the fits of an image into the posterior density of its targets."""

from dataclasses import replace
from functools import partial

import jax
import jax.numpy as jnp
from flax import nnx
from jaxtyping import Array

from distax.fitting.candidates import Pool, Search, best_fit, find_modes
from distax.fitting.mixture import decide
from distax.fitting.network import ModeNetwork
from distax.fitting.patch import Patch, lanes_last
from distax.fitting.refine import TRUSTED_MISFIT, choose_number
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
    modes = [find_modes(patch, pool, prior, search, sensor.psf) for pool in pools]
    fitted = choose_number(patch, [best_fit(one, search.starts) for one in modes], prior)
    tokens = read_tokens(patch, modes, fitted.count, sensor, prior, search.starts)
    misfit = jnp.asarray(fitted.misfit)
    widening = jnp.where(misfit > TRUSTED_MISFIT, misfit, 1.0) ** 2
    tokens = replace(tokens, covariance=widening[:, None, None, None, None] * tokens.covariance)
    mask = jnp.asarray(tokens.mask)
    found = decide(nnx.merge(graphdef, state)(tokens), mask)
    order = jnp.argsort(-jnp.where(mask, found.score, -1.0), axis=1)

    def ranked(leaf: Array) -> Array:
        return jax.vmap(lambda values, places: values[places])(leaf, order)

    answer = replace(
        fitted,
        position=ranked(found.position) + patch.origin.T[:, None],
        intensity=ranked(found.intensity),
        score=ranked(found.score),
        covariance=ranked(found.covariance),
        intensity_std=ranked(found.intensity_std),
        hit_probability=ranked(found.hit_probability),
        credible_radius=ranked(found.credible_radius),
        mask=mask,
    )
    return clear_padding(answer)
