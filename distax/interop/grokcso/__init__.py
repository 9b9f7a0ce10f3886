"""Weights of GrokCSO, the toolkit DISTA-Net was published with, as distax models."""

import re
from collections.abc import Callable, Mapping
from operator import attrgetter

import jax.numpy as jnp
import numpy as np
from flax import nnx
from jaxtyping import Array, Float
from numpy.typing import ArrayLike

from distax.errors import DistaxError, unknown
from distax.models import Dista, GridModel


def load(
    name: str,
    weights: Mapping[str, ArrayLike],
    *,
    factor: int,
    phi: Float[Array, "pixels nodes"] | Float[np.ndarray, "pixels nodes"],
    q_init: Float[Array, "nodes pixels"] | Float[np.ndarray, "nodes pixels"],
    alpha: float = 0.7,
) -> GridModel:
    """A model with the original's weights; its size is read off the arrays.

    Args:
      name: the model, as registered in distax.
      weights: original array name → array; convolutions are (out, in, row, column).
      factor: grid nodes per pixel along each axis.
      phi: sampling matrix `[pixels, nodes]`.
      q_init: initial estimator `[nodes, pixels]`.
      alpha: weight of the static transform.

    Raises:
      DistaxError: an unknown model, or an array that is missing, left over or of another shape.
    """
    if name not in _LOADERS:
        raise unknown("GrokCSO model", name, _LOADERS)
    arrays = {key: np.asarray(value) for key, value in weights.items()}
    return _LOADERS[name](arrays, factor=factor, phi=phi, q_init=q_init, alpha=alpha)


def _kernel(array: np.ndarray) -> np.ndarray:
    """(out, in, row, column) → (row, column, in, out)."""
    return array.transpose(2, 3, 1, 0)


def _pointwise(array: np.ndarray) -> np.ndarray:
    """(out, in, 1, 1) → (in, out)."""
    return _kernel(array)[0, 0] if array.shape[2:] == (1, 1) else array


# Original name within a stage → path of the parameter in `Stage`, and how the array is laid out.
_DISTA: dict[str, tuple[str, Callable[[np.ndarray], np.ndarray]]] = {
    "lambda_step": ("step_size", lambda a: a.reshape(())),
    "conv1_forward": ("static_transform.first", _kernel),
    "conv2_forward": ("static_transform.second", _kernel),
    "conv1_backward": ("inverse.first", _kernel),
    "conv2_backward": ("inverse.second", _kernel),
    "w1.weight": ("dynamic_transform.compress.kernel", np.transpose),
    "w1.bias": ("dynamic_transform.compress.bias", np.asarray),
    "w2.weight": ("dynamic_transform.expand.kernel", np.transpose),
    "w2.bias": ("dynamic_transform.expand.bias", np.asarray),
    "att.convl.weight": ("threshold.wide_view.depthwise", lambda a: _kernel(a).reshape(3, 3, -1)),
    "att.convl.bias": ("threshold.wide_view.depthwise_bias", np.asarray),
    "att.conv0_s.weight": ("threshold.point_view.kernel", _pointwise),
    "att.conv0_s.bias": ("threshold.point_view.bias", np.asarray),
    "att.conv1_s.weight": ("threshold.wide_view.pointwise.kernel", _pointwise),
    "att.conv1_s.bias": ("threshold.wide_view.pointwise.bias", np.asarray),
    "att.conv_squeeze.weight": ("threshold.squeeze", _kernel),
    "att.conv_squeeze.bias": ("threshold.squeeze_bias", np.asarray),
    "att.conv_m.weight": ("threshold.merge.kernel", _pointwise),
    "att.conv_m.bias": ("threshold.merge.bias", np.asarray),
}


def _load_dista(arrays: dict[str, np.ndarray], *, factor, phi, q_init, alpha) -> Dista:
    stages = {int(match[1]) for key in arrays if (match := re.match(r"(\d+)\.", key))}
    expected = {f"{stage}.{key}" for stage in range(max(stages, default=0) + 1) for key in _DISTA}
    if difference := expected ^ arrays.keys():
        name = min(difference)
        problem = "is missing" if name in expected else "is not part of DISTA-Net"
        raise DistaxError(f"array {name!r} {problem}; pass all arrays of one original checkpoint")
    model = Dista(
        factor=factor,
        stages=len(stages),
        channels=len(arrays["0.conv1_forward"]),
        hidden=len(arrays["0.w1.bias"]),
        alpha=alpha,
        phi=jnp.asarray(phi, jnp.float32),
        q_init=jnp.asarray(q_init, jnp.float32),
        rngs=nnx.Rngs(0),
    )
    for index, stage in enumerate(model.stages):
        for key, (path, convert) in _DISTA.items():
            _assign(attrgetter(path)(stage), convert, arrays[f"{index}.{key}"], f"{index}.{key}")
    return model


def _assign(
    parameter: nnx.Param, convert: Callable[[np.ndarray], np.ndarray], array: np.ndarray, name: str
) -> None:
    try:
        value = convert(array)
    except (ValueError, IndexError):  # another number of axes than the conversion is for
        value = array
    if parameter.shape != value.shape:
        raise DistaxError(
            f"array {name!r} of shape {array.shape} does not fit the model's {parameter.shape}: "
            "the weights are of another architecture or factor"
        )
    parameter[...] = jnp.asarray(value, parameter.dtype)


_LOADERS = {"dista": _load_dista}
