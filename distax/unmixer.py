"""From raw pixels to targets: the front that scripts, notebooks and the command line share."""

import warnings
from collections.abc import Callable
from dataclasses import asdict, dataclass, replace
from functools import partial
from os import PathLike
from pathlib import Path
from typing import Any

import jax
import numpy as np
from flax import nnx
from jaxtyping import Array, Float

from distax.fitting.posterior import posterior
from distax.fitting.refine import refine
from distax.fitting.sampler import Effort
from distax.imaging.checks import check_shape, find_problems
from distax.imaging.grid import THRESHOLD
from distax.imaging.scenes import ScenePrior
from distax.imaging.sensor import Sensor
from distax.imaging.targets import Targets
from distax.models import GridModel, Model, create
from distax.models.registry import parameter_rngs, solvers
from distax.runtime.batching import in_batches, inference_batch
from distax.runtime.errors import DistaxError, DistaxWarning, unknown
from distax.runtime.html import fact_table

METHODS = ("grid", "refine", "posterior", "fast")
"""The ways to find targets."""

_BATCHES_AT_ONCE = 8
"""Batches that fast methods are given at a time."""
_USUAL_MISFIT = 1.1
"""Median misfit that no mixture of images comes near while the imaging model holds (0.7 to 1.0,
by count), and that CSIST-100K's images exceed when σ is off by 2%."""
_NAMED = 5
"""Images that a warning names before it counts the rest."""
_FEW = 16
"""Images whose median misfit says little."""


@dataclass(frozen=True, kw_only=True, eq=False)
class Unmixer:
    """Finds the targets in images.

    Attributes:
      method: "fast": a network's answer in one pass, thousands of images a second, for the sensor
        and the kind of scenes it was trained on. "posterior": the answer with the largest
        expected number of hits under the posterior, for any sensor and prior; a dozen images a
        second on two CPU cores. "refine": the best least-squares fit; thousands a second, any
        sensor and prior. "grid": a grid model's output, read off at a threshold. Without one, the
        best that suits the other arguments: what the model is for; without a model "fast" for
        CSIST-100K's sensor and prior, which are the defaults, and "posterior" for others.
      model: a trained model for "grid" or "fast"; without it "fast" loads the one that comes
        with distax.
      sensor: whose images they are; without one the model's, or CSIST-100K's.
      prior: what is known of the scenes, for "refine" and "posterior"; without one CSIST-100K's in
        images of the sensor's size.
      threshold: counts a grid node needs to be reported, for "grid".
      effort: how hard the sampler works, for "posterior".
      seed: of the sampler's random numbers, for "posterior".

    Raises:
      DistaxError: an unknown method, a model or a sensor that does not suit it, a model for another
        sensor, or a prior for images of another size.
    """

    method: str | None = None
    model: Model | None = None
    sensor: Sensor = None  # type: ignore[assignment]  # never None once made
    prior: ScenePrior = None  # type: ignore[assignment]
    threshold: float = THRESHOLD
    effort: Effort = Effort()
    seed: int = 0

    def __post_init__(self) -> None:
        if self.method is None:
            object.__setattr__(self, "method", self._suitable_method())
        if self.method not in METHODS:
            raise unknown("method", str(self.method), METHODS)
        if self.sensor is None:
            object.__setattr__(self, "sensor", self._models_sensor or Sensor())
        if self.prior is None:
            object.__setattr__(self, "prior", prior_for(self.sensor))
        if self.method == "fast" and self.model is None:
            object.__setattr__(self, "model", _network_for(self.sensor))
        self._check_agreement()

    def _check_agreement(self) -> None:
        on_grid = isinstance(self.model, GridModel)
        if not self._fits and (self.method == "grid") != on_grid:
            raise DistaxError(
                f"the method {self.method} does not suit a model of type "
                f"{type(self.model).__name__}; load a trained one, or leave the method out"
            )
        if self._models_sensor not in (None, self.sensor):
            raise DistaxError(
                f"the model is for {self._models_sensor}, not for {self.sensor}; leave the sensor "
                "out, or make a model for yours"
            )
        size = self.prior.height, self.prior.width
        if self._fits and size != self.sensor.shape:
            raise DistaxError(
                "the prior is for images of {}×{} px, the sensor has {}×{}; leave the prior out, "
                "or give it the sensor's height and width".format(*size, *self.sensor.shape)
            )

    @property
    def _fits(self) -> bool:
        """Whether the imaging model finds the targets rather than a network."""
        return self.method in ("refine", "posterior")

    @property
    def _models_sensor(self) -> Sensor | None:
        """Whose images the model takes, where one is used that says."""
        return None if self._fits else getattr(self.model, "sensor", None)

    def _suitable_method(self) -> str:
        if self.model is not None:
            return "grid" if isinstance(self.model, GridModel) else "fast"
        published = self.sensor in (None, Sensor()) and self.prior in (None, ScenePrior())
        return "fast" if published else "posterior"

    @classmethod
    def load(
        cls,
        name: str | PathLike[str],
        threshold: float | None = None,
        sensor: Sensor | None = None,
    ) -> "Unmixer":
        """An unmixer with trained weights, or with a solver that needs none.

        Args:
          name: a name that `distax.weights.names` lists, a safetensors file of distax, the
            folder of a training run, also in a bucket, for its best model, or a registered model
            without anything to train.
          threshold: counts a grid node needs to be reported; without it those of the training's
            evaluations, for weights that come with distax and solvers 50.
          sensor: whose images are to be unmixed; a solver takes any (CSIST-100K's without one),
            trained weights only the one they were trained for.

        Raises:
          DistaxError: there is nothing of the kind, or it cannot be used, or not for the sensor.
        """
        from distax import weights
        from distax.training.checkpoints import load_model

        if str(name) in solvers():
            trained_for = sensor or Sensor()
            model = create(str(name), sensor=trained_for, rngs=parameter_rngs(0))
            prior, usual = prior_for(trained_for), THRESHOLD
        elif str(name) in weights.names():
            model, trained_for = weights.load(str(name))
            prior, usual = ScenePrior(), THRESHOLD
        else:
            a_file = Path(name).suffix == ".safetensors"
            model, config = weights.read(Path(name)) if a_file else load_model(name)
            trained_for, prior, usual = config.sensor, config.prior, config.threshold
        if sensor not in (None, trained_for):
            raise DistaxError(
                f"{name} was trained for {trained_for}, not for {sensor}; leave the sensor or the "
                "model out, or train one for your sensor"
            )
        threshold = usual if threshold is None else threshold
        return cls(model=model, sensor=trained_for, prior=prior, threshold=threshold)

    def __call__(
        self,
        images: Float[Array | np.ndarray, "N height width"],
        advance: Callable[[int], object] | None = None,
    ) -> Targets:
        """Targets `[N, K]`, those with the highest score first, from raw images in counts.

        NaN marks pixels that "refine" and "posterior" leave out. An image that cannot be used is
        answered with no targets, not to be trusted; a warning names the first of them, and all
        others are answered as if they were not there. Another warning is given when most images
        are not what the imaging model makes: a few targets show that in each image (`trusted`),
        many hide it.

        Args:
          images: raw images in counts.
          advance: called with the number of images done after every portion, to show progress.

        Raises:
          DistaxError: images of another size than the sensor's, none, or none that can be used.
        """
        pixels = np.asarray(images, dtype=np.float32)
        problems = self.check(pixels)
        if not len(pixels):
            raise DistaxError("there are no images to unmix")
        named = [f"image {index}, {problem}" for index, problem in problems.items()]
        if len(problems) == len(pixels):
            raise DistaxError(f"images: {named[0]}")
        if named:
            more = [f"and {len(named) - _NAMED} more"] if len(named) > _NAMED else []
            line = "; ".join(named[:_NAMED] + more)
            warnings.warn(f"not unmixed: {line}", DistaxWarning, stacklevel=2)
        bad = np.isin(np.arange(len(pixels)), list(problems))
        found = self._find(np.where(bad[:, None, None], 0, pixels), advance)
        if found.misfit is not None:
            warn_of_misfits(np.asarray(found.misfit)[~bad])
        return _without(found, bad)

    @property
    def portion_size(self) -> int:
        """Images that are best unmixed at a time where there are many."""
        return inference_batch() * (1 if self.method == "posterior" else _BATCHES_AT_ONCE)

    def unmix_portion(self, images: Float[np.ndarray, "N height width"]) -> Targets:
        """Targets `[N, K]` in some of many images, which may be divided in any way.

        On a CPU an answer is the same to the last bit whatever images it comes with, for which a
        few take as long as a whole batch. Nothing is checked and nothing warned of: see `check`
        and `warn_of_misfits`.
        """
        missing = -len(images) % inference_batch()
        found = self._answers(np.pad(images, [(0, missing), (0, 0), (0, 0)]))
        return jax.tree.map(lambda leaf: leaf[: len(images)], found)

    def _repr_html_(self) -> str:
        """A table, for notebooks."""
        facts: dict[str, object] = {"method": self.method}
        if self.model is not None:
            facts["model"] = type(self.model).__name__
        if self.method == "grid":
            facts["threshold"] = f"{self.threshold:g} counts"
        facts["sensor"] = _settings(self.sensor)
        if self.method in ("refine", "posterior"):
            facts["prior"] = _settings(self.prior)
        if self.method == "posterior":
            facts |= {"effort": _settings(self.effort), "seed": self.seed}
        return fact_table(facts)

    def check(self, images: np.ndarray, name: str = "images") -> dict[int, str]:
        """What keeps each image from being unmixed, by its number; `name` stands in the error.

        Raises:
          DistaxError: images of another size than the sensor's.
        """
        check_shape(images, self.sensor, name)
        return find_problems(images, self.sensor, missing_allowed=self._fits)

    def _find(
        self, images: Float[np.ndarray, "N height width"], advance: Callable[[int], object] | None
    ) -> Targets:
        size = self.portion_size
        if len(images) <= size:
            return self._answers(images)
        parts = []
        for start in range(0, len(images), size):
            parts.append(self.unmix_portion(images[start : start + size]))
            if advance:
                advance(min(start + size, len(images)))
        return jax.tree.map(lambda *leaves: np.concatenate(leaves), *parts)

    def _answers(self, images: Float[np.ndarray, "N height width"]) -> Targets:
        if self._fits:
            fit = partial(refine, sensor=self.sensor, prior=self.prior)
            fitted = in_batches(fit, images, _BATCHES_AT_ONCE * inference_batch())
            if self.method == "refine":
                return fitted
            return posterior(images, fitted, self.sensor, self.prior, self.effort, self.seed)
        graphdef, state = nnx.split(self.model)
        threshold = self.threshold if self.method == "grid" else None
        detect = partial(_detect, graphdef, state, threshold=threshold)
        return in_batches(detect, images, inference_batch())


def prior_for(sensor: Sensor) -> ScenePrior:
    """CSIST-100K's prior in images of a sensor's size."""
    return ScenePrior(height=sensor.height, width=sensor.width)


def _network_for(sensor: Sensor) -> Model:
    from distax import weights

    model, trained_for = weights.load("density")
    if sensor != trained_for:
        raise DistaxError(
            f"the network that comes with distax was trained for {trained_for}, not for {sensor}; "
            "choose the method posterior or refine, or train a density model for your sensor"
        )
    return model


def warn_of_misfits(misfit: np.ndarray) -> None:
    """Warn of images that the imaging model does not make, by the misfits of all of them."""
    if len(misfit) >= _FEW and (median := np.median(misfit)) > _USUAL_MISFIT:
        warnings.warn(
            f"the median misfit of {len(misfit)} images is {median:.2f}; where the imaging model "
            "holds it stays below 1, so positions and their uncertainties are in doubt, those "
            "marked as trusted too: check sigma, background, read noise and saturation",
            DistaxWarning,
            stacklevel=3,
        )


def _without(found: Targets, bad: np.ndarray) -> Targets:
    """The answers with those to bad images emptied."""
    if not bad.any():
        return found
    trusted = np.ones(len(bad), bool) if found.trusted is None else found.trusted
    return replace(found, mask=found.mask & ~bad[:, None], trusted=trusted & ~bad)


@partial(jax.jit, static_argnames=("graphdef", "threshold"))
def _detect(
    graphdef: nnx.GraphDef[Model],
    state: nnx.State,
    images: Float[Array, "N height width"],
    threshold: float | None,
) -> Targets:
    model = nnx.merge(graphdef, state)
    if threshold is None:
        return model.detect(images)
    assert isinstance(model, GridModel)
    return model.detect(images, threshold)


def _settings(values: Any) -> str:
    return ", ".join(f"{name} {value}" for name, value in asdict(values).items())
