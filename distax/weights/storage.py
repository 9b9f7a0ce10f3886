"""A trained model as one safetensors file: its arrays by name, its configuration as metadata.

Arrays are stored in half precision, which halves the file and changes a logit by a thousandth.
"""

import json
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx

from distax.config import from_dict
from distax.errors import DistaxError
from distax.files import whole_file
from distax.models import Model
from distax.pytree import named_leaves, with_leaves
from distax.sensor import Sensor
from distax.training.checkpoints import load_model
from distax.training.state import abstract_model


def export(run: Path, path: Path) -> None:
    """Write the best model of a training run to a safetensors file.

    Raises:
      DistaxError: as `training.checkpoints.load_model`, or the file cannot be written.
    """
    from safetensors.numpy import save

    model, config = load_model(run)
    arrays = {
        name: np.asarray(leaf, np.float16) for name, leaf in named_leaves(nnx.state(model)).items()
    }
    content = save(arrays, metadata={"config": json.dumps(config.to_dict())})
    with whole_file(path) as unfinished:
        unfinished.write_bytes(content)


def read(path: Path) -> tuple[Model, Sensor]:
    """The model in a file that `export` wrote, and the sensor it was trained for.

    Raises:
      DistaxError: there is no such file, it is damaged, or its arrays are not those of the model
        its configuration names.
    """
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(path, framework="numpy") as file:
            metadata = file.metadata() or {}
            arrays = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
        config = from_dict(json.loads(metadata["config"]), str(path))
    except OSError as error:
        raise DistaxError(f"{path}: cannot be read ({error.strerror or error})") from error
    except (SafetensorError, KeyError, json.JSONDecodeError) as error:
        raise DistaxError(f"{path}: not a whole file of distax weights ({error})") from error
    model = abstract_model(config)
    state = nnx.state(model)
    wanted = {name: leaf.shape for name, leaf in named_leaves(state).items()}
    if wanted != {name: array.shape for name, array in arrays.items()}:
        raise DistaxError(f"{path}: its arrays are not those of a {config.model.name} model")
    restored = with_leaves(state, jax.tree.map(lambda array: jnp.asarray(array, float), arrays))
    return nnx.merge(nnx.graphdef(model), restored), config.sensor
