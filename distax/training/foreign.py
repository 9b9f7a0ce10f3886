"""Configurations in files that somebody else may have written."""

import math
from collections.abc import Iterable, Sequence
from dataclasses import replace
from typing import Any

from distax.models import registry
from distax.models.registry import constructor_parameters
from distax.runtime.errors import DistaxError
from distax.training.config import TrainConfig, from_dict

_SMALL = 10_000
"""Whole numbers up to here are always accepted among a stored model's options: some, such as
iterations, are no sizes of arrays."""


def read_foreign(values: dict[str, Any], source: str) -> TrainConfig:
    """Reads a configuration, and leaves out the Python file that it names.

    That file would run on import. So its model must be registered beforehand, by a user who trusts
    the file.

    Args:
      values: the configuration as `TrainConfig.to_dict` makes it.
      source: the file, for error messages.

    Raises:
      DistaxError: the values are no configuration, or the model is not registered.
    """
    config = from_dict(values, source)
    check_registered(config, source)
    return replace(config, model=replace(config.model, module=None))


def check_registered(config: TrainConfig, source: str) -> None:
    """Raises DistaxError if the model of a file's configuration is not registered."""
    model = config.model
    if model.name in registry.names():
        return
    file = model.module or "FILE"
    named = f", which it says is defined in {model.module}" if model.module else ""
    raise DistaxError(
        f"{source}: it holds a model {model.name!r}{named}; a model of your own must be "
        f"registered first: give --model.module {file}, and that file is run (in Python: "
        "distax.models.import_module_file)"
    )


def check_sizes(config: TrainConfig, shapes: Iterable[Sequence[int]], source: str) -> None:
    """Checks that a stored model is no larger than its stored arrays, before it is built.

    A configuration of a few bytes could otherwise ask for any memory or time.

    Args:
      config: the stored configuration.
      shapes: shapes of the stored arrays.
      source: the file, for error messages.

    Raises:
      DistaxError: the configuration asks for more than the arrays hold.
    """
    shapes = list(shapes)
    held = sum(map(math.prod, shapes))
    largest = max(_SMALL, len(shapes), *(max(shape, default=0) for shape in shapes))
    model, pixels = config.model, math.prod(config.sensor.shape)
    for option, value in (model.options | {"factor": model.factor or 1}).items():
        for number in value if isinstance(value, tuple) else (value,):
            if isinstance(number, int) and number > largest:
                raise DistaxError(
                    f"{source}: option {option} of the model is {number:,}, but its arrays are "
                    f"smaller ({held:,} numbers in all); the file is damaged"
                )
    parameters = constructor_parameters(model.name)
    side = model.options.get("window")
    seen = side**2 if isinstance(side, int) else pixels
    factor = model.factor or (parameters["factor"].default if "factor" in parameters else 1)
    if "q_init" in parameters and (seen * factor) ** 2 > held:
        raise DistaxError(
            f"{source}: images of {seen:,} pixels need matrices of {(seen * factor) ** 2:,} "
            f"numbers, and the file holds {held:,}; it is damaged"
        )
