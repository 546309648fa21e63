"""Dataclasses as pytrees: their types count, whatever else is equal."""

import dataclasses
import importlib
import inspect
import pickle
import pkgutil

import chex
import flax
import jax
import jax.numpy as jnp
import pytest

import jaxadv
from jaxadv import struct
from jaxadv.attacks import Ascent
from jaxadv.specs import UsageError
from jaxadv.threats import Linf
from jaxadv.training.state import TrainState


@struct.dataclass
class Pair:
    first: float
    second: float = 2.0
    count: int = struct.field(pytree_node=False, default=3)


@struct.dataclass
class Other:
    first: float
    second: float = 2.0
    count: int = struct.field(pytree_node=False, default=3)


def kinds(count):
    """Classes that differ by their type alone."""
    for number in range(count):
        body = {"__annotations__": {"x": float}, "number": number}
        yield struct.dataclass(type(f"Kind{number}", (), body))


def test_structures_differ_by_type_and_by_static_fields():
    structure = jax.tree.structure
    assert structure(Pair(1.0)) == structure(Pair(5.0, 6.0))
    assert structure(Pair(1.0)) != structure(Other(1.0))
    assert structure(Pair(1.0)) != structure(Pair(1.0, count=4))
    assert hash(structure(Pair(1.0))) == hash(structure(Pair(5.0)))


def test_jit_traces_every_type_on_its_own():
    """Of equal structures about every tenth would meet another one's program."""
    traced = jax.jit(lambda x: jnp.zeros(type(x).number))
    shapes = [traced.eval_shape(kind(1.0)).shape for kind in kinds(200)]
    assert shapes == [(number,) for number in range(200)]


def test_a_pytree_is_taken_apart_and_put_together():
    pair = Pair(1.0, (2.0, 3.0), count=5)
    assert jax.tree.map(lambda x: 2 * x, pair) == Pair(2.0, (4.0, 6.0), count=5)
    paths, _ = jax.tree_util.tree_flatten_with_path(pair)
    names = [jax.tree_util.keystr(path) for path, _ in paths]
    assert names == [".first", ".second[0]", ".second[1]"]
    assert pickle.loads(pickle.dumps(pair)) == pair


def test_instances_are_frozen_and_replaced():
    pair = Pair(1.0)
    assert pair.replace(first=4.0, count=1) == Pair(4.0, count=1) and pair.first == 1.0
    with pytest.raises(dataclasses.FrozenInstanceError):
        pair.first = 2.0


def test_transformations_keep_type_and_static_fields():
    def double(pair):
        return pair.replace(first=2 * pair.first)

    batch = Pair(jnp.arange(3.0), jnp.ones(3), count=7)
    chex.assert_trees_all_equal(
        jax.jit(jax.vmap(double))(batch), batch.replace(first=2 * jnp.arange(3.0))
    )
    grad = jax.grad(lambda pair: pair.first**2 + pair.second)(Pair(3.0, 1.0))
    assert grad == Pair(6.0, 1.0)


def test_every_dataclass_of_the_library_is_registered_so():
    """But flax's train state, of which there is one."""
    found = set()
    for module in pkgutil.walk_packages(jaxadv.__path__, "jaxadv."):
        if not module.name.endswith("__main__"):
            loaded = vars(importlib.import_module(module.name))
            found |= {x for x in loaded.values() if inspect.isclass(x)}
    own = {c for c in found if c.__module__.startswith("jaxadv.")}
    own = {c for c in own if dataclasses.is_dataclass(c)}
    assert len(own) > 60
    assert {c for c in own if hasattr(c, "_flax_dataclass")} == {TrainState}


@pytest.mark.parametrize("inside", [lambda x: x, lambda x: (Linf(0.1), x)])
def test_another_kind_of_dataclass_is_refused(inside):
    foreign = flax.struct.dataclass(type("Foreign", (), {"norm": "linf"}))
    with pytest.raises(UsageError, match="Ascent.threat .* make Foreign a jaxadv"):
        Ascent(inside(foreign()))
