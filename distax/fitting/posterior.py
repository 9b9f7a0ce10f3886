"""The posterior's answer: expected hits maximised, every explanation weighed."""

from dataclasses import replace
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from distax.fitting.decision import decide
from distax.fitting.patch import Patch, cut, lanes_last, rows_first, window_width
from distax.fitting.refine import TRUSTED_MISFIT
from distax.fitting.sampler import Effort, Noise, draw_noise, sample_posterior
from distax.imaging.scenes import ScenePrior
from distax.imaging.sensor import Sensor
from distax.imaging.targets import Targets
from distax.runtime.batching import in_batches, inference_batch
from distax.runtime.numerics import exact_products


def posterior(
    images: Float[Array | np.ndarray, "N height width"],
    fitted: Targets,
    sensor: Sensor,
    prior: ScenePrior,
    effort: Effort,
    seed: int,
) -> Targets:
    """Targets `[N, K]` that maximise the expected number of hits under the posterior.

    Images are sampled together with those of the same count, and an answer depends on its image,
    the seed and the settings alone. Where the prior rules out every scene that comes near to
    explaining an image, the answer of `fitted` stays and is not to be trusted.

    Args:
      images: raw images in counts.
      fitted: their targets by `refine`: the counts, and how well the imaging model explains them.
        Where it does not, the noise is taken to be as large as the misfit says.
      sensor: whose images they are.
      prior: the prior.
      effort: how hard the sampler works.
      seed: of its random numbers.
    """
    look = partial(_cut, sensor=sensor, prior=prior)
    windows = in_batches(look, np.asarray(images), inference_batch())
    return posterior_of_windows(windows, fitted, sensor, prior, effort, seed)


def posterior_of_windows(
    windows: Patch, fitted: Targets, sensor: Sensor, prior: ScenePrior, effort: Effort, seed: int
) -> Targets:
    """What `posterior` does, for windows that are cut already (see `patch.rows_first`)."""
    answer = jax.tree.map(np.array, fitted)
    misfit = np.asarray(fitted.misfit)
    for count in sorted(set(np.asarray(fitted.count).tolist()) - {0}):
        chosen = np.flatnonzero(np.asarray(fitted.count) == count)
        noise = draw_noise(jax.random.key(seed), count, effort)
        sample = partial(_sample, noise=noise, sensor=sensor, prior=prior)
        rows = jax.tree.map(partial(_rows, chosen), (windows, misfit))
        found = in_batches(sample, rows, _images_at_once())
        sampled = np.isfinite(found.position).all(axis=(1, 2))
        for name in _SAMPLED:
            getattr(answer, name)[chosen[sampled], :count] = getattr(found, name)[sampled]
        answer.trusted[chosen[~sampled]] = False
    return answer


def _images_at_once() -> int:
    """One on a CPU, which moves one after the other anyway: no group of a count needs padding."""
    return 1 if jax.default_backend() == "cpu" else inference_batch()


def _rows(chosen: np.ndarray, leaf: Array | np.ndarray) -> np.ndarray:
    return np.asarray(leaf)[chosen]


@partial(jax.jit, static_argnames=("sensor", "prior"))
def _cut(images: Float[Array, "N height width"], sensor: Sensor, prior: ScenePrior) -> Patch:
    return rows_first(cut(images, sensor, prior))


_MOVED_TOGETHER = 64
"""Images whose populations an accelerator moves together."""

_SAMPLED = (
    "position",
    "intensity",
    "score",
    "covariance",
    "intensity_std",
    "hit_probability",
    "credible_radius",
)


@partial(jax.jit, static_argnames=("sensor", "prior"))
@exact_products
def _sample(
    rows: tuple[Patch, Float[Array, " N"]],
    noise: Noise,
    sensor: Sensor,
    prior: ScenePrior,
) -> Targets:
    patch, misfit = lanes_last(rows[0]), rows[1]
    excess = jnp.where(misfit > TRUSTED_MISFIT, misfit**2 - 1, 0.0)
    patch = replace(patch, variance=patch.variance + excess * (patch.variance + patch.rounding))
    width = window_width(sensor, prior)

    def one(patch_of_image: Patch) -> Targets:
        single = jax.tree.map(lambda leaf: leaf[..., None], patch_of_image)
        scenes = sample_posterior(single, noise, prior, width, sensor.psf)
        position = jnp.moveaxis(scenes[:, :2], -1, 0) + single.origin[:, 0]
        return decide(position, scenes[:, 2].T)

    at_once = None if jax.default_backend() == "cpu" else _MOVED_TOGETHER
    return jax.lax.map(one, rows_first(patch), batch_size=at_once)
