"""Frozen dataclasses that JAX treats as trees of their fields."""

from typing import TypeVar, dataclass_transform

import chex

Class = TypeVar("Class", bound=type)


@dataclass_transform(frozen_default=True, kw_only_default=True)
def pytree(cls: Class) -> Class:
    """Class decorator: immutable, made by keyword, and transparent to jit, vmap and tree.map."""
    return chex.dataclass(frozen=True, mappable_dataclass=False)(cls)
