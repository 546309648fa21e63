"""Balls and the simplex: largest entries, shortest projections, steepest directions.

Every function takes ONE array of any shape and treats it as one vector (batches
are the caller's `vmap`), follows the dtype of its first argument and runs a fixed
number of operations, so all of them work under `jit`, `vmap` and `pmap`.
"""

import jax
import jax.numpy as jnp
from jax import lax

from jaxadv.numerics.safe import (
    check_norm,
    finite_or_zero,
    flat,
    safe_norm,
    safe_normalize,
)
from jaxadv.numerics.search import first_noted


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
    size = jnp.abs(flat(score))
    weight = jnp.asarray(weight, score.dtype)
    if weight.ndim:
        weight = flat(jnp.broadcast_to(weight, score.shape))

    def cost(items):
        return jnp.sum(jnp.where(items, weight, 0.0))

    def fits(level):
        above = size > level
        return cost(above) <= budget, above

    # The masks come out of the loop: compared again behind it, a score that the
    # compiler computes a second time and rounds otherwise would be on the wrong side.
    sides = jnp.ones(size.shape, bool), jnp.zeros(size.shape, bool)
    (_, reached), (_, above) = first_noted(fits, jnp.max(size), sides)
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
