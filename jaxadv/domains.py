"""Weights of domains: which of K losses a worst case attends to.

A domain is a model of an ensemble, an image of a group, a transformation or a type
of attack. The min-max problem weighs their losses by a point w of the probability
simplex, less gamma / 2 * |w - 1 / K|^2, which pulls w to the average case. Source:
Wang, Zhang, Liu, Chen, Xu, Fardad and Li, "Adversarial Attack Generation Empowered
by Min-Max Optimization", 2021, eq. 4 and algorithm 1.
"""

import jax
import jax.numpy as jnp
from jax.typing import ArrayLike

from jaxadv import numerics


def uniform(count: int) -> jax.Array:
    """[count] equal weights: the average case."""
    return jnp.full((count,), 1 / count)


def ascend(
    weights: jax.Array, losses: jax.Array, step_size: ArrayLike, gamma: ArrayLike
) -> jax.Array:
    """One projected gradient step of the weights towards the larger losses.

    Args:
      weights: [..., k], on the simplex.
      losses: [..., k] of the domains; those that are not finite count as zero.
      step_size: in weight per unit of loss; beta in the source's algorithm 1.
      gamma: strength of the pull to equal weights, 0 for none.

    Returns:
      [..., k], on the simplex.
    """
    pull = gamma * (weights - 1 / weights.shape[-1])
    return numerics.project_simplex(
        weights + step_size * (numerics.finite_or_zero(losses) - pull)
    )
