"""The shortest way from a point of a box to a hyperplane, without leaving the box.

Attacks that follow the decision boundary replace it near the current image by the
hyperplane gap + <normal, d> = 0 and step onto it. An entry of the shortest step moves
against the sign of the gap, as far as a common level and the box allow; the level
is found by `numerics.rise`.

Everything is for ONE image of any shape (batches are the caller's `vmap`). The
search is a constant to differentiation.
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp

from jaxadv.numerics import (
    check_norm,
    finite_or_zero,
    flat,
    power_of_two,
    rise,
    take_largest,
)

NORMS = ("l1", "l2", "linf")


class Step(NamedTuple):
    """A step toward a hyperplane.

    Attributes:
      delta: in the box.
      reached: [] bool, whether it ends on the hyperplane; otherwise no point of the
        box lies on it, and the step goes to the point that is nearest to it.
    """

    delta: jax.Array
    reached: jax.Array


def step_onto(
    gap: jax.Array, normal: jax.Array, norm: str, low: jax.Array, high: jax.Array
) -> Step:
    """The shortest step d in the box with gap + <normal, d> = 0.

    Its entries are sign * min(t, room) for "linf" and sign * min(t |normal|, room)
    for "l2", with the t that reaches the hyperplane; for "l1" the entries of largest
    |normal| go to the box until the gap is closed. Where even the corner of the box
    falls short of the hyperplane, it is the step. Source: Croce and Hein, "Minimally
    distorted adversarial examples with a fast adaptive boundary attack", 2020,
    section 2.2 and appendix A.

    Args:
      gap: scalar; an infinite one is out of reach, NaN counts as zero.
      normal: any shape; NaN and infinite entries count as zero.
      norm: "l1", "l2" or "linf", whose length of d is minimized.
      low, high: the box, low <= 0 <= high, broadcast against `normal`.

    Raises:
      UsageError: `norm` is another name.
    """
    check_norm(norm, NORMS)
    shape, normal = normal.shape, finite_or_zero(flat(normal))
    dtype, scale = normal.dtype, power_of_two(normal)
    gap = jnp.where(jnp.isnan(gap), 0.0, jnp.asarray(gap, dtype))
    sign = -jnp.sign(gap) * jnp.sign(normal)
    slope = jnp.abs(normal) / scale
    limits = (flat(jnp.broadcast_to(jnp.asarray(v, dtype), shape)) for v in (low, high))
    room = _room(sign, *limits)
    # A quotient that overflows is out of reach as well.
    need = jnp.abs(gap) / scale
    reached = need <= jnp.sum(slope * room)
    amount = _amount(jnp.where(reached, need, 0.0), slope, room, norm)
    delta = sign * jnp.where(reached, amount, room)
    return Step(delta.reshape(shape), reached)


def _room(sign, low, high):
    """How far each entry may go in the direction of `sign`; 0 where that is 0."""
    return jnp.where(sign > 0, high, jnp.where(sign < 0, -low, 0.0))


def _amount(need, slope, room, norm):
    """The amounts in [0, room] of least norm with sum(slope * amount) = need."""
    if norm == "l1":
        closed = take_largest(slope, slope * room, need)
        return jnp.minimum(closed / jnp.where(slope > 0, slope, 1.0), room)

    unit = slope if norm == "l2" else jnp.ones_like(slope)
    level = _level(*jax.lax.stop_gradient((need, slope, unit, room)))
    return jnp.minimum(level * unit, room)


def _level(need, slope, unit, room):
    """The t for which the sum of slope * min(t * unit, room) is `need`."""
    most = jnp.finfo(slope.dtype).max / 8

    def solved(t):
        full = t * unit >= room
        free, moving = jnp.where(full, 0.0, slope), jnp.where(full, 0.0, unit)
        peak, top = power_of_two(free), power_of_two(moving)  # no product underflows
        gained = jnp.sum(free / peak * (moving / top))
        spare = need - jnp.sum(jnp.where(full, slope * room, 0.0))
        found = spare / peak / jnp.where(gained > 0, gained, 1.0) / top
        return jnp.where(gained > 0, jnp.minimum(found, most), t)

    return rise(solved, jnp.zeros_like(need))
