"""Configurations in files that somebody else may have written."""

from dataclasses import replace
from typing import Any

from distax.models import registry
from distax.runtime.errors import DistaxError
from distax.training.config import TrainConfig, from_dict


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
