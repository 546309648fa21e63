"""Scalar and vector arithmetic that attacks must get exactly right.

Every function takes ONE array of any shape and treats it as one vector (batches
are the caller's `vmap`), follows the dtype of its first argument and runs a fixed
number of operations, so all of them work under `jit`, `vmap` and `pmap`.
"""

from collections.abc import Callable

import jax
import jax.numpy as jnp
from jax import lax

from jaxadv.loops import repeat
from jaxadv.specs import UsageError


def clip(x: jax.Array, low: jax.Array | float, high: jax.Array | float) -> jax.Array:
    """`x` limited to [low, high], with derivative 1 inside and AT both limits.

    Saturated pixels sit exactly on a limit, where `jnp.clip` passes half of the
    gradient and `lax.clamp` none. Outside, the derivative goes to the limit.

    Args:
      x: any shape; NaN stays NaN.
      low, high: broadcast against `x`, with low <= high.
    """
    x = jnp.asarray(x)
    low, high = jnp.asarray(low, x.dtype), jnp.asarray(high, x.dtype)
    return jnp.where(x < low, low, jnp.where(x > high, high, x))


def safe_norm(x: jax.Array, ord: str) -> jax.Array:
    """The norm of `x` read as one vector, with derivative zero at zero.

    The l2 norm is computed relative to the largest entry, so that no square under-
    or overflows: it is right from 1.2e-38 to 3e38 in float32 (XLA on CPU reads
    smaller, subnormal numbers as zero). An infinite entry gives inf, a NaN NaN.

    Args:
      x: any shape.
      ord: "l1", "l2" or "linf".

    Returns:
      A scalar of the dtype of `x`.

    Raises:
      UsageError: `ord` is another name.
    """
    check_norm(ord, ("l1", "l2", "linf"))
    if ord != "l2":
        # The derivative of jnp.abs at zero is 1; that of x * sign is 0.
        size = x * lax.stop_gradient(jnp.sign(x))
        return jnp.sum(size) if ord == "l1" else jnp.max(size)
    peak, scale = lax.stop_gradient(jnp.max(jnp.abs(x))), power_of_two(x)
    regular = jnp.isfinite(peak) & (peak > 0)
    total = jnp.sum((jnp.where(regular, x, 1.0) / scale) ** 2)
    return jnp.where(regular, scale * jnp.sqrt(total), peak)


def safe_normalize(x: jax.Array, norm: str = "l2") -> jax.Array:
    """`x` divided by its norm; zero, with derivative zero, where `x` is zero.

    Entries that are NaN or infinite count as zero. Gradients as small as 1.2e-38
    still come out with norm one, because no constant is added to the norm.

    Args:
      x: any shape.
      norm: "l1", "l2" or "linf".

    Raises:
      UsageError: `norm` is another name.
    """
    x = finite_or_zero(x)
    nonzero = jnp.any(x != 0)
    scaled = jnp.where(nonzero, x, 1.0) / power_of_two(x)
    return jnp.where(nonzero, scaled / safe_norm(scaled, norm), 0.0)


def power_of_two(x: jax.Array) -> jax.Array:
    """A scale for `x`: the power of two below its largest magnitude, 1 for zero.

    Dividing by it is exact and leaves entries below 4. It is at most half of the
    largest power, because XLA multiplies by the reciprocal, which must not be
    subnormal. A constant to differentiation.
    """
    peak = lax.stop_gradient(jnp.max(jnp.abs(x)))
    kind = jnp.dtype(f"int{8 * x.dtype.itemsize}")
    exponent_bits = lax.bitcast_convert_type(jnp.asarray(jnp.inf, x.dtype), kind)
    bits = lax.bitcast_convert_type(peak, kind) & exponent_bits
    power = lax.bitcast_convert_type(bits, x.dtype)
    largest = 2.0 ** (jnp.finfo(x.dtype).maxexp - 2)
    return jnp.where(power > 0, jnp.minimum(power, largest), 1.0)


def finite_or_zero(x: jax.Array) -> jax.Array:
    """`x` with zeros in place of NaN and infinite entries."""
    return jnp.where(jnp.isfinite(x), x, 0.0)


def check_norm(norm: str, allowed: tuple[str, ...]) -> None:
    """Raises UsageError unless `norm` is one of the `allowed` names."""
    if norm not in allowed:
        raise UsageError(f"norm is {norm!r}; allowed: {', '.join(map(repr, allowed))}")


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
    (before, _), (first, _) = _first_float(lambda v: (holds(v), ()), high, ((), ()))
    return before, first


def _first_float(holds, high, notes):
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


def take_largest(
    score: jax.Array, weight: jax.Array | float, budget: jax.Array | float
) -> jax.Array:
    """Fills a budget with the items of largest score (the fractional knapsack).

    Items are taken whole in descending score, equal scores in index order; the item
    that no longer fits is taken in part. With `weight` 1 and a whole `budget` the
    result is the 0/1 mask of the top entries.

    Args:
      score: any shape, finite, >= 0.
      weight: what a whole item costs, >= 0; broadcasts to the shape of `score`.
      budget: scalar >= 0, may be traced.

    Returns:
      The amount taken of each item, in [0, weight], of the shape of `score`.
    """
    flat = jnp.abs(score).ravel()
    weight = jnp.broadcast_to(jnp.asarray(weight, score.dtype), score.shape).ravel()

    def cost(items):
        return jnp.sum(jnp.where(items, weight, 0.0))

    def fits(level):
        above = flat > level
        return cost(above) <= budget, above

    # The masks come out of the loop: compared again behind it, a score that the
    # compiler computes a second time and rounds otherwise would be on the wrong side.
    sides = jnp.ones(flat.shape, bool), jnp.zeros(flat.shape, bool)
    (_, reached), (_, above) = _first_float(fits, jnp.max(flat), sides)
    tied = jnp.where(reached & ~above, weight, 0.0)
    room = budget - cost(above) - (jnp.cumsum(tied) - tied)
    amount = jnp.where(above, weight, jnp.clip(room, 0.0, tied))
    return amount.reshape(score.shape)


def project_simplex(w: jax.Array) -> jax.Array:
    """The nearest point of the probability simplex, exact, along the last axis.

    Duchi, Shalev-Shwartz, Singer and Chandra, "Efficient projections onto the
    l1-ball for learning in high dimensions" (2008), figure 1.

    Args:
      w: [..., k], finite.

    Returns:
      [..., k], entries >= 0 that sum to 1 along the last axis.
    """
    w = w - jnp.max(w, axis=-1, keepdims=True)
    ordered = jnp.sort(w, axis=-1, descending=True)
    counts = jnp.arange(1, w.shape[-1] + 1, dtype=w.dtype)
    levels = (jnp.cumsum(ordered, axis=-1) - 1.0) / counts
    support = jnp.sum(ordered > levels, axis=-1, keepdims=True)
    level = jnp.take_along_axis(levels, support - 1, axis=-1)
    return jnp.maximum(w - level, 0.0)


def add_toward(image: jax.Array, delta: jax.Array) -> jax.Array:
    """`image + delta`, rounded toward `image` where rounding would lengthen delta.

    Rounding of the sum can push an image at distance eps out of its ball. Here
    `|result - image|`, recomputed in the same precision, is nowhere above `|delta|`,
    so no lp norm of the difference exceeds that of `delta`. A clip of the result to
    [0, 1] keeps that true. The derivative is 1 with respect to both.

    Args:
      image, delta: of one shape, or broadcasting to one.
    """
    total = image + delta
    start, end, length = map(lax.stop_gradient, (image, total, jnp.abs(delta)))
    inward = jnp.nextafter(end, jnp.broadcast_to(start, end.shape))
    rounded = jnp.where(jnp.abs(end - start) > length, inward, end)
    return rounded + (total - end)


def shrink(x: jax.Array, norm: str, eps: jax.Array | float) -> jax.Array:
    """`x` scaled down into the ball of radius `eps` around zero, if it is outside.

    A point that is inside is returned unchanged, bit for bit; another one lands
    two units in the last place inside, so that recomputing its norm does not give
    more than `eps`.

    Args:
      x: any shape.
      norm: "l1", "l2" or "linf".
      eps: radius >= 0, may be traced.

    Raises:
      UsageError: `norm` is another name.
    """
    eps, size = jnp.asarray(eps, x.dtype), safe_norm(x, norm)
    outside = size > eps
    ratio = eps / jnp.where(outside, size, 1.0) * (1 - 2 * jnp.finfo(x.dtype).eps)
    return jnp.where(outside, x * ratio, x)


def steepest(
    grad: jax.Array, norm: str, fraction: jax.Array | float = 0.0
) -> jax.Array:
    """The direction d of unit norm that maximizes <grad, d>.

    "linf": the sign. "l2": `grad` over its length. "l1": all on the entry of largest
    magnitude (the first of equal ones) or, with `fraction`, spread equally over the
    `round(fraction * size)` largest ones, the sparse step of Tramer and Boneh,
    "Adversarial training and robustness for multiple perturbations" (2019), section
    3.2. "l0" bounds no length, so a count of entries has no unit step: the direction
    is that of "l2" and the projection does the selection.

    Args:
      grad: any shape; NaN and infinite entries count as zero.
      norm: "l0", "l1", "l2" or "linf".
      fraction: in [0, 1], for "l1" only; at least one entry is kept.

    Returns:
      The shape of `grad`; zero where `grad` is zero.

    Raises:
      UsageError: `norm` is another name.
    """
    check_norm(norm, ("l0", "l1", "l2", "linf"))
    if norm in ("l0", "l2"):
        return safe_normalize(grad, "l2")
    grad = finite_or_zero(grad)
    if norm == "linf":
        return jnp.sign(grad)
    count = jnp.maximum(jnp.round(jnp.asarray(fraction, grad.dtype) * grad.size), 1.0)
    return jnp.sign(grad) * take_largest(jnp.abs(grad), 1.0, count) / count


def uniform_in_ball(
    key: jax.Array,
    shape: tuple[int, ...],
    norm: str,
    eps: jax.Array | float,
    dtype: jnp.dtype = jnp.float32,
) -> jax.Array:
    """A point drawn uniformly from the ball of radius `eps`, never outside it.

    "l2": a Gaussian direction times U^(1/d). "l1": Laplace variables over the sum of
    their magnitudes and one exponential variable (Barthe, Guedon, Mendelson and Naor,
    "A probabilistic approach to the geometry of the l_p^n-ball", 2005, theorem 1).
    "l0": `floor(eps)` entries chosen uniformly get values uniform in [-1, 1]; the
    caller projects onto the image box.

    Args:
      key: the key is consumed.
      shape: shape of the result, d entries in all.
      norm: "l0", "l1", "l2" or "linf".
      eps: radius >= 0 (a count of entries for "l0"), may be traced.
      dtype: of the result.

    Raises:
      UsageError: `norm` is another name.
    """
    check_norm(norm, ("l0", "l1", "l2", "linf"))
    point_key, other_key = jax.random.split(key)
    eps = jnp.asarray(eps, dtype)
    if norm == "l0":
        rank = jax.random.uniform(other_key, shape, dtype)
        chosen = take_largest(rank, 1.0, jnp.floor(eps))
        return chosen * jax.random.uniform(point_key, shape, dtype, -1.0, 1.0)
    if norm == "l1":
        point = jax.random.laplace(point_key, shape, dtype)
        spare = jax.random.exponential(other_key, dtype=dtype)
        unit = point / (safe_norm(point, "l1") + spare)
    elif norm == "l2":
        direction = safe_normalize(jax.random.normal(point_key, shape, dtype))
        radius = jax.random.uniform(other_key, dtype=dtype) ** (1 / direction.size)
        unit = direction * radius
    else:
        unit = jax.random.uniform(point_key, shape, dtype, -1.0, 1.0)
    return shrink(unit * eps, norm, eps)
