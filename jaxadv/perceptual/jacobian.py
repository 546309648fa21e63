"""Products with the Jacobian of phi, and the linear systems made of them."""

from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp

from jaxadv import numerics, specs
from jaxadv.numerics import loops

DERIVATIVES = ("exact", "secant")


class Linearization(NamedTuple):
    """A function near one point.

    Attributes:
      value: the function there, [m].
      push: v -> J v, the change of the value along v.
      pull: u [m] -> J^T u.
    """

    value: jax.Array
    push: Callable[[jax.Array], jax.Array]
    pull: Callable[[jax.Array], jax.Array]

    def gram(self, v: jax.Array) -> jax.Array:
        """J^T J v: two passes of the network, both linear."""
        return self.pull(self.push(v))


def linearize(
    function: Callable[[jax.Array], jax.Array],
    point: jax.Array,
    derivative: str = "exact",
    secant_step: jax.Array | float = 1e-3,
) -> Linearization:
    """`function` [...] -> [m] linearized at `point`; the network runs forward once.

    Args:
      function: pure.
      point: any shape.
      derivative: "exact" for forward-mode derivatives; "secant" for the difference
        quotient (f(x + h v) - f(x)) / h in place of J v. J^T u is exact in both.
      secant_step: h, a multiple of v; Laidlaw, Singla and Feizi, "Perceptual
        adversarial robustness", 2021, algorithm 1, have 1e-3.

    Raises:
      UsageError: `derivative` is another name.
    """
    if derivative not in DERIVATIVES:
        raise specs.UsageError(
            f"derivative is {derivative!r}; allowed: {', '.join(DERIVATIVES)}"
        )
    if derivative == "exact":
        value, push = jax.linearize(function, point)
        transposed = jax.linear_transpose(push, point)
        return Linearization(value, push, lambda u: transposed(u)[0])
    value, pull = jax.vjp(function, point)

    def quotient(v):
        return (function(point + secant_step * v) - value) / secant_step

    return Linearization(value, quotient, lambda u: pull(u)[0])


def conjugate_gradient(
    product: Callable[[jax.Array], jax.Array], target: jax.Array, steps: int
) -> jax.Array:
    """An approximate solution d of A d = target, started at zero.

    It stops moving, for this system alone, where the residual is gone, where A has
    no curvature along the search direction, or where a number is not finite; so it
    returns finite numbers for every target, zero for zero.

    Args:
      product: v -> A v, A symmetric and positive semidefinite.
      target: any shape.
      steps: iterations, one product each.

    Source: Hestenes and Stiefel, "Methods of conjugate gradients for solving linear
    systems", 1952; five steps are those of Laidlaw, Singla and Feizi (2021).
    """
    first = numerics.dot(target, target)

    def step(state):
        solution, residual, direction, power = state
        image = product(direction)
        curvature = numerics.dot(direction, image)
        gone = power <= jnp.finfo(target.dtype).eps ** 2 * first
        moves = (curvature > 0) & ~gone & jnp.isfinite(power / _or_one(curvature))
        length = jnp.where(moves, power / _or_one(curvature), 0.0)
        stepped = solution + length * direction
        moves &= jnp.all(jnp.isfinite(numerics.flat(stepped)))
        solution = jnp.where(moves, stepped, solution)
        residual = jnp.where(moves, residual - length * image, 0.0)
        new = numerics.dot(residual, residual)
        direction = residual + jnp.where(moves, new / _or_one(power), 0.0) * direction
        return solution, residual, direction, new

    start = jnp.zeros_like(target), target, target, first
    return loops.repeat(steps, step, start)[0]


def steepest(near: Linearization, grad: jax.Array, steps: int) -> jax.Array:
    """The direction d of unit l2 norm that maximizes <grad, d> / ||J d||.

    It solves J^T J d = grad by `steps` conjugate gradients; where J has no
    curvature at all it is the gradient's own direction, and zero where that is.

    Source: Laidlaw, Singla and Feizi (2021), lemma 1 and eq. 12.
    """
    # The direction does not depend on the gradient's length, which may be tiny.
    grad = numerics.safe_normalize(grad)
    solved = conjugate_gradient(near.gram, grad, steps)
    solved = jnp.where(jnp.any(numerics.flat(solved) != 0), solved, grad)
    return numerics.safe_normalize(solved)


def _or_one(x):
    return jnp.where(x > 0, x, 1.0)
