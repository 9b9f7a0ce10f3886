"""Methods by name: from the options of an unmixer to the estimator that they describe."""

from dataclasses import dataclass

from distax.fitting.cameras import outside_of_range
from distax.fitting.estimators import Estimator, Fast, FastFit, Grid, Posterior, Refine
from distax.fitting.sampler import Effort
from distax.imaging.checks import check_known, check_single
from distax.imaging.grid import THRESHOLD
from distax.imaging.scenes import ScenePrior
from distax.imaging.sensor import Sensor
from distax.models import GridModel, Model, SequenceModel
from distax.runtime.errors import DistaxError, unknown
from distax.runtime.fields import check_fields

METHODS = ("grid", "refine", "posterior", "fast")
"""Names of the methods; each is an estimator of `distax.fitting.estimators`."""
_USED_BY = {
    "model": ("fast", "grid"),
    "prior": ("fast", "posterior", "refine"),
    "threshold": ("grid",),
    "effort": ("posterior",),
    "seed": ("posterior",),
}
"""Methods that use each option of `Unmixer`. All use the sensor."""


def suitable_method(model: Model | None, sensor: Sensor | None, prior: ScenePrior | None) -> str:
    """Returns the method that a model is for; without a model, the best for a sensor and prior."""
    if model is not None:
        return "grid" if isinstance(model, GridModel) else "fast"
    problem = outside_of_range(sensor or Sensor(), prior or ScenePrior())
    return "posterior" if problem else "fast"


@dataclass(frozen=True)
class MethodOptions:
    """The options that an unmixer is given; None for those that are left out."""

    method: str | Estimator | None
    model: Model | None
    sensor: Sensor | None
    prior: ScenePrior | None
    threshold: float | None
    effort: Effort | None
    seed: int | None

    def __post_init__(self) -> None:
        check_fields(self)
        check_single(self.sensor, self.prior)
        check_known(self.sensor, self.prior)
        if isinstance(self.model, SequenceModel):
            raise DistaxError(
                f"{type(self.model).__name__} takes sequences, not single images: run it by "
                "`distax track` or tracking.SequenceUnmixer, and score it by `distax evaluate "
                "--protocol seqcsist`"
            )

    def check_used(self, method: str | Estimator) -> None:
        """Raises DistaxError for an option that the method does not use."""
        for option, users in _USED_BY.items():
            if getattr(self, option) is None:
                continue
            if isinstance(method, str) and method in METHODS and method not in users:
                raise DistaxError(
                    f"{option} has no effect on the method {method}: leave it out, or choose "
                    f"{' or '.join(users)}"
                )
            if option == "prior" and self.model is not None:
                raise DistaxError("the model has the prior of its training: leave out prior")
            if not isinstance(method, str) and not (option == "prior" and method.fits):
                raise DistaxError(
                    f"{option} has no effect on the estimator {method.name}, which has its own: "
                    "leave it out"
                )

    def estimator(self, method: str) -> Estimator:
        """Makes the estimator of a method's name."""
        if method not in METHODS:
            raise unknown("method", method, METHODS)
        if method == "refine":
            return Refine()
        if method == "posterior":
            return Posterior(self.effort or Effort(), self.seed or 0)
        model = self.model
        if model is None and method == "fast":
            return fast_for(self.sensor or Sensor(), self.prior or ScenePrior())
        if model is None:
            raise DistaxError(
                "the method grid needs a grid model: give one by model=, or load one by "
                "Unmixer.load, from a training run's folder or by a name such as 'dista'"
            )
        if method == "grid" and isinstance(model, GridModel):
            return Grid(model, THRESHOLD if self.threshold is None else self.threshold)
        if method == "fast" and not isinstance(model, GridModel):
            return Fast(model)
        raise DistaxError(
            f"the method {method} does not suit a model of type {type(model).__name__}; load a "
            "trained one, or leave the method out"
        )


def fast_for(sensor: Sensor, prior: ScenePrior) -> Fast | FastFit:
    """Returns the fast estimator for a sensor and a prior.

    CSIST-100K's have a network of their own, which is faster.

    Raises:
      DistaxError: they lie outside of the range of the network for all others.
    """
    from distax import weights

    if sensor == Sensor() and prior == ScenePrior():
        return Fast(weights.load("density")[0])
    if problem := outside_of_range(sensor, prior):
        raise DistaxError(f"{problem}; choose the method refine or posterior")
    return FastFit()
