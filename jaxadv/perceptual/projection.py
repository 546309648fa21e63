"""Projections onto {x in [0, 1]: distance(x) <= bound}, one image at a time."""

from collections.abc import Callable

import jax
import jax.numpy as jnp

from jaxadv import numerics
from jaxadv.numerics import loops

Distance = Callable[[jax.Array], jax.Array]


def bisection(
    distance: Distance,
    center: jax.Array,
    point: jax.Array,
    bound: jax.Array | float,
    steps: int,
) -> jax.Array:
    """The last feasible point found between `center` and `point` by halving.

    `point` itself where it is feasible, `center` where nothing else was found.

    Args:
      distance: image [h, w, c] -> scalar, zero at `center`.
      center: [h, w, c], feasible.
      point: [h, w, c] in [0, 1].
      bound: on the distance.
      steps: halvings; `steps + 1` forward passes.

    Source: Laidlaw, Singla and Feizi, "Perceptual adversarial robustness", 2021,
    algorithm 5, which returns the last point evaluated, feasible or not.
    """
    change = point - center

    def feasible(share):
        return distance(center + share * change) <= bound

    share = numerics.bisect(feasible, 0.0, 1.0, steps)
    return center + share * change


def newton(
    distance: Distance,
    point: jax.Array,
    bound: jax.Array | float,
    steps: int,
    overshoot: jax.Array | float,
) -> jax.Array:
    """Moves `point` against the distance's gradient until it is feasible.

    A feasible point stays where it is; one that is not after `steps` steps is
    returned as it is then: follow with `bisection`.

    Args:
      distance: image [h, w, c] -> scalar.
      point: [h, w, c] in [0, 1].
      bound: on the distance.
      steps: Newton steps, one forward and one backward pass each.
      overshoot: in the distance's units, by how much each step aims below `bound`.

    Source: Laidlaw, Singla and Feizi (2021), algorithm 4, with each step's own
    gradient; the clipping to [0, 1] is their code's.
    """

    def step(x):
        value, grad = jax.value_and_grad(distance)(x)
        norm = numerics.safe_norm(grad, "l2")
        length = (value - bound + overshoot) / jnp.where(norm > 0, norm, 1.0)
        moved = numerics.clip(x - length * numerics.safe_normalize(grad), 0.0, 1.0)
        return jnp.where((value > bound) & jnp.isfinite(length), moved, x)

    return loops.repeat(steps, step, point)
