"""Slow float64 references for the shortest step onto a hyperplane inside a box.

A linear-programming solver for l1 and linf, all sets of saturated entries for l2;
none of them shares a method with the library.
"""

import itertools

import numpy as np
from scipy import optimize


def shortest_step(gap, normal, norm, low, high):
    """A shortest d in the box with gap + <normal, d> = 0.

    Args:
      gap: scalar.
      normal, low, high: [n], low <= 0 <= high.
      norm: "l1", "l2" or "linf".

    Returns:
      [n], or None where no point of the box is on the hyperplane.
    """
    normal, low, high = (np.asarray(v, np.float64) for v in (normal, low, high))
    if norm == "l2":
        return _by_saturated_sets(gap, normal, low, high)
    n, identity = len(normal), np.eye(len(normal))
    # Unknowns: d, then a bound on |d|: one for all entries, or one for each.
    bound = np.ones((n, 1)) if norm == "linf" else identity
    rows = np.vstack([np.hstack([identity, -bound]), np.hstack([-identity, -bound])])
    cost = np.concatenate([np.zeros(n), np.ones(bound.shape[1])])
    found = optimize.linprog(
        cost,
        rows,
        np.zeros(2 * n),
        np.concatenate([normal, np.zeros(bound.shape[1])])[None],
        [-gap],
        [*zip(low, high, strict=True), *[(0, None)] * bound.shape[1]],
    )
    return found.x[:n] if found.status == 0 else None


def _by_saturated_sets(gap, normal, low, high):
    """Tries every choice of entries that stand at their limit of the box.

    The other ones are a multiple of `normal`; the choice is the solution if it stays
    in the box, and the shortest such point is the nearest one.
    """
    if gap == 0:
        return np.zeros_like(normal)
    limit = np.where(-gap * normal > 0, high, low)
    best = None
    for saturated in itertools.product([False, True], repeat=len(normal)):
        at = np.array(saturated) & (normal != 0)
        free = ~at & (normal != 0)
        rest = -gap - np.sum((normal * limit)[at])
        if not free.any() and abs(rest) > 1e-12:
            continue
        scale = rest / np.sum(normal[free] ** 2) if free.any() else 0.0
        step = np.where(at, limit, np.where(free, scale * normal, 0.0))
        if np.all(step >= low - 1e-12) and np.all(step <= high + 1e-12):
            if best is None or np.linalg.norm(step) < np.linalg.norm(best):
                best = step
    return best
