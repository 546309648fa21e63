"""A batch in equal parts, one after the other, so that only one is held at a time."""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp

from jaxadv.numerics.loops import repeat
from jaxadv.specs import UsageError


def split(rows: Any, count: int) -> Any:
    """Rows [b, ...] -> [count, b / count, ...], in their order.

    Raises:
      UsageError: b is not divisible by `count`.
    """

    def cut(x):
        if len(x) % count:
            raise UsageError(
                f"config.accumulate_steps is {count}, but a device has {len(x)} images "
                "of a batch, which it must divide; give another one, or another "
                "config.batch_size"
            )
        return jnp.reshape(x, (count, len(x) // count, *x.shape[1:]))

    return jax.tree.map(cut, rows)


def in_turn(
    work: Callable[[Any, Any], tuple[Any, Any]], carry: Any, parts: Any, count: int
) -> tuple[Any, Any]:
    """Works on each part, with what the ones before it have left.

    One part is done where it stands, without a loop.

    Args:
      work: (carry, part) -> (carry, found), the carry as it came in form and dtypes
        and `found` of floating-point arrays.
      carry: before the first part.
      parts: [count, ...], a pytree; made by `split`.
      count: of the parts, at least 1.

    Returns:
      The carry behind the last part, and the mean of what was found.
    """
    if count == 1:
        return work(carry, _part(parts, 0))
    form = jax.eval_shape(work, carry, _part(parts, 0))[1]
    nothing = jax.tree.map(lambda leaf: jnp.zeros(leaf.shape, leaf.dtype), form)

    def turn(now):
        number, carry, total = now
        carry, found = work(carry, _part(parts, number))
        return number + 1, carry, jax.tree.map(jnp.add, total, found)

    start = jnp.zeros((), jnp.int32), jax.tree.map(jnp.asarray, carry), nothing
    _, carry, total = repeat(count, turn, start)
    return carry, jax.tree.map(lambda leaf: leaf / count, total)


def kept(work: Callable[[Any], Any], parts: Any, count: int) -> Any:
    """[count, ...]: what `work` makes of each of the parts [count, ...], one by one."""
    if count == 1:
        return jax.tree.map(lambda leaf: leaf[None], work(_part(parts, 0)))
    form = jax.eval_shape(work, _part(parts, 0))
    empty = jax.tree.map(lambda leaf: jnp.zeros((count, *leaf.shape), leaf.dtype), form)

    def turn(now):
        number, made = now
        found = work(_part(parts, number))
        return number + 1, jax.tree.map(lambda m, f: m.at[number].set(f), made, found)

    return repeat(count, turn, (jnp.zeros((), jnp.int32), empty))[1]


def _part(parts, number):
    return jax.tree.map(lambda leaf: leaf[number], parts)
