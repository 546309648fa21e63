"""The program of a network as one flat graph, with calls and loops opened."""

import collections
import dataclasses
from collections.abc import Callable, Iterable, Mapping
from typing import Any

import jax
import numpy as np

# JAX's own functions whose derivative rule is that of the function they compute.
TRUSTED = frozenset(
    "celu elu entr gelu hard_tanh leaky_relu log_softmax logaddexp logaddexp2 "
    "logsumexp mish relu relu6 selu silu sinc softmax softplus xlog1py xlogy".split()
)
CUSTOM = ("custom_jvp_call", "custom_vjp_call", "custom_vjp_call_jaxpr")


@dataclasses.dataclass(frozen=True)
class Op:
    """One operation.

    Attributes:
      name: of the primitive; "link" passes a value on unchanged.
      ins, outs: ids of values in `Graph.values`.
      params: of the primitive.
      primitive: the primitive itself, None for what the graph has added.
      where: the innermost named function around it, "" for none.
      trusted: whether it lies in a function of `TRUSTED`.
      gradient: whether differentiation inside the network has made it.
      loops: the loops around it, as numbers in `Graph.loops`.
    """

    name: str
    ins: tuple[int, ...]
    outs: tuple[int, ...]
    params: Mapping[str, Any]
    primitive: Any
    where: str
    trusted: bool
    gradient: bool
    loops: tuple[int, ...]


@dataclasses.dataclass(frozen=True)
class Scope:
    """What surrounds an operation; the fields are those of `Op`."""

    where: str = ""
    trusted: bool = False
    gradient: bool = False
    loops: tuple[int, ...] = ()


class Graph:
    """Operations between values; a loop's body appears once, its end tied to its start.

    Attributes:
      ops: all operations.
      loops: the loops as a whole, named "scan" and "while"; they are not in `ops`.
      values: for each value, its aval: a shape and a dtype.
      known: value id -> array, of the values that are given.
      inputs: for each argument of the function, the ids of its leaves.
      outputs: ids of the results.
    """

    def __init__(self, function: Callable[..., Any], *arguments: Any):
        """Reads `function(*arguments)`; nothing is compiled or run."""
        closed = jax.make_jaxpr(function)(*arguments)
        self.ops: list[Op] = []
        self.loops: list[Op] = []
        self.values: list[Any] = []
        self.known: dict[int, Any] = {}
        leaves = jax.tree.leaves(arguments)
        ids = [self._given(leaf) for leaf in leaves]
        counts = [len(jax.tree.leaves(part)) for part in arguments]
        ends = np.cumsum([0, *counts])
        self.inputs = [ids[a:b] for a, b in zip(ends, ends[1:], strict=False)]
        self.outputs = self._open(closed, ids, Scope())
        self.consumers = collections.defaultdict(list)
        self.producers = collections.defaultdict(list)
        for op in self.ops:
            for value in op.ins:
                self.consumers[value].append(op)
            for value in op.outs:
                self.producers[value].append(op)

    def after(
        self, start: Iterable[int], passes: Callable[[Op], bool] = lambda op: True
    ) -> set[int]:
        """The values that depend on `start`, through operations that `passes` lets."""
        return self._reached(start, self.consumers, lambda op: op.outs, passes)

    def before(self, end: Iterable[int]) -> set[int]:
        """The values on which `end` depends."""
        return self._reached(end, self.producers, lambda op: op.ins, lambda op: True)

    def evaluate(self, value: int) -> Any:
        """The array of a value that depends on known ones alone, else None."""
        if value not in self.known:
            self.known[value] = self._computed(value)
        return self.known[value]

    def _computed(self, value):
        if len(self.producers[value]) != 1:
            return None
        op = self.producers[value][0]
        ins = [self.evaluate(v) for v in op.ins]
        if any(v is None for v in ins):
            return None
        if op.name == "link":
            return ins[0]
        if op.primitive is None or len(op.outs) != 1:
            return None
        return op.primitive.bind(*ins, **op.params)

    def _reached(self, start, neighbors, ends, passes):
        found, todo = set(start), list(start)
        while todo:
            for op in neighbors[todo.pop()]:
                if passes(op):
                    new = [v for v in ends(op) if v not in found]
                    found.update(new)
                    todo += new
        return found

    def _value(self, aval):
        self.values.append(aval)
        return len(self.values) - 1

    def _given(self, array, aval=None):
        value = self._value(jax.typeof(array) if aval is None else aval)
        self.known[value] = array
        return value

    def _add(self, name, ins, outs, scope, params=None, primitive=None):
        self.ops.append(_op(name, ins, outs, scope, params, primitive))

    def _link(self, ins, outs, scope):
        for a, b in zip(ins, outs, strict=True):
            self._add("link", [a], [b], scope)

    def _open(self, closed, ins, scope):
        """Adds the operations of a jaxpr; the ids of its results."""
        jaxpr = getattr(closed, "jaxpr", closed)
        ids = dict(zip(jaxpr.invars, ins, strict=True))
        for var, const in zip(
            jaxpr.constvars, getattr(closed, "consts", ()), strict=True
        ):
            ids[var] = self._given(const)

        def read(atom):
            constant = hasattr(atom, "val")
            return self._given(atom.val, atom.aval) if constant else ids[atom]

        for eqn in jaxpr.eqns:
            taken = [read(atom) for atom in eqn.invars]
            made = [self._value(var.aval) for var in eqn.outvars]
            ids.update(zip(eqn.outvars, made, strict=True))
            self._equation(eqn, taken, made, _inside(eqn, scope))
        return [read(atom) for atom in jaxpr.outvars]

    def _equation(self, eqn, ins, outs, scope):
        name, params = eqn.primitive.name, eqn.params
        if name == "scan":
            self._scan(params["jaxpr"], ins, outs, self._loop(scope, eqn, ins, outs))
        elif name == "while":
            self._while(params, ins, outs, self._loop(scope, eqn, ins, outs))
        elif name == "cond":
            for branch in params["branches"]:
                ends = self._open(branch, ins[1:], scope)
                for end, out in zip(ends, outs, strict=True):
                    self._add("switch", [ins[0], end], [out], scope)
        elif (body := _body(eqn)) is not None:
            ends = self._open(body, ins, scope)
            if name in (*CUSTOM, "custom_vmap_call") and not scope.trusted:
                for end, out in zip(ends, outs, strict=True):
                    self._add(name, [end, *ins], [out], scope, params)
            else:
                self._link(ends, outs, scope)
        else:
            opaque = any(True for _ in _jaxprs(params))
            kind = "opaque" if opaque else name
            self._add(kind, ins, outs, scope, params, eqn.primitive)

    def _loop(self, scope, eqn, ins, outs):
        """The scope inside a loop."""
        self.loops.append(_op(eqn.primitive.name, ins, outs, scope))
        return dataclasses.replace(scope, loops=(*scope.loops, len(self.loops) - 1))

    def _scan(self, body, ins, outs, scope):
        shapes = [v.aval.shape for v in body.jaxpr.outvars]
        carried = sum(
            self.values[out].shape == shape
            for out, shape in zip(outs, shapes, strict=True)
        )
        own = [self._value(v.aval) for v in body.jaxpr.invars]
        self._link(ins, own, scope)
        ends = self._open(body, own, scope)
        self._link(ends, outs, scope)
        sliced = sum(
            self.values[a].shape != self.values[b].shape
            for a, b in zip(ins, own, strict=True)
        )
        first = len(ins) - sliced - carried
        self._link(ends[:carried], own[first : first + carried], scope)

    def _while(self, params, ins, outs, scope):
        a, b = params["cond_nconsts"], params["body_nconsts"]
        start = ins[a + b :]
        carry = [self._value(self.values[v]) for v in start]
        self._link(start, carry, scope)
        ends = self._open(params["body_jaxpr"], [*ins[a : a + b], *carry], scope)
        self._link(ends, carry, scope)
        (goes_on,) = self._open(params["cond_jaxpr"], [*ins[:a], *carry], scope)
        for value, out in zip(carry, outs, strict=True):
            self._add("while", [goes_on, value], [out], scope)


def _op(name, ins, outs, scope, params=None, primitive=None):
    fields = dataclasses.asdict(scope)
    return Op(name, tuple(ins), tuple(outs), params or {}, primitive, **fields)


def _inside(eqn, scope):
    """The scope of an equation, and of what it calls."""
    stack = str(getattr(getattr(eqn, "source_info", None), "name_stack", ""))
    name = eqn.params.get("name")
    if eqn.primitive.name in CUSTOM:
        name = name or _function_name(eqn)
        scope = dataclasses.replace(
            scope, trusted=scope.trusted or str(name).strip("_") in TRUSTED
        )
    return dataclasses.replace(
        scope,
        where=name if isinstance(name, str) else scope.where,
        gradient=scope.gradient or "transpose(" in stack,
    )


def _function_name(eqn):
    body = _body(eqn)
    info = getattr(getattr(body, "jaxpr", body), "debug_info", None)
    return getattr(info, "func_name", None)


def _body(eqn):
    """The jaxpr of an equation that calls one on its own operands, else None."""
    if eqn.primitive.name == "pallas_call":
        return None
    bodies = list(_jaxprs(eqn.params))
    if len(bodies) != 1:
        return None
    jaxpr = getattr(bodies[0], "jaxpr", bodies[0])
    fits = len(jaxpr.invars) == len(eqn.invars) and not (
        jaxpr.constvars and jaxpr is bodies[0]
    )
    return bodies[0] if fits and len(jaxpr.outvars) == len(eqn.outvars) else None


def _jaxprs(params) -> Iterable[Any]:
    for value in params.values():
        for part in value if isinstance(value, (tuple, list)) else (value,):
            if hasattr(part, "eqns"):
                yield part
