"""Models by name: adding one is a class and a decorator."""

import inspect
from collections.abc import Callable
from typing import TypeVar

from flax import nnx

from distax.errors import DistaxError, unknown
from distax.models.base import Model

Class = TypeVar("Class", bound=type[Model])

_MODELS: dict[str, Callable[..., Model]] = {}


def register(name: str) -> Callable[[Class], Class]:
    """Class decorator that makes a model available to `create` and the command line as `name`.

    Raises:
      DistaxError: another class already has the name.
    """

    def add(model: Class) -> Class:
        if name in _MODELS:
            raise DistaxError(f"a model named {name!r} is already registered; choose another name")
        _MODELS[name] = model
        return model

    return add


def names() -> list[str]:
    """Names of the registered models."""
    return sorted(_MODELS)


def create(name: str, *, rngs: nnx.Rngs, **options: object) -> Model:
    """A registered model with freshly initialised parameters.

    Args:
      name: the name it was registered under.
      rngs: keys for the initial parameters.
      **options: arguments of the model's constructor, such as `factor`.

    Raises:
      DistaxError: an unknown name or option (the message lists the known ones), or an option
        value that the model refuses.
    """
    if name not in _MODELS:
        raise unknown("model", name, _MODELS)
    known = inspect.signature(_MODELS[name].__init__).parameters.keys() - {"self", "rngs"}
    for option in options:
        if option not in known:
            raise unknown(f"option of model {name!r}", option, known)
    return _MODELS[name](rngs=rngs, **options)
