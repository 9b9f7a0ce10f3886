"""Methods of `unmix` as functions that JAX can trace."""

from collections.abc import Callable
from typing import Any

import jax
from flax import nnx
from jaxtyping import Array

from distax.fitting.candidates import sample_pools
from distax.fitting.estimators import Estimator, Fast, FastFit, Refine
from distax.fitting.fast import fast_patch
from distax.fitting.patch import blob_reach, cut_patches, window_width
from distax.fitting.refine import refine, refine_patch
from distax.imaging.scenes import ScenePrior
from distax.imaging.sensor import Sensor
from distax.imaging.targets import Targets
from distax.models import Model, SequenceModel
from distax.runtime.errors import DistaxError

Method = tuple[Callable[[Any, Array], Targets], Any]
"""A function of (arrays, images `[B, height, width]`), and its arrays or their shapes."""


def trace_model(model: Model) -> Method:
    """Returns a model's `detect` as a function that can be traced. The model may be abstract.

    Raises:
      DistaxError: the model takes sequences.
    """
    if isinstance(model, SequenceModel):
        raise DistaxError(
            f"{type(model).__name__} takes sequences, which unmix does not: compile its training "
            "or its evaluation"
        )
    graphdef, state = nnx.split(model)
    return lambda state, images: nnx.merge(graphdef, state).detect(images), state


def trace_method(estimator: Estimator, sensor: Sensor, prior: ScenePrior) -> Method:
    """Returns an estimator, for a sensor and a prior, as a function that can be traced.

    Raises:
      DistaxError: the method is not one program; `posterior` is not.
    """
    if isinstance(estimator, Fast):
        return trace_model(estimator.model)
    if isinstance(estimator, Refine):
        search = estimator.search
        return lambda _, images: refine(images, sensor, prior, search), ()
    if isinstance(estimator, FastFit):
        return _trace_fast_fit(estimator, sensor, prior)
    raise DistaxError(
        f"the method {estimator.name} is not one program: it computes images of one number of "
        "targets together; choose fast, refine or grid"
    )


def _trace_fast_fit(estimator: FastFit, sensor: Sensor, prior: ScenePrior) -> Method:
    graphdef, state = nnx.split(estimator.network)
    width = window_width(sensor, prior.cluster)
    of_refine, of_fast = (
        search.over(prior.cluster) for search in (estimator.refine.search, estimator.search)
    )
    pools = sample_pools(prior, of_refine)

    def find(state: nnx.State, images: jax.Array) -> Targets:
        patch = cut_patches(images, sensor, width, blob_reach(width))
        fitted = refine_patch(patch, pools, sensor.psf, prior, of_refine)
        network = nnx.merge(graphdef, state)
        return fast_patch(patch, fitted, network, sensor, prior, of_fast)

    return find, state
