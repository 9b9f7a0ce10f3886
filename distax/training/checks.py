"""What must hold of a model and its configuration before a run starts."""

import jax
import jax.numpy as jnp
from flax import nnx

from distax.models import GridModel, Model
from distax.runtime.errors import DistaxError
from distax.runtime.pytree import named_leaves
from distax.training.config import TrainConfig


def check_trainable(model: Model, config: TrainConfig) -> None:
    """Find out that a run would come to nothing before it takes any time.

    Args:
      model: the configured model, which may be abstract.
      config: the run.

    Raises:
      DistaxError: the model has nothing to train, or keeps random keys; its scenes are beyond it,
        or too dim for the threshold.
    """
    name = config.model.name
    if not jax.tree.leaves(nnx.state(model, nnx.Param)):
        raise DistaxError(
            f"the model {name} has nothing to train; use it as it is, for instance by "
            f"--checkpoint {name}"
        )
    for where, leaf in named_leaves(nnx.state(model)).items():
        if jnp.issubdtype(leaf.dtype, jax.dtypes.prng_key):
            raise DistaxError(
                f"the model {name} keeps a random key ({where}), but its answers must be functions "
                "of the images alone: use rngs in the constructor only, and no dropout"
            )
    model.check_prior(config.prior)
    if isinstance(model, GridModel) and config.threshold >= config.prior.max_intensity:
        raise DistaxError(
            f"no target reaches the threshold of {config.threshold:g} counts, as the prior's "
            f"brightest has {config.prior.max_intensity:g}; lower the threshold"
        )
