"""Parameters that a training starts from: those of trained models, matched by name and shape."""

from collections.abc import Sequence

from flax import nnx
from jaxtyping import Array

from distax.models import Model
from distax.models.base import Constant
from distax.runtime.errors import DistaxError
from distax.runtime.pytree import named_leaves

_NESTED = "", "inner.", "inner.inner."
"""Names of a model inside another one: in a window, under a head, or under a head in a window."""


def matching_parameters(
    model: Model, sources: Sequence[tuple[str, Model]]
) -> tuple[dict[str, Array], dict[str, int]]:
    """Collects the parameters of trained models that have a place in another model.

    A parameter has a place if the model has one of the same name and shape, or if the grid model
    within the model has: the one that carries a head, or that sees a window. If several trained
    models have a parameter for one place, the last of them gives it. Matrices that a model is built
    around, such as Φ, stay its own.

    Args:
      model: the model to train, which may be abstract.
      sources: trained models, each with a name for error messages.

    Returns:
      The arrays by the names of their places, and how many came from each source.

    Raises:
      DistaxError: no parameter of a source has a place.
    """
    places = named_leaves(nnx.state(model, nnx.Not(Constant)))
    found: dict[str, Array] = {}
    owner: dict[str, str] = {}
    for source, trained in sources:
        fitting = {
            prefix + name: array
            for name, array in named_leaves(nnx.state(trained, nnx.Not(Constant))).items()
            for prefix in _NESTED
            if prefix + name in places and places[prefix + name].shape == array.shape
        }
        if not fitting:
            raise DistaxError(
                f"{source}: none of its parameters has a place in the model to train; start from "
                "weights of the same model, of its head or of the grid model that carries the head"
            )
        found |= fitting
        owner |= dict.fromkeys(fitting, source)
    return found, {source: list(owner.values()).count(source) for source, _ in sources}
