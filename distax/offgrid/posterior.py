"""The posterior's answer: expected hits maximised, every explanation weighed."""

from dataclasses import replace
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from distax.batching import in_batches, inference_batch
from distax.offgrid.decision import decide
from distax.offgrid.likelihood import ROUNDING_VARIANCE
from distax.offgrid.patch import Patch, cut, window_width
from distax.offgrid.refine import TRUSTED_MISFIT
from distax.offgrid.sampler import Effort, Noise, draw_noise, sample_posterior
from distax.scenes import PlacementLaw
from distax.sensor import Sensor
from distax.targets import Targets


def posterior(
    images: Float[Array | np.ndarray, "N height width"],
    fitted: Targets,
    sensor: Sensor,
    law: PlacementLaw,
    effort: Effort,
    seed: int,
) -> Targets:
    """Targets `[N, K]` that maximise the expected number of hits under the posterior.

    Images are sampled together with those of the same count, and an answer depends on its image,
    the seed and the settings alone.

    Args:
      images: raw images in counts.
      fitted: their targets by `refine`: the counts, and how well the imaging model explains them.
        Where it does not, the noise is taken to be as large as the misfit says.
      sensor: whose images they are.
      law: the prior.
      effort: how hard the sampler works.
      seed: of its random numbers.
    """
    answer = jax.tree.map(np.array, fitted)
    misfit = np.asarray(fitted.misfit)
    for count in sorted(set(np.asarray(fitted.count).tolist()) - {0}):
        chosen = np.flatnonzero(np.asarray(fitted.count) == count)
        noise = draw_noise(jax.random.key(seed), count, effort)
        sample = partial(_sample, noise=noise, sensor=sensor, law=law)
        rows = (np.asarray(images)[chosen], misfit[chosen])
        found = in_batches(sample, rows, inference_batch())
        for name in _SAMPLED:
            getattr(answer, name)[chosen, :count] = getattr(found, name)
    return answer


_IMAGES_AT_ONCE = 64
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


@partial(jax.jit, static_argnames=("sensor", "law"))
def _sample(
    rows: tuple[Float[Array, "N height width"], Float[Array, " N"]],
    noise: Noise,
    sensor: Sensor,
    law: PlacementLaw,
) -> Targets:
    images, misfit = rows
    patch = cut(images, sensor, law)
    excess = jnp.where(misfit > TRUSTED_MISFIT, misfit**2 - 1, 0.0)
    patch = replace(patch, variance=patch.variance + excess * (patch.variance + ROUNDING_VARIANCE))
    width = window_width(sensor, law)

    def one(patch_of_image: Patch) -> Targets:
        single = jax.tree.map(lambda leaf: leaf[..., None], patch_of_image)
        scenes = sample_posterior(single, noise, law, width, sensor.sigma)
        position = jnp.moveaxis(scenes[:, :2], -1, 0) + single.origin[:, 0]
        return decide(position, scenes[:, 2].T)

    images_first = jax.tree.map(lambda leaf: jnp.moveaxis(leaf, -1, 0), patch)
    at_once = None if jax.default_backend() == "cpu" else _IMAGES_AT_ONCE
    return jax.lax.map(one, images_first, batch_size=at_once)
