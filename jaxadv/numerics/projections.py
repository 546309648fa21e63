"""Exact maps onto the intersection of an lp ball with the box of valid images.

A perturbation `delta` of an image in [0, 1] must lie in the ball ||delta|| <= eps
and in the box low <= delta <= high, with low = -image and high = 1 - image. Clipping
to one and then to the other is the nearest point for linf only. The multiplier of the
ball constraint is found without sorting the breakpoints, which is slow: of the l2
ball by `numerics.rise`, of the l1 ball by `numerics.first_float`.

Everything is for ONE image of any shape (batches are the caller's `vmap`). `eps` may
be traced, zero or huge. The search is a constant to differentiation.
"""

import jax
import jax.numpy as jnp

from jaxadv.numerics import (
    check_norm,
    clip,
    finite_or_zero,
    first_float,
    flat,
    power_of_two,
    rise,
    safe_norm,
    shrink,
    take_largest,
)


def project_linf(
    delta: jax.Array, eps: jax.Array | float, low: jax.Array, high: jax.Array
) -> jax.Array:
    """The point of the linf ball and the box that is nearest to `delta`.

    Args:
      delta: any shape; NaN counts as zero.
      eps: radius >= 0.
      low, high: the box, low <= 0 <= high, broadcast against `delta`.

    Returns:
      The shape of `delta`; `delta` itself, bit for bit, where it is inside.
    """
    delta, eps, low, high = _prepare(delta, eps, low, high)
    return clip(clip(delta, low, high), -eps, eps)


def project_l2(
    delta: jax.Array, eps: jax.Array | float, low: jax.Array, high: jax.Array
) -> jax.Array:
    """The point of the l2 ball and the box that is nearest to `delta`.

    It is clip(t * delta, low, high) for the largest t in [0, 1] of norm at most eps:
    Wang et al., "Adversarial attack generation empowered by min-max optimization"
    (2021), proposition 1 with t = 1 / (1 + lambda).

    Args:
      delta: any shape; NaN counts as zero.
      eps: radius >= 0.
      low, high: the box, low <= 0 <= high, broadcast against `delta`.

    Returns:
      The shape of `delta`; `delta` itself, bit for bit, where it is inside.
    """
    shape = delta.shape
    delta, eps, low, high = _vectors(*_prepare(delta, eps, low, high))
    clipped = clip(delta, low, high)
    amount = _scale_to_l2(jnp.abs(delta), _room(delta, low, high), eps)
    moved = shrink(jnp.sign(delta) * amount, "l2", eps)
    nearest = jnp.where(safe_norm(clipped, "l2") <= eps, clipped, moved)
    return nearest.reshape(shape)


def project_l1(
    delta: jax.Array, eps: jax.Array | float, low: jax.Array, high: jax.Array
) -> jax.Array:
    """The point of the l1 ball and the box that is nearest to `delta`.

    It is sign(delta) * min(max(|delta| - t, 0), room to the box) for the smallest
    t >= 0 of norm at most eps: Croce and Hein, "Mind the box: l1-APGD for sparse
    adversarial attacks on image classifiers" (2021), proposition 2.1.

    Args:
      delta: any shape; NaN counts as zero.
      eps: radius >= 0.
      low, high: the box, low <= 0 <= high, broadcast against `delta`.

    Returns:
      The shape of `delta`; `delta` itself, bit for bit, where it is inside.
    """
    shape = delta.shape
    delta, eps, low, high = _vectors(*_prepare(delta, eps, low, high))
    clipped, room = clip(delta, low, high), _room(delta, low, high)
    size = jnp.abs(delta)

    def amount(level):
        return jnp.minimum(jnp.maximum(size - level, 0.0), room)

    before, first = first_float(
        lambda level: jnp.sum(amount(level)) <= eps, jnp.max(size)
    )
    # The level lies between two neighboring floats, and one of their spacings
    # times many entries is not negligible: interpolate between the two points.
    outer, inner = amount(before), amount(first)
    spare, gap = eps - jnp.sum(inner), jnp.sum(outer - inner)
    share = jnp.clip(spare / jnp.where(gap > 0, gap, 1.0), 0.0, 1.0)
    between = jnp.minimum(inner + share * (outer - inner), room)
    moved = shrink(jnp.sign(delta) * between, "l1", eps)
    nearest = jnp.where(safe_norm(clipped, "l1") <= eps, clipped, moved)
    return nearest.reshape(shape)


def project_l0(
    delta: jax.Array,
    k: jax.Array | float,
    low: jax.Array,
    high: jax.Array,
    pixels: bool = False,
) -> jax.Array:
    """A point of the box with at most `k` nonzero entries that is nearest to `delta`.

    Keeping an entry (clipped to the box) rather than zeroing it lowers the squared
    distance by delta^2 - (delta - clipped)^2; the `k` largest gains are kept, equal
    ones in index order. Wang et al. (2021), proposition 1; over the channels of a
    pixel the gains add up, as in Croce and Hein, "Sparse and imperceivable
    adversarial attacks" (2019).

    Args:
      delta: any shape, [..., channels] with `pixels`; NaN counts as zero.
      k: count >= 0, may be traced; its fraction is dropped.
      low, high: the box, low <= 0 <= high, broadcast against `delta`.
      pixels: count positions, all channels of one together, not single entries.

    Returns:
      The shape of `delta`; `delta` itself, bit for bit, where it is inside.
    """
    delta, k, low, high = _prepare(delta, k, low, high)
    clipped = clip(delta, low, high)
    # a^2 - (a - c)^2 = c (2a - c), scaled so that no product over- or underflows.
    peak, top = power_of_two(delta), power_of_two(clipped)
    gain = clipped / top * (2 * (delta / peak) - clipped / peak)
    used = clipped != 0
    if pixels:
        gain = jnp.sum(gain, axis=-1, keepdims=True)
        used = jnp.any(used, axis=-1, keepdims=True)
    keep = take_largest(gain, 1.0, jnp.floor(k)) > 0
    return jnp.where(keep | (jnp.sum(flat(used)) <= k), clipped, 0.0)


def maximize_linear(
    grad: jax.Array,
    norm: str,
    eps: jax.Array | float,
    low: jax.Array,
    high: jax.Array,
    pixels: bool = False,
) -> jax.Array:
    """A perturbation in the ball and the box that maximizes <grad, delta>.

    The optimum is exact for each norm: entries go as far as eps and the box allow
    ("linf"); clip(t * grad, low, high) of norm eps ("l2"); the budget is spent on
    the entries of largest |grad| up to the box ("l1", a fractional knapsack); the
    `floor(eps)` entries of largest gain go to the box ("l0").

    Args:
      grad: any shape, [..., channels] with `pixels`; NaN and infinite entries count
        as zero.
      norm: "l0", "l1", "l2" or "linf".
      eps: radius >= 0 (a count for "l0").
      low, high: the box, low <= 0 <= high, broadcast against `grad`.
      pixels: for "l0": count positions, all channels of one together.

    Returns:
      The shape of `grad`; zero where `grad` is zero.

    Raises:
      UsageError: `norm` is another name.
    """
    check_norm(norm, ("l0", "l1", "l2", "linf"))
    shape, given = grad.shape, _prepare(finite_or_zero(grad), eps, low, high)
    grad, eps, low, high = _vectors(*given) if norm in ("l1", "l2") else given
    sign, size = jnp.sign(grad), jnp.abs(grad) / power_of_two(grad)
    room = jnp.where(grad == 0, 0.0, _room(grad, low, high))
    if norm == "linf":
        return sign * jnp.minimum(room, eps)
    if norm == "l1":
        amount = take_largest(size, jnp.minimum(room, eps), eps)
        return shrink(sign * amount, "l1", eps).reshape(shape)
    if norm == "l2":
        moved = shrink(sign * _scale_to_l2(size, room, eps), "l2", eps)
        whole = safe_norm(room, "l2") <= eps
        return jnp.where(whole, sign * room, moved).reshape(shape)
    gain = size * room
    if pixels:
        gain = jnp.sum(gain, axis=-1, keepdims=True)
    return jnp.where(take_largest(gain, 1.0, jnp.floor(eps)) > 0, sign * room, 0.0)


def _prepare(delta, eps, low, high):
    """All arguments in the dtype of `delta`, which becomes finite."""
    dtype = delta.dtype
    limits = (jnp.broadcast_to(jnp.asarray(v, dtype), delta.shape) for v in (low, high))
    return jnp.nan_to_num(delta), jnp.asarray(eps, dtype), *limits


def _vectors(delta, eps, low, high):
    return flat(delta), eps, flat(low), flat(high)


def _room(delta, low, high):
    """How far each entry may go in the direction of the sign of `delta`."""
    return jnp.where(delta > 0, high, -low)


def _scale_to_l2(size, room, eps):
    """min(t * size, room) with the t for which its l2 norm is eps.

    Only meaningful if the norm exceeds eps for some t. Entries are taken relative to
    the largest one and to eps, so that no square under- or overflows; a limit of 2
    eps on an entry cannot change t.
    """
    info = jnp.finfo(size.dtype)
    unit = size / power_of_two(size)
    limit = jnp.minimum(room / jnp.maximum(eps, info.tiny), 2.0)
    top = info.max / 8 / jnp.maximum(eps, 1.0)
    scale = jnp.minimum(_scale_to_1(*jax.lax.stop_gradient((unit, limit))), top)
    return jnp.minimum(eps * scale * unit, room)


def _scale_to_1(unit, limit):
    """The t for which min(t * unit, limit) has l2 norm 1."""

    def solved(t):
        full = t * unit >= limit
        spare = 1 - jnp.sum(jnp.where(full, limit, 0.0) ** 2)
        free = safe_norm(jnp.where(full, 0.0, unit), "l2")
        found = jnp.sqrt(jnp.maximum(spare, 0.0)) / jnp.where(free > 0, free, 1.0)
        return jnp.where(free > 0, found, t)

    return rise(solved, 1 / safe_norm(unit, "l2"))
