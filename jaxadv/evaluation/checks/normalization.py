"""Finds images that are normalized twice, by the elementwise head of a program."""

from typing import Any

import numpy as np

from jaxadv.evaluation.checks.graph import Graph

_PASS = ("link", "broadcast_in_dim", "convert_element_type", "expand_dims", "copy")


def twice(graph: Graph, images: np.ndarray) -> str:
    """Says that two normalizations follow each other, or "".

    A normalization is a shift and a scale. Two equal ones are a mistake; so are two
    different ones where the second takes the images away from mean 0 and deviation
    1, as an input batch norm, which is the second one too, does not.

    Args:
      graph: of `model(image, key)`, the image being its second argument.
      images: [n, h, w, c] in [0, 1].
    """
    pairs = _pairs(steps(graph, graph.inputs[1][0]))
    if len(pairs) < 2:
        return ""
    once = _apply(pairs[:1], images)
    both = _apply(pairs, images)
    told = f"from mean {np.mean(once):.2g}, std {np.std(once):.2g} to mean "
    told += f"{np.mean(both):.2g}, std {np.std(both):.2g}"
    if all(_equal(a, b) for a, b in zip(pairs[0], pairs[1], strict=True)):
        return f"normalized twice by the same mean and std, {told}"
    if _distance(both) > _distance(once) + 1:
        return f"normalized by two means and stds, {told}"
    return ""


def steps(graph: Graph, value: int) -> list[tuple[str, Any]]:
    """The ("shift", x) and ("scale", x) that come first, without those of no effect."""
    found = []
    useful = graph.before(graph.outputs)
    while True:
        following = [op for op in graph.consumers[value] if useful & set(op.outs)]
        if len(following) != 1:
            return found
        (op,) = following
        if op.name not in _PASS:
            step = _step(graph, op, value)
            if step is None:
                return found
            if np.any(step[1] != (step[0] == "scale")):
                found.append(step)
        elif graph.values[op.outs[0]].shape[-3:] != graph.values[value].shape[-3:]:
            return found
        value = op.outs[0]


def _step(graph, op, value):
    """An operation with a constant as ("shift" or "scale", array), else None."""
    if op.name not in ("add", "sub", "mul", "div") or op.ins.count(value) != 1:
        return None
    left = op.ins[0] == value
    constant = graph.evaluate(op.ins[1 if left else 0])
    if constant is None or (not left and op.name in ("sub", "div")):
        return None
    constant = np.asarray(constant, np.float64)
    if op.name in ("add", "sub"):
        return "shift", constant if op.name == "add" else -constant
    return "scale", constant if op.name == "mul" else 1 / constant


def _pairs(found):
    """Shifts and scales in twos, each as (factor, offset): x -> factor x + offset."""
    pairs = []
    while len(found) > 1:
        (kind, a), (other, b) = found[:2]
        if kind == other:
            found = found[1:]
            continue
        pairs.append((b, a * b) if kind == "shift" else (a, b))
        found = found[2:]
    return pairs


def _apply(pairs, images):
    for factor, offset in pairs:
        images = images * factor + offset
    return images


def _equal(a, b):
    return np.shape(a) == np.shape(b) and np.allclose(a, b, rtol=1e-3, atol=1e-6)


def _distance(images):
    """How far from mean 0 and standard deviation 1."""
    spread = max(float(np.std(images)), 1e-6)
    return abs(float(np.mean(images))) + abs(np.log(spread))
