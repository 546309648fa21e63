"""Frozen dataclasses as pytrees that are never taken for one another.

As `flax.struct`, whose dataclasses jaxlib (0.10 to 0.12, the versions tried) compares
without their type: `Linf(0.1)` and `L2(0.1)` would be equal in structure, and a
jitted function would now and then run the program that it has compiled for the one
on the other. Custom pytree nodes are compared with their type. Left out is what
`flax.serialization` needs; checkpoints are written by path, without it.
"""

import dataclasses
from typing import Any, TypeVar, dataclass_transform

import jax
from flax.struct import field

__all__ = ["dataclass", "field"]

T = TypeVar("T")


@dataclass_transform(frozen_default=True, field_specifiers=(field,))
def dataclass(cls: type[T]) -> type[T]:
    """Makes a frozen dataclass and a pytree of a class, with a method `replace`.

    A field is a child, or part of the structure if it is declared by
    `field(pytree_node=False)`; such values are hashable and compare by value.
    """
    made: Any = dataclasses.dataclass(frozen=True)(cls)
    children, static = [], []
    for declared in dataclasses.fields(made):
        is_child = declared.metadata.get("pytree_node", True)
        (children if is_child else static).append(declared.name)
    keys = [jax.tree_util.GetAttrKey(name) for name in children]

    def flatten(tree):
        values = [getattr(tree, name) for name in children]
        return values, tuple(getattr(tree, name) for name in static)

    def flatten_with_keys(tree):
        values, structure = flatten(tree)
        return list(zip(keys, values, strict=True)), structure

    def unflatten(structure, values):
        # Not by the constructor: what jax puts in (batches, placeholders, names of
        # axes) is not what a user may give, and was checked when that was given.
        tree = object.__new__(made)
        for name, value in zip(children + static, (*values, *structure), strict=True):
            object.__setattr__(tree, name, value)
        return tree

    jax.tree_util.register_pytree_with_keys(made, flatten_with_keys, unflatten, flatten)
    made.replace = dataclasses.replace
    made._jaxadv_dataclass = True
    return made


def is_pytree(made: type) -> bool:
    """Whether a class, itself and not one it inherits from, was made by `dataclass`."""
    return "_jaxadv_dataclass" in vars(made)
