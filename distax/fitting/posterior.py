"""Posterior method: samples each image's posterior and maximises the expected number of hits."""

from collections.abc import Callable
from dataclasses import replace
from functools import partial
from operator import itemgetter
from typing import Any, TypeVar

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from distax.fitting.by_count import unmix_by_count
from distax.fitting.candidates import Pool
from distax.fitting.decision import decide
from distax.fitting.local_psf import LocalPsf
from distax.fitting.misfit import TRUSTED_MISFIT
from distax.fitting.patch import Patch, blob_reach, cut_rows, window_width
from distax.fitting.population import SEARCH
from distax.fitting.prior import starting_scenes
from distax.fitting.sampler import Effort, Noise, draw_noise, sample_posterior
from distax.imaging.psf import Psf
from distax.imaging.scenes import ScenePrior
from distax.imaging.sensor import Sensor
from distax.imaging.targets import Targets
from distax.runtime.batching import in_batches, one_at_a_time
from distax.runtime.numerics import exact_products
from distax.runtime.sharding import divide_rows

Summary = TypeVar("Summary")
Rows = tuple[Patch, Any, LocalPsf | None]
"""Windows, their misfits, and their own PSFs if they have any, with images along the first axis."""

_MOVED_TOGETHER = 64
"""Images whose populations an accelerator moves together. More need more memory, fewer leave the
accelerator idle."""


def posterior_rows(
    rows: Patch,
    fitted: Targets,
    psf: Psf | LocalPsf,
    prior: ScenePrior,
    effort: Effort,
    seed: int,
) -> Targets:
    """Finds targets that maximise the expected number of hits under the posterior.

    Images with the same number of targets are sampled together, divided over this process's
    devices. An answer depends on its image, the seed and the settings alone. The prior may exclude
    every scene that comes near to explaining an image. In this case the answer of `fitted` stays,
    and is not trusted.

    Args:
      rows: the windows, with images along the first axis; see `patch.cut_rows`.
      fitted: the windows' targets by `refine`, which give the number of targets and the misfit. If
        the imaging model does not explain an image, its noise is multiplied by the misfit.
      psf: the sensor's PSF, or those of the windows.
      prior: the scenes' prior.
      effort: sizes of the sampler.
      seed: seed of the sampler's random numbers.

    Returns:
      Targets `[N, K]`, those with the highest score first.
    """
    local, common = (psf, None) if isinstance(psf, LocalPsf) else (None, psf)

    def unmix(some: Rows, count: int) -> Targets:
        return _for_each_image(decide, some, count, common, prior, effort, seed)

    return unmix_by_count((rows, np.asarray(fitted.misfit), local), fitted, unmix)


def draw_scenes(
    images: Float[Array | np.ndarray, "N height width"],
    count: int,
    sensor: Sensor = Sensor(),
    prior: ScenePrior = ScenePrior(),
    effort: Effort = Effort(),
    seed: int = 0,
) -> tuple[Float[np.ndarray, "N S {count} 2"], Float[np.ndarray, "N S {count}"]]:
    """Draws scenes from the posterior of images whose number of targets is known.

    Source: see `sampler`.

    Args:
      images: raw images in counts; NaN marks pixels to leave out.
      count: number of targets in each image.
      sensor: the sensor.
      prior: the scenes' prior.
      effort: sizes of the sampler; S is its number of particles.
      seed: seed of the sampler's random numbers.

    Returns:
      Positions in pixels and intensities in counts of equally likely scenes, with targets in any
      order. They are NaN for an image that the prior excludes.
    """
    width = window_width(sensor, prior.cluster)
    rows = cut_rows(images, sensor, width, blob_reach(width))
    explained = np.zeros(len(images), np.float32)
    drawn = _for_each_image(
        _unchanged, (rows, explained, None), count, sensor.psf, prior, effort, seed
    )
    return np.asarray(drawn[0]), np.asarray(drawn[1])


def _unchanged(position: Array, intensity: Array) -> tuple[Array, Array]:
    return position, intensity


def _for_each_image(
    summarise: Callable[[Array, Array], Summary],
    images: Rows,
    count: int,
    psf: Psf | None,
    prior: ScenePrior,
    effort: Effort,
    seed: int,
) -> Summary:
    """Samples the posterior of each image, and summarises its scenes.

    Args:
      summarise: makes the result of an image from positions `[S, K, 2]` and intensities `[S, K]`.
      images: the windows, their misfits, and their own PSFs if `psf` is None.
      count: number of targets in each image.
      psf, prior, effort, seed: as for `posterior_rows`.
    """
    devices = tuple(jax.local_devices())
    sample = partial(
        _sample,
        noise=draw_noise(jax.random.key(seed), count, effort),
        pool=starting_scenes(prior, count, SEARCH.pool),
        psf=psf,
        prior=prior,
        summarise=summarise,
        devices=devices,
    )
    return in_batches(
        sample, images, one_at_a_time(devices[0].platform) * len(devices), smallest=len(devices)
    )


@partial(jax.jit, static_argnames=("summarise", "devices"))
@exact_products
def _sample(
    rows: Rows,
    noise: Noise,
    pool: Pool,
    psf: Psf | None,
    prior: ScenePrior,
    summarise: Callable[[Array, Array], Summary],
    devices: tuple[jax.Device, ...],
) -> Summary:
    def of_device(rows: Rows, *shared: Any) -> Summary:
        one = partial(_sample_image, shared=shared, summarise=summarise)
        if len(rows[1]) == 1:
            # No `vmap`, under which the sampler would run all levels for every image.
            return jax.tree.map(lambda leaf: leaf[None], one(jax.tree.map(itemgetter(0), rows)))
        return jax.lax.map(one, rows, batch_size=_MOVED_TOGETHER)

    return divide_rows(of_device, devices, rows, noise, pool, psf, prior)


def _sample_image(
    row: Rows,
    shared: tuple[Noise, Pool, Any, ScenePrior],
    summarise: Callable[[Array, Array], Summary],
) -> Summary:
    noise, pool, psf, prior = shared
    patch, misfit = jax.tree.map(lambda leaf: leaf[..., None], row[:2])
    if row[2] is not None:
        psf, prior = row[2].of(prior)
    excess = jnp.where(misfit > TRUSTED_MISFIT, misfit**2 - 1, 0.0)
    patch = replace(patch, variance=patch.variance + excess * (patch.variance + patch.rounding))
    scenes = sample_posterior(patch, noise, pool, prior, psf)
    position = jnp.moveaxis(scenes[:, :2], -1, 0) + patch.origin[:, 0]
    return summarise(position, scenes[:, 2].T)
