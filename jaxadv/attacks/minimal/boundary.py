"""The decision boundary near a point, one hyperplane for each wrong class."""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from jaxadv import numerics, protocols, specs
from jaxadv.numerics.hyperplane import Step, step_onto
from jaxadv.objectives import margin


class Planes(NamedTuple):
    """Where k wrong classes pass the label's logit, to first order.

    Attributes:
      gaps: [k], the wrong class's logit minus the label's.
      normals: [k, h, w, c], their gradients.
      logits: [classes], at the point of linearization.
    """

    gaps: jax.Array
    normals: jax.Array
    logits: jax.Array

    def beyond(self, distance: jax.Array) -> "Planes":
        """The planes where the wrong classes lead by `distance`, in logits."""
        return self._replace(gaps=self.gaps - distance)


class Rivals(NamedTuple):
    """Wrong classes, the most likely one first.

    Attributes:
      classes: [k]; from place `number` on they begin anew.
      number: [] how many they are. A class with a logit of -inf is none.
    """

    classes: jax.Array
    number: jax.Array


def rivals(logits: jax.Array, label: jax.Array, most: int) -> Rivals:
    """The `most` likely wrong classes, or all of them."""
    most = min(most, logits.shape[0] - 1)
    others = jnp.where(jnp.arange(logits.shape[0]) == label, -jnp.inf, logits)
    others = jnp.nan_to_num(others, nan=0.0, neginf=-jnp.inf)
    largest, classes = jax.lax.top_k(others, most)
    count = jnp.maximum(jnp.sum(largest > -jnp.inf), 1)
    return Rivals(classes[jnp.arange(most) % count], count)


def linearize(
    model: Any, point: jax.Array, label: jax.Array, classes: jax.Array, key: jax.Array
) -> Planes:
    """The planes of `classes` [k] around `point`: one forward, k backward passes."""

    def gaps_and_logits(image):
        logits = model(image, key)
        return logits[classes] - logits[label], logits

    gaps, pull, logits = jax.vjp(gaps_and_logits, point, has_aux=True)
    (normals,) = jax.vmap(pull)(jnp.eye(len(classes), dtype=gaps.dtype))
    return Planes(gaps, numerics.finite_or_zero(normals), logits)


def nearest(
    planes: Planes, norm: str, low: jax.Array, high: jax.Array
) -> tuple[jax.Array, Step]:
    """(index, step) of the plane that the shortest step inside the box reaches.

    The most likely class where none can be reached.
    """
    steps = jax.vmap(lambda gap, normal: step_onto(gap, normal, norm, low, high))(
        planes.gaps, planes.normals
    )
    sizes = jax.vmap(lambda d: numerics.safe_norm(d, norm))(steps.delta)
    index = jnp.argmin(jnp.where(steps.reached, sizes, jnp.inf))
    return index, jax.tree.map(lambda x: x[index], steps)


def check_untargeted(attack: Any) -> None:
    """Raises UsageError where the objective has a target: classes are chosen here."""
    objective = attack.objective
    if protocols.has_goal(objective) and objective.goal is not margin:
        raise specs.UsageError(
            f"{type(attack).__name__}.objective is a {type(objective).__name__}; this "
            "attack steps to the label's own boundary: use margin"
        )
