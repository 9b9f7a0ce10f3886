"""Frozen dataclasses as JAX pytrees, and pytrees as dictionaries of named arrays."""

from typing import Any, TypeVar, dataclass_transform

import chex
import jax

Class = TypeVar("Class", bound=type)
Tree = TypeVar("Tree")


@dataclass_transform(frozen_default=True, kw_only_default=True)
def pytree(cls: Class) -> Class:
    """Decorates a class as a frozen, keyword-only dataclass that is a JAX pytree of its fields."""
    return chex.dataclass(frozen=True, mappable_dataclass=False)(cls)


def named_leaves(tree: Any) -> dict[str, Any]:
    """Lists a tree's leaves by name: the parts of a leaf's path, joined by dots."""
    leaves = jax.tree_util.tree_leaves_with_path(tree)
    return {jax.tree_util.keystr(path, simple=True, separator="."): leaf for path, leaf in leaves}


def with_leaves(tree: Tree, named: dict[str, Any]) -> Tree:
    """Replaces a tree's leaves by those of the same name."""
    return jax.tree.unflatten(
        jax.tree.structure(tree), [named[name] for name in named_leaves(tree)]
    )
