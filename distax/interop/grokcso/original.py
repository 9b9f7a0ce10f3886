"""Conversion of array names and layouts from the original toolkit to distax."""

import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

import jax.numpy as jnp
import numpy as np
from flax import nnx

from distax.models import Model
from distax.models.base import Constant
from distax.runtime.errors import DistaxError
from distax.runtime.pytree import named_leaves, with_leaves

Arrays = Mapping[str, np.ndarray]
Layout = Callable[[np.ndarray], np.ndarray]

# Ending of a parameter's path in Flax, for the array in the parameter.
_SUFFIX = ".value"

# Pairs for `Original.names` that many originals share.
HEAD = (r"^head\.0\.", "head.")
TAIL = ((r"^tail\.0\.0\.", "tail.upscale.conv."), (r"^tail\.1\.", "tail.last."))
GATE = ((r"conv_du\.0\.", "squeeze."), (r"conv_du\.2\.", "excite."))
KERNEL = (r"weight$", "kernel")


@dataclass(frozen=True)
class Original:
    """Conversion of one model of the original toolkit.

    Attributes:
      options: function that reads constructor options of the distax model from the arrays.
      names: pairs of a regular expression and its replacement. Applied in order to an original
        name, they give the name of the parameter in distax.
      unused: regular expressions of arrays that the original stores and does not use.
      layouts: conversion functions by a regular expression of the name in distax. Default:
        `standard_layout`.
    """

    options: Callable[[Arrays], dict[str, object]]
    names: tuple[tuple[str, str], ...]
    unused: tuple[str, ...] = ()
    layouts: Mapping[str, Layout] = field(default_factory=dict)

    def rename(self, name: str) -> str:
        """Returns the distax name of an original name."""
        for pattern, replacement in self.names:
            name = re.sub(pattern, replacement, name)
        return name

    def select_used(self, arrays: Arrays) -> Arrays:
        """Selects the arrays that the original uses."""
        return {
            name: array
            for name, array in arrays.items()
            if not any(re.fullmatch(pattern, name) for pattern in self.unused)
        }

    def find_missing(self, model: Model, arrays: Arrays) -> list[str]:
        """Returns the parameters of a model, which may be abstract, that have no array."""
        return sorted(
            _parameters(model).keys() - {self.rename(name) for name in self.select_used(arrays)}
        )

    def fill(self, model: Model, arrays: Arrays) -> None:
        """Replaces a model's parameters by the original's arrays.

        Raises:
          DistaxError: an array is missing, left over or has the wrong shape.
        """
        wanted = _parameters(model)
        sources = {self.rename(name): name for name in self.select_used(arrays)}
        if foreign := sorted(sources.keys() - wanted.keys()):
            raise DistaxError(
                f"{_list_arrays(sources[path] for path in foreign)} not part of a "
                f"{type(model).__name__} of this size; pass the arrays of one original checkpoint"
            )
        if absent := self.find_missing(model, arrays):
            raise DistaxError(
                f"{_list_arrays(absent)} missing; pass all arrays of one original checkpoint"
            )
        found = {path: self._convert(path, arrays[name]) for path, name in sources.items()}
        for path, leaf in sorted(wanted.items()):
            if found[path].shape != leaf.shape:
                raise DistaxError(
                    f"array {sources[path]!r} of shape {np.shape(arrays[sources[path]])} does not "
                    f"fit the model's {leaf.shape}: the weights are of another architecture or "
                    "factor"
                )
        state = nnx.state(model, nnx.Not(Constant))
        leaves = {path + _SUFFIX: jnp.asarray(array, float) for path, array in found.items()}
        nnx.update(model, with_leaves(state, leaves))

    def _convert(self, path: str, array: np.ndarray) -> np.ndarray:
        for pattern, layout in self.layouts.items():
            if re.search(pattern, path):
                try:
                    return layout(array)
                except (ValueError, IndexError):  # wrong number of axes; `fill` reports the shape
                    return array
        return standard_layout(array)


def _parameters(model: Model) -> dict[str, Any]:
    """Returns the arrays of a model that the original has too, by path."""
    leaves = named_leaves(nnx.state(model, nnx.Not(Constant)))
    return {path.removesuffix(_SUFFIX): leaf for path, leaf in leaves.items()}


def _list_arrays(names: Iterable[str]) -> str:
    """Formats the first of some arrays and the number of the others."""
    first, *others = names
    return f"array {first!r} and {len(others)} more are" if others else f"array {first!r} is"


def standard_layout(array: np.ndarray) -> np.ndarray:
    """Converts (out, in, row, column) to (row, column, in, out), and (out, in) to (in, out)."""
    if array.ndim == 4:
        return array.transpose(2, 3, 1, 0)
    return array.T if array.ndim == 2 else array


def to_scalar(array: np.ndarray) -> np.ndarray:
    """Converts an array of one number to a scalar."""
    return array.reshape(())


def to_vector(array: np.ndarray) -> np.ndarray:
    """Converts (n, 1) to (n,)."""
    return array[:, 0]


def unchanged(array: np.ndarray) -> np.ndarray:
    """Returns a matrix that has the same layout in distax."""
    return array


def to_pointwise(array: np.ndarray) -> np.ndarray:
    """Converts a 1×1 kernel (out, in, 1, 1) to (in, out)."""
    return standard_layout(array)[0, 0] if array.shape[2:] == (1, 1) else array


def to_depthwise(array: np.ndarray) -> np.ndarray:
    """Converts a depthwise kernel (channels, 1, row, column) to (row, column, channels)."""
    return standard_layout(array).reshape(*array.shape[2:], -1)


def to_transposed(array: np.ndarray) -> np.ndarray:
    """Converts a transposed convolution's (in, out, row, column) to (row, column, in, out)."""
    return array.transpose(2, 3, 0, 1)


def count_numbers(arrays: Arrays, pattern: str) -> int:
    """Counts the different values of a regular expression's one group in the names."""
    return len({match[1] for name in arrays if (match := re.match(pattern, name))})


def axis_length(arrays: Arrays, name: str, axis: int) -> int:
    """Returns the length of an array along an axis.

    Raises:
      DistaxError: the array is missing or lacks the axis.
    """
    if name not in arrays:
        raise DistaxError(
            f"the array {name!r} is missing; pass all arrays of one original checkpoint"
        )
    if np.ndim(arrays[name]) <= axis:
        raise DistaxError(
            f"array {name!r} of shape {np.shape(arrays[name])} is of another architecture"
        )
    return int(np.shape(arrays[name])[axis])
