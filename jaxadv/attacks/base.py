"""What attacks share: the state's common fields and the best point so far."""

import dataclasses
from typing import Any

import jax
import jax.numpy as jnp

from jaxadv import numerics, objectives, specs, struct


@struct.dataclass
class Best:
    """The broken point with the largest goal so far.

    Attributes:
      params: a point of the threat.
      goal: [] what `objective.goal` gave there; below 0 while nothing is broken.
    """

    params: Any
    goal: jax.Array

    @classmethod
    def none(cls, params: Any) -> "Best":
        return cls(params, jnp.full((), -jnp.inf))

    def update(self, params: Any, goal: jax.Array) -> "Best":
        """Keeps the better of the two; a NaN goal never wins."""
        better = goal > self.goal
        return Best(
            select(better, params, self.params), jnp.where(better, goal, self.goal)
        )

    @property
    def broken(self) -> jax.Array:
        return self.goal >= 0

    def or_last(self, params: Any) -> Any:
        """The broken point if there is one, else `params`."""
        return select(self.broken, self.params, params)


@struct.dataclass
class State:
    """Where a search for one image stands.

    Attributes:
      key: of the search's own randomness.
      count: [] steps taken.
      params: the point of the threat that the next step looks at.
      best: a `Best`, or what else an attack keeps of what it has found; or None.
      own: what the attack itself remembers.
      done: [] whether further steps change nothing.
    """

    key: jax.Array
    count: jax.Array
    params: Any
    best: Any
    own: Any
    done: jax.Array

    def after(
        self, params: Any, *, best: Any = None, own: Any = None, stop: bool = False
    ) -> "State":
        """The state after a step to `params`.

        Args:
          best: what has been found by now; None for what there was.
          own: what the attack remembers from now on.
          stop: whether a broken point ends the search.
        """
        best = self.best if best is None else best
        done = best.broken if stop else self.done
        return State(self.key, self.count + 1, params, best, own, done)


def begin(key: jax.Array, params: Any, *, best: Any = None, own: Any = None) -> State:
    """The state before the first step, at `params`."""
    zero, false = jnp.zeros((), jnp.int32), jnp.zeros((), bool)
    return State(key, zero, params, best, own, false)


def select(condition: Any, on_true: Any, on_false: Any) -> Any:
    """`jnp.where` over pytrees; no branch, so nothing is compiled twice."""
    return jax.tree.map(lambda a, b: jnp.where(condition, a, b), on_true, on_false)


def input_gradient(value: Any, params: Any) -> Any:
    """The gradient of `value` at `params`, zero where it is not a finite number."""
    return jax.tree.map(numerics.finite_or_zero, jax.grad(value)(params))


def normal_start(threat: Any, key: jax.Array, image: jax.Array, deviation: Any) -> Any:
    """The projection of a draw whose entries are normal, in the threat's own units."""
    # Its own start gives the form alone: both would draw from the same keys.
    leaves, structure = jax.tree.flatten(jax.eval_shape(threat.init, key, image))
    keys = jax.random.split(key, len(leaves))
    drawn = [
        deviation * jax.random.normal(k, leaf.shape, leaf.dtype)
        for k, leaf in zip(keys, leaves, strict=True)
    ]
    return threat.project(jax.tree.unflatten(structure, drawn), image)


def look(
    attack: Any, state: Any, model: Any, image: jax.Array, label: jax.Array
) -> Any:
    """The attack's objective at `state.params`, its gradient, and the best point."""
    key = jax.random.fold_in(state.key, state.count)

    def value(params):
        perturbed = attack.threat.apply(params, image)
        return objectives.score(attack.objective, model, perturbed, label, key)

    found, grad = jax.value_and_grad(value)(state.params)
    here = attack.threat.apply(state.params, image)
    goal = objectives.goal_at(attack.objective, model, here, label, key)
    grad = jax.tree.map(numerics.finite_or_zero, grad)
    return found, grad, state.best.update(state.params, goal)


def like(budget: Any, params: Any) -> Any:
    """The budget as a pytree of the structure of `params`."""
    if jax.tree.structure(budget) == jax.tree.structure(params):
        return budget
    return jax.tree.map(lambda _: budget, params)


def check_threat(attack: Any, *kinds: type) -> None:
    """Raises UsageError unless the attack's threat is of a kind that it searches."""
    threat = attack.threat
    if dataclasses.is_dataclass(threat) and not isinstance(threat, kinds):
        raise specs.UsageError(
            f"{type(attack).__name__}.threat is a {type(threat).__name__}; "
            f"this attack searches a {' or '.join(k.__name__ for k in kinds)}"
        )
