"""Posterior method: samples each image's posterior and maximises the expected number of hits."""

from dataclasses import replace
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from distax.fitting.by_count import unmix_by_count
from distax.fitting.candidates import Pool
from distax.fitting.decision import decide
from distax.fitting.misfit import TRUSTED_MISFIT
from distax.fitting.patch import Patch, lanes_last, rows_first
from distax.fitting.population import SEARCH
from distax.fitting.prior import starting_scenes
from distax.fitting.sampler import Effort, Noise, draw_noise, sample_posterior
from distax.imaging.psf import Psf
from distax.imaging.scenes import ScenePrior
from distax.imaging.targets import Targets
from distax.runtime.batching import in_batches, one_at_a_time
from distax.runtime.numerics import exact_products

_MOVED_TOGETHER = 64
"""Images whose populations an accelerator moves together. More need more memory, fewer leave the
accelerator idle."""


def posterior_rows(
    rows: Patch, fitted: Targets, psf: Psf, prior: ScenePrior, effort: Effort, seed: int
) -> Targets:
    """Finds targets that maximise the expected number of hits under the posterior.

    Images with the same number of targets are sampled together. An answer depends on its image, the
    seed and the settings alone. The prior may exclude every scene that comes near to explaining an
    image. In this case the answer of `fitted` stays, and is not trusted.

    Args:
      rows: the windows, with images along the first axis; see `patch.cut_rows`.
      fitted: the windows' targets by `refine`, which give the number of targets and the misfit. If
        the imaging model does not explain an image, its noise is multiplied by the misfit.
      psf: the sensor's PSF.
      prior: the scenes' prior.
      effort: sizes of the sampler.
      seed: seed of the sampler's random numbers.

    Returns:
      Targets `[N, K]`, those with the highest score first.
    """

    def sample(some: tuple[Patch, np.ndarray], count: int) -> Targets:
        noise = draw_noise(jax.random.key(seed), count, effort)
        pool = starting_scenes(prior, count, SEARCH.pool)
        one_batch = partial(_sample, noise=noise, pool=pool, psf=psf, prior=prior)
        return in_batches(one_batch, some, one_at_a_time(), smallest=1)

    return unmix_by_count((rows, np.asarray(fitted.misfit)), fitted, sample)


@jax.jit
@exact_products
def _sample(
    rows: tuple[Patch, Float[Array, " N"]], noise: Noise, pool: Pool, psf: Psf, prior: ScenePrior
) -> Targets:
    patch, misfit = lanes_last(rows[0]), rows[1]
    excess = jnp.where(misfit > TRUSTED_MISFIT, misfit**2 - 1, 0.0)
    patch = replace(patch, variance=patch.variance + excess * (patch.variance + patch.rounding))

    def one(patch_of_image: Patch) -> Targets:
        single = jax.tree.map(lambda leaf: leaf[..., None], patch_of_image)
        scenes = sample_posterior(single, noise, pool, prior, psf)
        position = jnp.moveaxis(scenes[:, :2], -1, 0) + single.origin[:, 0]
        return decide(position, scenes[:, 2].T)

    return jax.lax.map(one, rows_first(patch), batch_size=_MOVED_TOGETHER)
