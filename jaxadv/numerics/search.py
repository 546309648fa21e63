"""Searches on the real line that return what is known to hold.

Every function takes ONE array of any shape and treats it as one vector (batches
are the caller's `vmap`), follows the dtype of its first argument and runs a fixed
number of operations, so all of them work under `jit`, `vmap` and `pmap`.
"""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
from jax import lax

from jaxadv.numerics.loops import repeat


def bisect(
    feasible: Callable[[jax.Array], jax.Array],
    low: jax.Array | float,
    high: jax.Array | float,
    steps: int,
) -> jax.Array:
    """The largest feasible value found in [low, high] by halving the interval.

    The result is always a value at which `feasible` held (or `low`), never the
    infeasible end: `high` itself where that is feasible, else a value at most
    `(high - low) / 2**steps` below the boundary.

    Args:
      feasible: value -> bool, true up to one boundary; called `steps + 1` times.
      low: a feasible value (not checked).
      high: >= `low`; broadcasts against it, arrays are bisected elementwise.
      steps: number of halvings.
    """
    dtype = jnp.result_type(low, high, float)
    low, high = jnp.broadcast_arrays(*(jnp.asarray(v, dtype) for v in (low, high)))

    def halve(ends):
        good, bad, middle = ends
        holds = feasible(middle)
        good = jnp.where(holds, middle, good)
        bad = jnp.where(holds, bad, middle)
        return good, bad, good + (bad - good) / 2

    return repeat(steps + 1, halve, (low, high, high))[0]


def first_float(
    holds: Callable[[jax.Array], jax.Array], high: jax.Array
) -> tuple[jax.Array, jax.Array]:
    """The smallest float in [0, high] at which a monotone predicate becomes true.

    Non-negative floats are ordered as their bit patterns are, so halving the range
    of bit patterns finds the exact switching point, to the last bit and whatever
    its magnitude, in 31 evaluations for float32 (63 for float64).

    Args:
      holds: float scalar -> bool; false below some value and true from it on.
      high: positive scalar at which `holds` is true (not checked).

    Returns:
      (before, first): the neighboring floats around the switch: `holds` is false
      at `before` and true at `first`. Both are constants to differentiation.
      `before` is 0 where `holds(0)` is true.
    """
    (before, _), (first, _) = first_noted(lambda v: (holds(v), ()), high, ((), ()))
    return before, first


def first_noted(holds: Any, high: Any, notes: Any) -> Any:
    """As `first_float` for a `holds` that adds a note; each end comes with its own."""
    dtype = high.dtype
    kind = jnp.dtype(f"int{8 * dtype.itemsize}")

    def halve(_, ends):
        (before, _), (first, _) = ends
        middle = first - (first - before) // 2
        true, note = holds(lax.bitcast_convert_type(middle, dtype))

        def pick(if_true, if_false):
            return jax.tree.map(lambda a, b: jnp.where(true, a, b), if_true, if_false)

        middle = middle, note
        return pick(ends[0], middle), pick(middle, ends[1])

    ends = jnp.asarray(-1, kind), lax.bitcast_convert_type(high, kind)
    (before, below), (first, above) = lax.fori_loop(
        0, 8 * dtype.itemsize - 1, halve, tuple(zip(ends, notes, strict=True))
    )
    before = lax.bitcast_convert_type(jnp.maximum(before, 0), dtype)
    return (before, below), (lax.bitcast_convert_type(first, dtype), above)


def rise(solved: Callable[[jax.Array], jax.Array], start: jax.Array) -> jax.Array:
    """Where `start`, `solved(start)`, `solved(solved(start))`, … stops to rise.

    Finds the level t at which a sum of min(t * slope, limit) has a given value:
    `solved` fixes the entries that are at their limits and solves for t, which never
    goes beyond the solution, for further entries may reach theirs on the way. Ends
    when none does, mostly after 3 to 6 steps. Not differentiable: stop the gradients
    of what `solved` closes over.
    """
    zero = jnp.zeros_like(start)
    return lax.while_loop(
        lambda ends: ends[1] > ends[0],
        lambda ends: (ends[1], jnp.maximum(solved(ends[1]), ends[1])),
        (zero - 1, start),
    )[1]
