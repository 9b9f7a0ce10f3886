"""Estimators: objects that find the targets in images of a sensor, under a prior of the scenes.

All follow one protocol, so that scripts, the evaluation and the command line take any of them,
including one of your own. An estimator is immutable. It holds only its settings and, for a network,
the model.
"""

from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from typing import Any, ClassVar, Protocol, runtime_checkable

import jax
import numpy as np
from flax import nnx
from jaxtyping import Array, Float

from distax.fitting.all_counts import images_at_once
from distax.fitting.cameras import outside_of_range
from distax.fitting.candidates import Search, sample_pools
from distax.fitting.fast import SEARCH, fast_rows
from distax.fitting.local_psf import LocalPsf, refine_rows_apart
from distax.fitting.network import ModeNetwork, shipped_network
from distax.fitting.patch import Patch, blob_reach, cut_rows, window_width
from distax.fitting.posterior import posterior_rows
from distax.fitting.prior import all_starting_scenes
from distax.fitting.refine import refine_rows, refine_rows_together
from distax.fitting.sampler import Effort
from distax.imaging.checks import check_single, to_stack
from distax.imaging.grid import THRESHOLD
from distax.imaging.scenes import ScenePrior
from distax.imaging.sensor import Sensor
from distax.imaging.targets import Targets
from distax.models import GridModel, Model, SequenceModel
from distax.runtime.batching import in_batches, inference_batch
from distax.runtime.errors import DistaxError, check_positive, check_seed
from distax.runtime.fields import check_fields

_BATCHES_AT_ONCE = 8
"""Batches in a portion, for every estimator but `Posterior`. More hide more of the cost of each
call. Fewer show progress more often."""


@runtime_checkable
class Estimator(Protocol):
    """The protocol of estimators, which find the targets in images.

    Attributes:
      name: name of the method.
      fits: True if the estimator fits the imaging model. It then takes other sensors and priors
        too, and leaves out pixels that are NaN. False for a network that takes only the sensor and
        the scenes that it was trained for.
    """

    name: ClassVar[str]
    fits: ClassVar[bool]

    @property
    def portion_size(self) -> int:
        """Number of images to give in one call where there are many."""

    def __call__(
        self, images: Float[np.ndarray, "N height width"], sensor: Sensor, prior: ScenePrior
    ) -> Targets:
        """Finds the targets in images, whose pixels `Unmixer` has checked.

        Args:
          images: raw counts as float32. Pixels are NaN where they are to be left out, and only if
            `fits` is True.
          sensor: the sensor.
          prior: the scenes' prior.

        Returns:
          Targets `[N, K]`, highest score first. K is `prior.max_targets` for estimators that
          fit, and the number of slots of the model for `Fast` and `Grid`.
        """


def _large_portion(_: object) -> int:
    """Returns the portion size of an estimator that takes much less than a second a batch."""
    return _BATCHES_AT_ONCE * inference_batch()


def _small_portion(_: object) -> int:
    """Returns the portion size of an estimator that takes seconds a batch."""
    return inference_batch()


@dataclass(frozen=True, eq=False)
class Fast:
    """Estimator that finds targets in one pass through a network whose positions are off the grid.

    Attributes:
      model: the network.
    """

    model: Model
    name: ClassVar[str] = "fast"
    fits: ClassVar[bool] = False
    portion_size = property(_large_portion)

    def __post_init__(self) -> None:
        check_fields(self)

    def __call__(
        self, images: Float[np.ndarray, "N height width"], sensor: Sensor, prior: ScenePrior
    ) -> Targets:
        """Finds targets `[N, K]`. `sensor` and `prior` have no effect: the model has its own."""
        pixels = to_stack(images, getattr(self.model, "sensor", sensor))
        return in_batches(partial(_detect, *nnx.split(self.model)), pixels, inference_batch())


@dataclass(frozen=True, eq=False)
class Grid:
    """Estimator that reads targets off a grid model's output at a threshold.

    Attributes:
      model: the grid model.
      threshold: counts that a node needs to be reported.
    """

    model: GridModel
    threshold: float = THRESHOLD
    name: ClassVar[str] = "grid"
    fits: ClassVar[bool] = False
    portion_size = property(_large_portion)

    def __post_init__(self) -> None:
        check_fields(self)
        check_positive(threshold=self.threshold)

    def __call__(
        self, images: Float[np.ndarray, "N height width"], sensor: Sensor, prior: ScenePrior
    ) -> Targets:
        """Finds targets `[N, K]`. `sensor` and `prior` have no effect: the model has its own."""
        pixels = to_stack(images, self.model.sensor)
        return in_batches(reader(self.model, self.threshold), pixels, inference_batch())


@runtime_checkable
class WindowEstimator(Estimator, Protocol):
    """The protocol of estimators that also accept windows cut by the caller. Frames need this."""

    def unmix_windows(self, windows: Patch, sensor: Sensor, prior: ScenePrior) -> Targets:
        """Finds the targets `[N, K]` in windows with images along the first axis.

        Args:
          windows: the windows; see `patch.cut_rows`.
          sensor: the sensor, for its PSF.
          prior: the scenes' prior.
        """


class _Fitting(WindowEstimator, Protocol):
    """Estimators that fit the imaging model to the window around each image's blob."""

    fits: ClassVar[bool] = True

    def __call__(
        self,
        images: Float[Array | np.ndarray, "N height width"],
        sensor: Sensor,
        prior: ScenePrior,
    ) -> Targets:
        """Finds targets `[N, prior.max_targets]` in images in counts, highest score first."""
        check_single(sensor, prior)
        pixels = to_stack(images, sensor)
        # The window is cut once for all steps that use it.
        width = window_width(sensor, prior.cluster)
        cut = partial(cut_rows, sensor=sensor, width=width, reach=blob_reach(width))
        windows = in_batches(cut, pixels, inference_batch())
        return self.unmix_windows(windows, sensor, prior)


@dataclass(frozen=True)
class Refine(_Fitting):
    """Estimator that takes the best least-squares fit, and the number of targets by evidence.

    See `refine.refine`.

    Attributes:
      search: sizes of the search for the best fit.
      together: True fits all numbers of targets in one program. It compiles in a quarter of the
        time and takes up to twice as long to run, which suits few images. The answers are the same.
    """

    search: Search = Search()
    together: bool = False
    name: ClassVar[str] = "refine"
    portion_size = property(_large_portion)

    def __post_init__(self) -> None:
        check_fields(self)

    def unmix_windows(self, windows: Patch, sensor: Sensor, prior: ScenePrior) -> Targets:
        """Finds the targets `[N, K]` in windows, with Gaussian errors."""
        search = self.search.over(prior.cluster)
        settings = {"psf": sensor.psf, "prior": prior, "search": search}
        if self.together:
            size = images_at_once(windows.counts.shape[1], prior, search)
            pools = all_starting_scenes(prior, search.pool)
            fit = partial(refine_rows_together, pools=pools, **settings)
            return in_batches(fit, windows, size, smallest=size)
        fit = partial(refine_rows, pools=sample_pools(prior, search), **settings)
        return in_batches(fit, windows, inference_batch())

    def unmix_local(self, windows: Patch, local: LocalPsf, prior: ScenePrior) -> Targets:
        """Finds the targets `[N, K]` in windows that each have a PSF of their own."""
        search = self.search.over(prior.cluster)
        size = images_at_once(windows.counts.shape[1], prior, search)
        pools = all_starting_scenes(prior, search.pool)
        fit = partial(refine_rows_apart, pools=pools, prior=prior, search=search)
        return in_batches(fit, (windows, local), size, smallest=size)


@dataclass(frozen=True, eq=False)
class FastFit(_Fitting):
    """Estimator that gives the fits of `Refine` to a network, for the posterior of the positions.

    See `fast.fast_rows`.

    Attributes:
      network: the network; see `network.load_network`. It takes every sensor and prior that
        `cameras.outside_of_range` has nothing to say about. Default: the one that comes with
        distax.
      search: sizes of the search for the fits that the network sees.
      refine: the estimator that gives the number of targets in each image.

    Raises:
      DistaxError: a call is for a sensor or a prior outside of the network's range.
    """

    network: ModeNetwork = field(default_factory=shipped_network)
    search: Search = SEARCH
    refine: Refine = Refine()
    name: ClassVar[str] = "fast"
    portion_size = property(_large_portion)

    def __post_init__(self) -> None:
        check_fields(self)

    def unmix_windows(self, windows: Patch, sensor: Sensor, prior: ScenePrior) -> Targets:
        """Finds the targets `[N, K]` in windows, with credible regions."""
        if problem := outside_of_range(sensor, prior):
            raise DistaxError(f"{problem}; choose the method refine or posterior")
        fitted = self.refine.unmix_windows(windows, sensor, prior)
        search = self.search.over(prior.cluster)
        return fast_rows(windows, fitted, self.network, sensor, prior, search)


@dataclass(frozen=True)
class Posterior(_Fitting):
    """Estimator of the positions that maximise the expected number of hits, by posterior samples.

    See `posterior.posterior_rows`.

    Attributes:
      effort: sizes of the sampler.
      seed: seed of the sampler's random numbers.
      refine: the estimator that gives the number of targets in each image. If the prior excludes
        every sampled scene, its answer is returned unchanged.
    """

    effort: Effort = Effort()
    seed: int = 0
    refine: Refine = Refine()
    name: ClassVar[str] = "posterior"
    portion_size = property(_small_portion)

    def __post_init__(self) -> None:
        check_fields(self)
        check_seed(self.seed)

    def unmix_windows(self, windows: Patch, sensor: Sensor, prior: ScenePrior) -> Targets:
        """Finds the targets `[N, K]` in windows, with credible regions."""
        fitted = self.refine.unmix_windows(windows, sensor, prior)
        return posterior_rows(windows, fitted, sensor.psf, prior, self.effort, self.seed)

    def unmix_local(self, windows: Patch, local: LocalPsf, prior: ScenePrior) -> Targets:
        """Finds the targets `[N, K]` in windows that each have a PSF of their own."""
        fitted = self.refine.unmix_local(windows, local, prior)
        return posterior_rows(windows, fitted, local, prior, self.effort, self.seed)


@partial(jax.jit, static_argnames="graphdef")
def _detect(
    graphdef: nnx.GraphDef[Model], state: nnx.State, images: Float[Array, "N height width"]
) -> Targets:
    return nnx.merge(graphdef, state).detect(images)


def reader(model: GridModel | SequenceModel, threshold: float) -> Callable[[Any], Targets]:
    """Returns a compiled function that reads targets off a model's grids at a threshold.

    Args:
      model: the model.
      threshold: counts that a node needs to be reported.
    """
    return partial(_read_off, *nnx.split(model), threshold=np.float32(threshold))


@partial(jax.jit, static_argnames="graphdef")
def _read_off(
    graphdef: nnx.GraphDef[GridModel | SequenceModel],
    state: nnx.State,
    images: Float[Array, "N *row"],
    threshold: Float[Array, ""],
) -> Targets:
    return nnx.merge(graphdef, state).detect(images, threshold)
