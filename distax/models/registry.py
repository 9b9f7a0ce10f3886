"""Registry of models and heads by name. `@register("name")` on a model class adds it."""

import importlib.util
import inspect
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

from flax import nnx

from distax.imaging.sensor import Sensor
from distax.models.base import GridModel, Model
from distax.models.layers.precision import set_precision
from distax.models.options import check_options, option_types, parameters
from distax.models.sequences.base import SequenceModel
from distax.models.unfolding.initialization import simulated_estimator
from distax.models.window import Windowed, host_margin, window_sensor
from distax.runtime.errors import DistaxError, check_not_negative, shown, unknown

Class = TypeVar("Class", bound=type[Model])

_MODELS: dict[str, Any] = {}
_HEADS: dict[str, Any] = {}

_SEQUENCE_MODEL_OPTIONS = {"label_blur": float}
"""Options of `create` for every model of sequences, and their types."""
_GRID_MODEL_OPTIONS = _SEQUENCE_MODEL_OPTIONS | {"window": int | None, "head": str | None}
"""Options of `create` for every grid model, and their types."""
_OF_HEAD = "head_"
"""Prefix of the arguments of a head's constructor among the options of `create`."""


def register(name: str) -> Callable[[Class], Class]:
    """Returns a class decorator that registers a model as `name`.

    The name is then known to `create` and the command line. A class that is defined again, for
    example by a notebook cell that runs twice, replaces its earlier definition.

    Args:
      name: name of the model in `create`, in configurations and on the command line.

    Raises:
      DistaxError: another class already has the name.
    """

    return _adder(_MODELS, "model", name)


def register_head(name: str) -> Callable[[Class], Class]:
    """Returns a class decorator that registers a head, which any grid model can carry, as `name`.

    A head is a `Model` whose constructor takes the grid model first. Grid models then know it as
    the option `head`, and its constructor's other arguments as options with the prefix `head_`.

    Args:
      name: name of the head as the option `head`.

    Raises:
      DistaxError: another class already has the name, or the class is no such head.
    """
    add = _adder(_HEADS, "head", name)

    def add_head(head: Any) -> Any:
        _check_head(name, head)
        return add(head)

    return add_head


def _adder(registered: dict[str, Any], kind: str, name: str) -> Callable[[Class], Class]:
    def add(model: Class) -> Class:
        if name in registered and _origin(registered[name]) != _origin(model):
            raise DistaxError(f"a {kind} named {name!r} is already registered; choose another name")
        registered[name] = model
        return model

    return add


def _origin(model: type[Model]) -> tuple[str, str]:
    """Returns the module and the qualified name of a class."""
    return model.__module__, model.__qualname__


def _check_head(name: str, head: object) -> None:
    """Raises DistaxError if a class cannot be made from a grid model and keys for parameters."""
    if not (isinstance(head, type) and issubclass(head, Model)):
        raise DistaxError(f"the head {name!r} must be a subclass of Model, got {shown(head)}")
    try:
        inspect.signature(head.__init__).bind(None, None, rngs=None)
    except TypeError as error:
        raise DistaxError(
            f"the head {name!r} must be made from a grid model, rngs, and options with defaults: "
            f"its __init__ {error}"
        ) from error


def names() -> list[str]:
    """Returns the names of the registered models."""
    return sorted(_MODELS)


def classical() -> list[str]:
    """Returns the names of the classical models, which have no parameters to train."""
    return sorted(name for name, model in _MODELS.items() if not model.trained)


def of_sequences() -> list[str]:
    """Returns the names of the models that take sequences of frames."""
    return sorted(name for name, model in _MODELS.items() if issubclass(model, SequenceModel))


def create(name: str, *, rngs: nnx.Rngs, precision: str = "float32", **options: Any) -> Model:
    """Creates a registered model with freshly initialised parameters.

    Args:
      name: name the model is registered under.
      rngs: keys for the initial parameters.
      precision: precision of a network's maps; see `models.layers.precision`.
      **options: arguments of the model's constructor, such as `factor`. Every grid model takes
        more. `window` restricts the model to a square around the blob; it is the square's side in
        pixels, odd (see `models.window.Windowed`). `label_blur` is the standard deviation in
        pixels of a target on the grids of the training objective (see `grid.rasterize`); models of
        sequences take it too. `head` is a registered head that the model carries: "offset" makes a
        `models.GuidedOffsets`. The head's arguments are options as well, with the prefix `head_`.

    Raises:
      DistaxError: the name, an option or the precision is unknown (the message lists the known
        ones), the model computes in float32 only, or it refuses a value.
    """
    if name not in _MODELS:
        raise unknown("model", name, _MODELS)
    created = _create(name, rngs, options)
    if not set_precision(created, precision) and precision != "float32":
        raise DistaxError(
            f"the model {name} computes in float32 only; leave out the precision {precision}"
        )
    return created


def _create(name: str, rngs: nnx.Rngs, options: dict[str, Any]) -> Model:
    """Creates a registered model in float32."""
    model = _MODELS[name]
    on_grid, of_sequences = issubclass(model, GridModel), issubclass(model, SequenceModel)
    if on_grid and (head := options.pop("head", None)) is not None:
        return _create_with_head(head, name, rngs, options)
    more = _GRID_MODEL_OPTIONS if on_grid else _SEQUENCE_MODEL_OPTIONS if of_sequences else {}
    known = option_types(model) | more
    if on_grid:
        _check_no_head(options, known)
    check_options(f"model {name!r}", options, known)
    if not (on_grid or of_sequences):
        return model(rngs=rngs, **options)
    side, label_blur = options.pop("window", None), options.pop("label_blur", 0.0)
    check_not_negative(label_blur=label_blur)
    created: GridModel | SequenceModel = (
        model(rngs=rngs, **options) if side is None else _create_windowed(name, side, rngs, options)
    )
    created.label_blur = label_blur
    return created


def _create_with_head(head: Any, name: str, rngs: nnx.Rngs, options: dict[str, Any]) -> Model:
    """Creates a registered grid model that carries a head."""
    if not isinstance(head, str) or head not in _HEADS:
        raise unknown("head", str(head), _HEADS)
    if "label_blur" in options:
        raise DistaxError(f"the head {head} learns positions off the grid; leave out label_blur")
    of_head, own = dict[str, Any](), dict[str, Any]()
    for option, value in options.items():
        taken = of_head if option.startswith(_OF_HEAD) else own
        taken[option.removeprefix(_OF_HEAD) if taken is of_head else option] = value
    check_options(f"head {head!r}", of_head, option_types(_HEADS[head]), _OF_HEAD)
    return _HEADS[head](_create(name, rngs, own), rngs=rngs, **of_head)


def _check_no_head(options: dict[str, Any], known: dict[str, Any]) -> None:
    """Raises DistaxError if an option is one of a head, which the model does not carry."""
    for option in options:
        if option.startswith(_OF_HEAD) and option not in known:
            raise DistaxError(
                f"option {option} is for a head, and the model has none; add the option head "
                f"({' or '.join(sorted(_HEADS))}), or leave out {option}"
            )


def _create_windowed(name: str, side: int, rngs: nnx.Rngs, options: dict[str, Any]) -> GridModel:
    """Creates a grid model that sees a window with a side of `side` pixels."""
    sensor, known = options.pop("sensor", Sensor()), constructor_parameters(name)
    if side > (widest := 2 * max(sensor.shape) + 1):
        raise DistaxError(
            f"window must be at most {widest} pixels for images of {sensor.height}×{sensor.width}, "
            f"got {side}"
        )
    seen = window_sensor(sensor, side)
    if "q_init" in known and options.get("q_init") is None:
        factor = options.get("factor", known["factor"].default)
        options["q_init"] = simulated_estimator(seen, factor, host_margin(side))
    inner = _MODELS[name](sensor=seen, rngs=rngs, **options)
    assert isinstance(inner, GridModel)
    return Windowed(inner, sensor)


def constructor_parameters(name: str) -> dict[str, inspect.Parameter]:
    """Returns the parameters of a registered model's constructor by name, except `rngs`."""
    return parameters(_MODELS[name])


def import_module_file(path: str) -> None:
    """Imports a Python file once, so that the models in it are registered.

    Args:
      path: path of the file, absolute or relative to the working directory.

    Raises:
      DistaxError: the file does not exist, its name does not end in .py, or its import fails.
    """
    file = Path(path).resolve()
    name = f"distax models in {file}"
    if name in sys.modules:
        return
    if not file.is_file():
        elsewhere = "" if Path(path).is_absolute() else ", or start distax in the folder it is in"
        raise DistaxError(
            f"{path}: no such file; put the Python file that registers the model there{elsewhere}"
        )
    if file.suffix != ".py":
        raise DistaxError(f"{path}: its name must end in .py; rename it")
    spec = importlib.util.spec_from_file_location(name, file)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    try:
        spec.loader.exec_module(module)
    # The file is the user's: any exception in it is reported in one line.
    except Exception as error:
        del sys.modules[name]
        raise DistaxError(
            f"{path}: cannot be imported ({type(error).__name__}: {error})"
        ) from error
