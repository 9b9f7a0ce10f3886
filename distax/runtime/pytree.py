"""Frozen dataclasses as JAX pytrees, and pytrees as dictionaries of named arrays."""

import hashlib
from collections.abc import Callable, Iterator
from typing import Any, TypeVar, dataclass_transform

import chex
import jax
import numpy as np

from distax.runtime.fields import check_fields

Class = TypeVar("Class", bound=type)
Tree = TypeVar("Tree")


@dataclass_transform(frozen_default=True, kw_only_default=True)
def pytree(cls: Class) -> Class:
    """Decorates a class as a frozen, keyword-only dataclass that is a JAX pytree of its fields."""
    return chex.dataclass(frozen=True, mappable_dataclass=False)(cls)


def traced_numbers(*static: str) -> Callable[[Class], Class]:
    """Makes a decorator that registers a frozen dataclass as a pytree whose numbers JAX traces.

    A function that `jit` compiles serves all values of the numbers, and `vmap` and `grad` work over
    them. Static fields, and fields that are None, are part of the structure: for other values of
    these, `jit` compiles another program. Values that a user gives are checked and converted; see
    `fields.check_fields`. Instances that JAX makes are not checked, because JAX does not call
    `__post_init__`.

    Args:
      static: names of the static fields: sizes, for example, which set the shapes of arrays. A
        cached property can be static as well. Its value then stays with the instances that JAX
        makes.
    """

    def register(cls: Any) -> Any:
        fields = cls.__dataclass_fields__
        numbers = tuple(name for name in fields if name not in static)
        for name in numbers:
            # Type checks accept arrays and NumPy numbers. The field's own annotation stays, as it
            # states the values that a configuration file may hold.
            hint = cls.__init__.__annotations__[name]
            number = int | np.number | jax.Array | np.ndarray
            of_axes = tuple[number, ...] if "tuple" in str(hint) else number
            cls.__init__.__annotations__[name] = hint | number | of_axes
        check_values = cls.__post_init__

        def check(value: Any) -> None:
            check_fields(value, arrays=numbers)
            check_values(value)

        cls.__post_init__ = check

        def flatten_with_keys(value: Any) -> tuple[list[Any], tuple[Any, ...]]:
            leaves = [_number(getattr(value, name)) for name in numbers]
            keys = map(jax.tree_util.GetAttrKey, numbers)
            return list(zip(keys, leaves, strict=True)), tuple(getattr(value, n) for n in static)

        def unflatten(sizes: tuple[Any, ...], leaves: Any) -> Any:
            value: Any = object.__new__(cls)
            for name, leaf in zip((*numbers, *static), (*leaves, *sizes), strict=True):
                object.__setattr__(value, name, leaf)
            return value

        jax.tree_util.register_pytree_with_keys(cls, flatten_with_keys, unflatten)
        return cls

    return register


def _number(value: Any) -> Any:
    """Converts a number for tracing: a table to one array, an integer to a float.

    An integer would compile another program than a float, and has no gradient.
    """
    if isinstance(value, tuple):
        is_table = any(isinstance(row, tuple) for row in value)
        return np.asarray(value, np.float32) if is_table else tuple(map(_number, value))
    return float(value) if isinstance(value, int) and not isinstance(value, bool) else value


def known_numbers(**fields: Any) -> Iterator[tuple[str, Any]]:
    """Yields the name and value of every number that has a value, for checks.

    A traced number has no value yet and is left out. An array yields each of its entries, a tuple
    each of its parts, and None nothing.
    """
    for name, field in fields.items():
        if isinstance(field, tuple):
            for part in field:
                yield from known_numbers(**{name: part})
        elif isinstance(field, jax.Array | np.ndarray):
            if not isinstance(field, jax.core.Tracer):
                yield from ((name, entry) for entry in np.ravel(field).tolist())
        elif field is not None:
            yield name, field


def named_leaves(tree: Any) -> dict[str, Any]:
    """Lists a tree's leaves by name: the parts of a leaf's path, joined by dots."""
    leaves = jax.tree_util.tree_leaves_with_path(tree)
    return {jax.tree_util.keystr(path, simple=True, separator="."): leaf for path, leaf in leaves}


def with_leaves(tree: Tree, named: dict[str, Any]) -> Tree:
    """Replaces a tree's leaves by those of the same name."""
    return jax.tree.unflatten(
        jax.tree.structure(tree), [named[name] for name in named_leaves(tree)]
    )


def fingerprint(tree: Any) -> str:
    """Computes a SHA-256 hash of the names and values of a tree's arrays."""
    digest = hashlib.sha256()
    for name, leaf in named_leaves(tree).items():
        digest.update(name.encode())
        digest.update(np.asarray(leaf).tobytes())
    return digest.hexdigest()
