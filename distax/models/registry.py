"""Models by name: adding one is a class and a decorator."""

import inspect
from collections.abc import Callable
from typing import Any, TypeVar

from flax import nnx

from distax.imaging.sensor import Sensor
from distax.models.base import GridModel, Model
from distax.models.unfolding.initialization import simulated_estimator
from distax.models.window import Windowed, margin, seen_through
from distax.runtime.errors import DistaxError, check_not_negative, unknown

Class = TypeVar("Class", bound=type[Model])

_MODELS: dict[str, Any] = {}

_OF_GRID_MODELS = ("label_blur", "window")
"""What `create` takes for every grid model."""


def register(name: str) -> Callable[[Class], Class]:
    """Class decorator that makes a model available to `create` and the command line as `name`.

    A class that is defined again, as by running a notebook's cell again, takes its own place.

    Raises:
      DistaxError: another class already has the name.
    """

    def add(model: Class) -> Class:
        if name in _MODELS and _origin(_MODELS[name]) != _origin(model):
            raise DistaxError(f"a model named {name!r} is already registered; choose another name")
        _MODELS[name] = model
        return model

    return add


def _origin(model: type[Model]) -> tuple[str, str]:
    """Where a class is defined, and as what."""
    return model.__module__, model.__qualname__


def names() -> list[str]:
    """Names of the registered models."""
    return sorted(_MODELS)


def solvers() -> list[str]:
    """Names of the registered models without anything to train."""
    return sorted(name for name, model in _MODELS.items() if not model.trained)


def create(name: str, *, rngs: nnx.Rngs, **options: Any) -> Model:
    """A registered model with freshly initialised parameters.

    Args:
      name: the name it was registered under.
      rngs: keys for the initial parameters.
      **options: arguments of the model's constructor, such as `factor`. Every grid model also
        takes `window`, an odd number of pixels: it then sees as many around the blob along each
        axis (see `models.window.Windowed`); and `label_blur`, how far in pixels a target is
        spread on the grids it is trained by (see `grid.rasterize`).

    Raises:
      DistaxError: an unknown name or option (the message lists the known ones), or an option
        value that the model refuses.
    """
    if name not in _MODELS:
        raise unknown("model", name, _MODELS)
    model = _MODELS[name]
    on_grid = issubclass(model, GridModel)
    known = [*arguments(name), *(_OF_GRID_MODELS if on_grid else ())]
    for option in options:
        if option not in known:
            raise unknown(f"option of model {name!r}", option, known)
    if not on_grid:
        return model(rngs=rngs, **options)
    side, label_blur = options.pop("window", None), options.pop("label_blur", 0.0)
    check_not_negative(label_blur=label_blur)
    made = model(rngs=rngs, **options) if side is None else _windowed(name, side, rngs, options)
    made.label_blur = label_blur
    return made


def _windowed(name: str, side: int, rngs: nnx.Rngs, options: dict[str, Any]) -> GridModel:
    """A grid model in a window of so many pixels."""
    sensor, known = options.pop("sensor", Sensor()), arguments(name)
    seen = seen_through(sensor, side)
    if "q_init" in known and options.get("q_init") is None:
        factor = options.get("factor", known["factor"].default)
        options["q_init"] = simulated_estimator(seen, factor, margin(side))
    inner = _MODELS[name](sensor=seen, rngs=rngs, **options)
    assert isinstance(inner, GridModel)
    return Windowed(inner, sensor)


def arguments(name: str) -> dict[str, inspect.Parameter]:
    """What a registered model's constructor takes beside keys."""
    taken = inspect.signature(_MODELS[name].__init__).parameters
    return {key: taken[key] for key in taken if key not in ("self", "rngs")}
