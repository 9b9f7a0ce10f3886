"""Models as a configuration describes them."""

from collections.abc import Collection, Mapping, Sequence
from types import MappingProxyType

from flax import nnx
from jaxtyping import Array

from distax import models
from distax.models import Model
from distax.models.keys import LARGEST, Limit, parameter_rngs
from distax.models.registry import import_module_file
from distax.runtime.pytree import named_leaves, with_leaves
from distax.training.config import TrainConfig
from distax.training.foreign import check_sizes


def create_model(
    config: TrainConfig,
    start: Mapping[str, Array] = MappingProxyType({}),
    limit: Limit = LARGEST,
) -> Model:
    """Creates the configured model with initial parameters.

    Args:
      config: the configuration.
      start: arrays of the model by name, in place of its initial ones.
      limit: as of `models.keys.parameter_rngs`.

    Raises:
      DistaxError: as `models.create`, or the configured module cannot be imported.
    """
    if config.model.module is not None:
        import_module_file(config.model.module)
    grid = {} if config.model.factor is None else {"factor": config.model.factor}
    model = models.create(
        config.model.name,
        sensor=config.sensor,
        rngs=parameter_rngs(config.seed, limit),
        precision=config.precision,
        **grid,
        **config.model.options,
    )
    if start:
        initial = nnx.state(model)
        nnx.update(model, with_leaves(initial, named_leaves(initial) | dict(start)))
    return model


def abstract_model(config: TrainConfig) -> Model:
    """Creates the configured model with shapes in place of arrays, without computing any.

    Raises:
      DistaxError: as `create_model`.
    """
    return nnx.eval_shape(lambda: create_model(config))


def stored_model(config: TrainConfig, shapes: Collection[Sequence[int]], source: str) -> Model:
    """Creates a stored model with shapes in place of arrays, if it is no larger than its arrays.

    Args:
      config: the stored configuration.
      shapes: shapes of the stored arrays.
      source: the file, for error messages.

    Raises:
      DistaxError: as `create_model`, or as `foreign.check_sizes`.
    """
    check_sizes(config, shapes, source)
    # Not every key becomes an array: each layer of a network may draw some that it does not need.
    refusal = "the model has more parameters than are stored; the file is damaged"
    limit = Limit(4 * len(shapes) + 100, refusal)
    return nnx.eval_shape(lambda: create_model(config, limit=limit))
