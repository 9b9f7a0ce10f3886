"""Frozen dataclasses that JAX treats as trees of their fields, and trees as named arrays."""

from typing import Any, TypeVar, dataclass_transform

import chex
import jax

Class = TypeVar("Class", bound=type)
Tree = TypeVar("Tree")


@dataclass_transform(frozen_default=True, kw_only_default=True)
def pytree(cls: Class) -> Class:
    """Class decorator: immutable, made by keyword, and transparent to jit, vmap and tree.map."""
    return chex.dataclass(frozen=True, mappable_dataclass=False)(cls)


def named_leaves(tree: Any) -> dict[str, Any]:
    """A tree's leaves by their path, its parts joined by dots."""
    leaves = jax.tree_util.tree_leaves_with_path(tree)
    return {jax.tree_util.keystr(path, simple=True, separator="."): leaf for path, leaf in leaves}


def with_leaves(tree: Tree, named: dict[str, Any]) -> Tree:
    """The tree with its leaves replaced by those of the same name."""
    return jax.tree.unflatten(
        jax.tree.structure(tree), [named[name] for name in named_leaves(tree)]
    )
