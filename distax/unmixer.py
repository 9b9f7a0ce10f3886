"""Unmixer of images: the one entry point that scripts, notebooks and the command line share."""

import warnings
from collections.abc import Callable
from dataclasses import fields, is_dataclass, replace
from os import PathLike
from pathlib import Path
from typing import Any

import jax
import numpy as np
from flax import nnx
from jaxtyping import Array, Bool, Float

from distax.fitting.estimators import Estimator, Fast
from distax.fitting.misfit import warn_of_misfits
from distax.fitting.sampler import Effort
from distax.fitting.self_calibration import FittedSensor, fit_sensor
from distax.imaging.checks import (
    as_counts,
    check_one_psf,
    find_problems,
    to_stack,
)
from distax.imaging.grid import THRESHOLD
from distax.imaging.rounding import check_level
from distax.imaging.scenes import ScenePrior, check_host
from distax.imaging.sensor import Sensor
from distax.imaging.targets import Targets
from distax.methods import MethodOptions, fast_for, suitable_method
from distax.models import GridModel, Model, create
from distax.models.keys import parameter_rngs
from distax.models.registry import classical
from distax.models.registry import names as model_names
from distax.runtime.buckets import as_path
from distax.runtime.errors import DistaxError, DistaxWarning, shown, unknown
from distax.runtime.html import fact_table

_NAMED = 5
"""Images that a warning names before it counts the rest. More make the line hard to read."""


class Unmixer:
    """An estimator together with the sensor and the prior that it is given.

    Args:
      method: the name of a method, or an estimator object. Default: the method that the model is
        for. If no model is given either: "fast" for every sensor and prior in the range of its
        networks, "posterior" for any other.
          "fast": a network. For CSIST-100K's sensor and prior it takes the images, thousands a
            second. For others it takes the fits of "refine", some hundred images a second on two
            CPU cores; see `fitting.cameras` for its range.
          "posterior": the positions with the largest expected number of hits under the posterior,
            for any sensor and prior, a dozen images a second on two CPU cores.
          "refine": the best least-squares fit, for any sensor and prior, thousands of images a
            second.
          "grid": a grid model's output, read off at a threshold.
          An estimator object: `Refine(Search(starts=8))`, for example, or one of your own.
      model: a trained model, for "grid" and "fast". Default for "fast": distax's own network.
      sensor: the sensor. Default: the model's, or CSIST-100K's.
      prior: the scenes' prior, for methods without a trained model. Default: CSIST-100K's.
      threshold: counts that a grid node needs to be reported, for "grid". Default: 50.
      effort: sizes of the sampler, for "posterior".
      seed: seed of the sampler's random numbers, for "posterior". Default: 0.

    Attributes:
      estimator: the estimator.
      sensor: the sensor.
      prior: the scenes' prior.
      fitted: the fit of the sensor with its standard deviations, for an unmixer that `calibrated`
        made; None for any other.

    Raises:
      DistaxError: the method is unknown; the model or the sensor does not suit the method; the
        model was trained for another sensor; the prior's border leaves no host pixel; the sensor's
        background is too large for numbers of 32 bits to hold its noise; an option has another
        type, or the method does not use it.
    """

    def __init__(
        self,
        *,
        method: str | Estimator | None = None,
        model: Model | None = None,
        sensor: Sensor | None = None,
        prior: ScenePrior | None = None,
        threshold: float | None = None,
        effort: Effort | None = None,
        seed: int | None = None,
    ):
        given = MethodOptions(method, model, sensor, prior, threshold, effort, seed)
        if sensor is not None:
            check_one_psf(sensor)
        if method is None:
            method = suitable_method(model, sensor, prior)
        given.check_used(method)
        if isinstance(method, str):
            method = given.estimator(method)
        trained_for = None if method.fits else getattr(_model_of(method), "sensor", None)
        self.estimator = method
        self.sensor: Sensor = sensor or trained_for or Sensor()
        self.prior: ScenePrior = prior or ScenePrior()
        self.fitted: FittedSensor | None = None
        if trained_for not in (None, self.sensor):
            raise DistaxError(
                f"the model is for {trained_for}, not for {self.sensor}; leave the sensor out, or "
                "make a model for yours"
            )
        if method.fits:
            check_host(self.prior, self.sensor.shape)
            check_level(self.sensor)

    @property
    def method(self) -> str:
        """Name of the method."""
        return self.estimator.name

    @property
    def model(self) -> Model | None:
        """The trained model, for a method that has one."""
        return _model_of(self.estimator)

    @property
    def threshold(self) -> float:
        """Counts that a grid node needs to be reported. Only the method "grid" uses it."""
        return float(getattr(self.estimator, "threshold", THRESHOLD))

    @property
    def assumed_prior(self) -> ScenePrior | None:
        """The prior that the answers assume; None for a model, which learned its own."""
        return self.prior if self.estimator.fits else None

    @classmethod
    def load(
        cls,
        name: str | PathLike[str],
        threshold: float | None = None,
        sensor: Sensor | None = None,
    ) -> "Unmixer":
        """Returns an unmixer with trained weights, or with a classical model that needs none.

        Args:
          name: a name that `distax.weights.names` lists; a safetensors file of distax; the folder
            of a training run, local or in a bucket, whose best model is loaded; or the name of a
            classical model, which has nothing to train.
          threshold: counts that a grid node needs to be reported. Default: the threshold of the
            training run; 50 for classical models and for the weights that come with distax.
          sensor: the sensor. A classical model takes any sensor. Trained weights take only the
            sensor that they were trained for. Default: that sensor; CSIST-100K's for a classical
            model.

        Raises:
          DistaxError: nothing of that name exists; it cannot be read; it is for another sensor.
        """
        from distax import weights

        if not isinstance(name, str | PathLike):
            raise DistaxError(f"name must be text or a path, got {shown(name)}")
        prior, usual = ScenePrior(), THRESHOLD
        if str(name) in classical():
            trained_for = sensor or Sensor()
            model = create(str(name), sensor=trained_for, rngs=parameter_rngs(0))
        elif str(name) in weights.names():
            model, trained_for = weights.load(str(name))
        elif Path(name).suffix == ".safetensors" and not as_path(name).exists():
            raise DistaxError(f"{name}: no such file of weights")
        elif not str(name) or (Path(name).name == str(name) and not Path(name).exists()):
            if str(name) in model_names():
                raise DistaxError(
                    f"distax comes without weights of the model {name}; train it, and give the "
                    "run's folder or a .safetensors file"
                )
            problem = unknown("model", str(name), {*weights.names(), *classical()})
            raise DistaxError(f"{problem}; or give a training run's folder or a .safetensors file")
        else:
            model, config = weights.find(name)
            trained_for, prior, usual = config.sensor, config.prior, config.threshold
        if sensor not in (None, trained_for):
            raise DistaxError(
                f"{name} was trained for {trained_for}, not for {sensor}; leave the sensor or the "
                "model out, or train one for your sensor"
            )
        if threshold is None and isinstance(model, GridModel):
            threshold = usual
        unmixer = cls(model=model, sensor=trained_for, threshold=threshold)
        unmixer.prior = prior
        return unmixer

    def calibrated(self, images: Float[Array | np.ndarray, "N height width"]) -> "Unmixer":
        """Fits the sensor to images of unknown scenes, and returns an unmixer with this sensor.

        The method and the prior stay. The network for CSIST-100K's sensor is replaced by the one
        for all sensors. Stated uncertainties of targets do not include those of the sensor. With 64
        images or more these are far smaller.

        Args:
          images: raw images in counts, at least 16, better 64; see
            `fitting.self_calibration.fit_sensor`.

        Returns:
          The unmixer. Its `fitted` holds the sensor's standard deviations, and the names of the
          fields that the images do not determine.

        Raises:
          DistaxError: the method has a model that was trained for this sensor only; the sensor
            cannot be fitted to the images; the fitted sensor does not suit the method.
        """
        estimator = self.estimator
        if not estimator.fits and not self._is_default_fast():
            raise DistaxError(
                f"the model of the method {self.method} is for its own sensor, so no other can be "
                "fitted; choose the method fast, refine or posterior without a model"
            )
        fitted = fit_sensor(as_counts(images), self.sensor, self.prior)
        if not estimator.fits:
            estimator = fast_for(fitted.sensor, self.prior)
        prior = self.prior if estimator.fits else None
        unmixer = Unmixer(method=estimator, sensor=fitted.sensor, prior=prior)
        unmixer.fitted = fitted
        return unmixer

    def _is_default_fast(self) -> bool:
        """Returns True for a network off the grid for CSIST-100K's sensor and prior."""
        csist = self.sensor == Sensor() and self.prior == ScenePrior()
        return isinstance(self.estimator, Fast) and csist

    def __call__(
        self,
        images: Float[Array | np.ndarray, "N height width"],
        advance: Callable[[int], object] | None = None,
    ) -> Targets:
        """Finds the targets in raw images in counts.

        NaN marks pixels that "refine" and "posterior" leave out. An image that cannot be used gets
        no targets and is not trusted. A warning names the first images of this kind. They have no
        effect on the answers to the other images.

        Another warning is given if the imaging model does not explain most images. `trusted` also
        shows this in an image of few targets. In an image of many targets the fit may absorb the
        error.

        Args:
          images: raw images in counts. The masked pixels of a masked array count as NaN.
          advance: called with the number of images done after every portion, if there are several
            portions, to show progress.

        Returns:
          Targets `[N, K]`, those with the highest score first.

        Raises:
          DistaxError: the images are not real numbers, are traced, or have another size than the
            sensor's; there are none; none of them can be used.
        """
        pixels = as_counts(images)
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
        found = self._in_portions(np.where(bad[:, None, None], 0, pixels), advance)
        if found.misfit is not None:
            warn_of_misfits(np.asarray(found.misfit)[~bad])
        return without_targets(found, bad)

    @property
    def portion_size(self) -> int:
        """Best number of images for one call of `unmix_portion`."""
        return self.estimator.portion_size

    def unmix_portion(self, images: Float[np.ndarray, "N height width"]) -> Targets:
        """Finds the targets `[N, K]` in a portion of many images.

        The images may be divided into portions in any way. On a CPU an image's answer is the same
        to the last bit in every portion. This method checks nothing and gives no warning: see
        `check` and `warn_of_misfits`.
        """
        return self.estimator(images, self.sensor, self.prior)

    def check(self, images: np.ndarray, name: str = "images") -> dict[int, str]:
        """Returns the reasons why images cannot be unmixed, by the images' indices.

        Args:
          images: raw images in counts.
          name: name of the images in the error message.

        Raises:
          DistaxError: the images have another size than the sensor's.
        """
        pixels = to_stack(images, self.sensor, name)
        return find_problems(pixels, self.sensor, missing_allowed=self.estimator.fits)

    def _in_portions(
        self, images: Float[np.ndarray, "N height width"], advance: Callable[[int], object] | None
    ) -> Targets:
        size, parts = self.portion_size, []
        for start in range(0, len(images), size):
            parts.append(self.unmix_portion(images[start : start + size]))
            if advance and len(images) > size:
                advance(min(start + size, len(images)))
        return jax.tree.map(lambda *leaves: np.concatenate(leaves), *parts)

    def __repr__(self) -> str:
        return f"Unmixer(method={self.method!r}, sensor={self.sensor}, prior={self.prior})"

    def _repr_html_(self) -> str:
        """Writes a table of the method, its settings, the sensor and the prior, for notebooks."""
        settings: dict[str, object] = {
            name: type(value).__name__ if isinstance(value, nnx.Module) else _text(value)
            for name, value in _fields_of(self.estimator).items()
        }
        if "threshold" in settings:
            settings["threshold"] = f"{self.threshold:g} counts"
        camera: dict[str, object] = {"sensor": _text(self.sensor)}
        known = camera | {"prior": _text(self.prior)} | settings
        return fact_table(
            {"method": self.method} | (known if self.estimator.fits else settings | camera)
        )


def _model_of(estimator: Estimator) -> Model | None:
    return getattr(estimator, "model", None)


def without_targets(found: Targets, bad: Bool[np.ndarray, " N"]) -> Targets:
    """Removes the targets of bad images and marks these images as not trusted."""
    if not bad.any():
        return found
    trusted = np.ones(len(bad), bool) if found.trusted is None else found.trusted
    return replace(found, mask=found.mask & ~bad[:, None], trusted=trusted & ~bad)


def _fields_of(value: Any) -> dict[str, Any]:
    """Returns the fields of a dataclass by name; of another object nothing."""
    if not is_dataclass(value):
        return {}
    return {field.name: getattr(value, field.name) for field in fields(value)}


def _text(value: Any) -> str:
    """Writes settings as one line: the fields of a dataclass, or the value itself."""
    parts = _fields_of(value)
    return ", ".join(f"{name} {part}" for name, part in parts.items()) if parts else str(value)
