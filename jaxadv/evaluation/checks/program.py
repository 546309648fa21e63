"""R5: reads the program from the image to the logits, for what hides gradients.

The reader follows every value that depends on the image and that the logits depend
on, through compiled calls, custom derivatives, branches and loops, and knows what
blocks a gradient there: rounding, signs, argmax, comparisons made into numbers,
`stop_gradient`, foreign derivative rules, callbacks. A block is no crime by itself:
softmax stops the gradient of its largest logit, which changes nothing. Whether the
gradient is the network's is therefore measured (`gradients.mismatch`), and what is
read says why it is not. So is whether the network jumps where no gradient shows it
(`gradients.tears`), as k-winners-take-all does at every change of the winners.

It cannot see inside callbacks and hand-written kernels, nor what a custom derivative
will do (the measure judges that), nor that a smooth function is too steep or too flat
to follow (the measure and R3 do). It reads one image's program: what depends on
other images shows only as `custom_vmap`, or in R7.
"""

import collections
import dataclasses
import math
from typing import Any

import jax
import jax.numpy as jnp

from jaxadv.evaluation.checks import gradients, normalization
from jaxadv.evaluation.checks.base import Check, Finding, Probe
from jaxadv.evaluation.checks.graph import CUSTOM, Graph, Op

RANDOM = ("random_bits", "rng_bit_generator", "rng_uniform", "threefry2x32")
CALLBACKS = {
    "pure_callback": "a callback",
    "io_callback": "a callback",
    "opaque": "a call that cannot be read",
}
_ROUNDING = ("round", "floor", "ceil", "bitcast_convert_type")
_LAYERS = ("conv_general_dilated", "dot_general")
# The share of the squared gradient that is off: with and without a block on the way.
SUSPECTED, UNSUSPECTED = 0.05, 0.3
_RANKS = ("sort", "top_k", "approx_top_k")

PROGRAM = Check(
    id="R5",
    name="program from image to logits",
    looks="what hides gradients on the way from image to logits (rounding, "
    "signs, callbacks, batch statistics, jumps), and how far measured "
    "changes are from what the gradient says",
    means="the gradient is not the network's, or the network is not the one "
    "that is deployed: attacks go in wrong directions",
    warns="something that may hide gradients stands in the way",
    todo="attack without the block, through a smooth stand-in (BPDA), or "
    "without gradients; normalize once; give a network in evaluation "
    "mode",
)


@dataclasses.dataclass(frozen=True)
class Sight:
    """Something on the way from the image to the logits.

    Attributes:
      kind: "block", which hides gradients; "batch", "normalized", "hidden"
        (randomness) and "torn" (jumps), which are faults; "inner" (optimization),
        "uneven" (smaller jumps) and "odd", worth a look; "random", what R1 judges.
      what: in words, with the function that it stands in and how often.
      through: whether every way from the image to the logits leads through blocks.
    """

    kind: str
    what: str
    through: bool = False


def trace(model: Any, image: Any) -> Graph:
    """The graph of `model(image, key)`; nothing is compiled."""
    key = jax.random.key_data(jax.random.key(0))
    return Graph(lambda m, x, k: m(x, k), model, jnp.asarray(image), key)


def read(graph: Graph) -> list[Sight]:
    """What stands between one image [h, w, c] and the logits; see the module.

    `graph` is that of `f(model, image, key)`.
    """
    _, images, keys = graph.inputs
    seen, drawn = graph.after(images), graph.after(keys)
    useful = graph.before(graph.outputs)
    on_path = [op for op in graph.ops if useful & set(op.outs) and seen & set(op.ins)]
    blocks = {id(op): what for op in on_path if (what := _block(op, graph, seen))}
    open_ways = graph.after(images, lambda op: id(op) not in blocks)
    through = not open_ways & set(graph.outputs)
    pairs = [(blocks[id(op)], op) for op in on_path if id(op) in blocks]
    found = _counted("block", pairs, through)
    found += _random(graph, useful, seen, drawn)
    found += _inner(graph, on_path, seen, useful)
    found += _counted("batch", _across(graph, on_path))
    return found


def program(probe: Probe) -> Finding:
    """R5: the verdict on what `read` sees, with the measured gradient mismatch."""
    graph = trace(probe.model, probe.images[0])
    found = read(graph)
    twice = normalization.twice(graph, probe.images)
    if twice:
        found.append(Sight("normalized", twice))
    if probe.obstacle:
        return judged(found, float("nan"))
    return judged([*found, *_jumps(gradients.tears(probe))], gradients.mismatch(probe))


def _jumps(torn):
    """What `gradients.tears` has measured, where that is worth a word."""
    if not torn > SUSPECTED:
        return []
    kind = "torn" if torn > UNSUSPECTED else "uneven"
    what = f"jumps, mismatch {torn:.2g} between changes along paths and gradients there"
    return [Sight(kind, what)]


def judged(found: list[Sight], off: float) -> Finding:
    """The finding for what was seen and the mismatch `off`, NaN if unknown."""
    kinds = {sight.kind for sight in found}
    through = any(sight.through for sight in found)
    told = "; ".join(sight.what for sight in found) or "nothing hides gradients"
    if through:
        told += "; every way leads through a block"
    evidence = f"{told}; gradient mismatch {off:.2g}"
    allowed = SUSPECTED if "block" in kinds else UNSUSPECTED
    if off > allowed or (through and math.isnan(off)):
        remedy = _REMEDY["block" if "block" in kinds else "steep"]
        return PROGRAM.found("fail", evidence, remedy)
    for kind, verdict in _VERDICTS.items():
        if kind in kinds:
            return PROGRAM.found(verdict, evidence, _REMEDY[kind])
    return PROGRAM.found("ok", evidence)


_VERDICTS = {
    "batch": "fail",
    "normalized": "fail",
    "hidden": "fail",
    "torn": "fail",
    "uneven": "warn",
    "inner": "warn",
    "odd": "warn",
}
_REMEDY = {
    "block": "attack the network without its blocks, or with a smooth stand-in (BPDA)",
    "steep": "the gradient is not the network's: attack without gradients",
    "batch": "give a network in evaluation mode",
    "normalized": "normalize once, in the Classifier or in the network",
    "hidden": "draw all randomness from the key that the model is called with",
    "torn": "gradients do not lead over the jumps: attack without gradients (square)",
    "uneven": "attack without gradients (square) as well",
    "inner": "attack through all of the inner optimization, with many more steps",
    "odd": "make sure that it belongs there",
}


def _block(op: Op, graph: Graph, seen) -> str:
    """What blocks the gradient in an operation on the image's way, "" for nothing."""
    if op.name in CUSTOM:
        return "a derivative of its own"
    if op.trusted:
        return ""
    if op.name in ("sign", "argmax", "argmin", "stop_gradient"):
        return op.name
    if op.name in CALLBACKS:
        return CALLBACKS[op.name]
    if op.name in _ROUNDING:
        return "rounding"
    if op.name == "reduce_precision" and op.params["mantissa_bits"] < 7:
        return "rounding"
    if op.name == "convert_element_type":
        old, new = graph.values[op.ins[0]].dtype, graph.values[op.outs[0]].dtype
        if old.kind == "b" and new.kind != "b":
            return "a comparison made a number"
        if jnp.issubdtype(old, jnp.floating) and not jnp.issubdtype(new, jnp.inexact):
            return "rounding"
    if op.name == "select_n" and op.ins[0] in seen and not seen & set(op.ins[1:]):
        return "a comparison made a number"
    return ""


def _random(graph, useful, seen, drawn):
    """Random bits that reach the logits, by where their key comes from."""
    origins: dict[str, list[Any]] = {"hidden": [], "random": [], "odd": []}
    for op in graph.ops:
        if op.name in RANDOM and useful & set(op.outs):
            if seen & set(op.ins):
                origins["hidden"].append(("random bits drawn from the image", op))
            elif drawn & set(op.ins):
                origins["random"].append(("random bits of the key", op))
            else:
                origins["odd"].append(("random bits of a fixed key", op))
    return [s for kind, pairs in origins.items() for s in _counted(kind, pairs)]


def _inner(graph, on_path, seen, useful):
    """Differentiation inside the network, choices by rank, loops around its layers."""
    inside = [op for op in on_path if op.gradient]
    inside.sort(key=lambda op: op.name not in _LAYERS)
    found = _counted("inner", [("a gradient taken inside", op) for op in inside[:1]])
    ranked = [("a choice by rank", op) for op in on_path if op.name in _RANKS]
    found += _counted("odd", ranked)
    for op in on_path:
        if op.name == "while" and op.ins[0] in seen:
            found += _counted("odd", [("a loop as long as the image says", op)])
    for number, loop in enumerate(graph.loops):
        if inside or not (seen & set(loop.ins) and useful & set(loop.outs)):
            continue
        layers = [op for op in on_path if number in op.loops and op.name in _LAYERS]
        same = [op for op in layers if not _sliced(graph, op, loop, seen)]
        if len(same) > 1:
            what = f"a loop of {len(same)} layers with the same weights"
            found += _counted("odd", [(what, loop)])
    return found


def _sliced(graph, op, loop, seen):
    """Whether a layer's weights are another slice in each turn of the loop."""
    starts = {v for v in op.ins if v not in seen}
    behind = graph.before(starts)
    for link in graph.ops:
        if link.name == "link" and link.outs[0] in behind and link.ins[0] in loop.ins:
            a, b = (graph.values[v].shape for v in (link.ins[0], link.outs[0]))
            if a != b:
                return True
    return False


def _across(graph, on_path):
    """Divisions by statistics that were taken over the batch, and batching rules."""
    found = []
    for op in on_path:
        if op.name == "custom_vmap_call":
            found.append(("a rule of its own for batches", op))
        if op.name in ("reduce_sum", "reduce_mean") and _over_batch(graph, op):
            after = graph.after(op.outs, lambda o: o.name not in _LAYERS)
            roots = [o for o in on_path if o.name in ("rsqrt", "sqrt")]
            if any(after & set(o.ins) and _small(graph, o, op) for o in roots):
                found.append(("normalization by statistics of the batch", op))
    return found


def _over_batch(graph, op):
    """Whether a sum runs over a batch of one and over pixels, not over channels."""
    shape, axes = graph.values[op.ins[0]].shape, op.params["axes"]
    last = len(shape) - 1
    return len(shape) > 1 and shape[0] == 1 and 0 in axes and last not in axes


def _small(graph, root, total):
    """Whether a root is taken of as many numbers as the sum has left."""
    shapes = (graph.values[v].shape for v in (root.ins[0], total.outs[0]))
    return len({math.prod(shape) for shape in shapes}) == 1


def _counted(kind, pairs, through=False):
    """One sight for each kind of words and place."""
    counts = collections.Counter(what + _place(op) for what, op in pairs)
    return [
        Sight(kind, f"{what} x {n}" if n > 1 else what, through)
        for what, n in counts.items()
    ]


def _place(op):
    return f" in {op.where!r}" if op.where else ""
