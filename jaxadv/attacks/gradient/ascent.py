"""Projected gradient ascent: PGD, momentum PGD and their one-step relatives."""

from typing import Any

import jax
import jax.numpy as jnp
from jax.typing import ArrayLike

from jaxadv import numerics, specs, struct
from jaxadv.attacks import base
from jaxadv.objectives import OBJECTIVES, CrossEntropy, check_start, goal_at, score
from jaxadv.threats import THREATS

SCHEDULES = {
    "constant": lambda t: jnp.ones_like(t),
    "linear": lambda t: 1 - t,
    "cosine": lambda t: 0.5 * (1 + jnp.cos(jnp.pi * t)),
    "halving": lambda t: 0.5 ** jnp.floor(4 * t),
}


@struct.dataclass
class Ascent:
    """Projected steepest ascent of an objective inside a threat.

    With a random start this is PGD (Madry et al., "Towards deep learning models
    resistant to adversarial attacks", 2018); with `momentum`, MI-FGSM (Dong et
    al., "Boosting adversarial attacks with momentum", 2018, alg. 1); in an linf ball
    with direction="scaled", MPGD (Azizmalayeri and Rohban, "Lagrangian objective
    function leads to improved unforeseen attack generalization in adversarial
    training", 2021, table 4).

    Attributes:
      threat: where to look.
      objective: what to make larger.
      steps: gradient steps of one restart.
      step_size: the length of a step in the threat's own norm, or None.
      rel_step_size: the same as a fraction of the budget; exactly one is given.
      restarts: independent random starts; the first success is kept.
      momentum: decay of the accumulated l1-normalized gradients; None for none.
      random_start: start at a random point of the threat, else at the image.
      schedule: how the step shrinks over the steps: constant, linear, cosine, or
        halving (four levels).
      keep: "best" returns the most broken point visited, "last" the last one.
      direction: "steepest" steps along the threat's own steepest ascent, in an linf
        ball the sign of the gradient; "scaled" along the gradient divided by its
        largest magnitude, which is then the length of the step in linf.
      early_stop: stop at the first success; for evaluation, where only success
        counts.

    Example:
      >>> pgd = ja.Ascent(ja.Linf(8 / 255), step_size=2 / 255, steps=20, restarts=5)
      >>> stronger = pgd.replace(threat=ja.Linf(16 / 255))  # the same program
      >>> ja.Ascent(ja.Linf(0.1))
      Traceback (most recent call last):
      ...
      jaxadv.specs.UsageError: Ascent: give exactly one of step_size and rel_step_size
    """

    threat: Any = specs.part(lambda: THREATS)
    objective: Any = specs.part(lambda: OBJECTIVES, CrossEntropy())
    steps: int = specs.static(10, minimum=0)
    step_size: float | None = specs.leaf(None, minimum=0.0, replaces="rel_step_size")
    rel_step_size: float | None = specs.leaf(None, minimum=0.0, replaces="step_size")
    restarts: int = specs.static(1, minimum=1)
    momentum: float | None = specs.leaf(None, minimum=0.0)
    random_start: bool = specs.static(True)
    schedule: str = specs.static("constant", choices=tuple(SCHEDULES))
    keep: str = specs.static("best", choices=("best", "last"))
    early_stop: bool = specs.static(False)
    direction: str = specs.static("steepest", choices=("steepest", "scaled"))

    def __post_init__(self):
        specs.check(self)
        if (self.step_size is None) == (self.rel_step_size is None):
            raise specs.UsageError(
                "Ascent: give exactly one of step_size and rel_step_size"
            )
        if not self.random_start:
            check_start(self, "set random_start to True")

    def init(
        self, key: jax.Array, model: Any, image: jax.Array, label: jax.Array
    ) -> base.State:
        key, start = jax.random.split(key)
        params = self.threat.init(start, image)
        if not self.random_start:
            params = jax.tree.map(jnp.zeros_like, params)
        velocity = None
        if self.momentum is not None:
            velocity = jax.tree.map(jnp.zeros_like, params)
        return base.begin(key, params, best=base.Best.none(params), own=velocity)

    def step(
        self, state: base.State, model: Any, image: jax.Array, label: jax.Array
    ) -> base.State:
        key = jax.random.fold_in(state.key, state.count)

        def value(params):
            here = self.threat.apply(params, image)
            return score(self.objective, model, here, label, key)

        params = state.params
        grad = base.input_gradient(value, params)
        grad, velocity = self._accumulate(grad, state.own)
        best = state.best
        if self.keep == "best" or self.early_stop:
            here = self.threat.apply(params, image)
            goal = goal_at(self.objective, model, here, label, key)
            best = best.update(params, goal)
        move = self.move(self.along(grad, params, image), state.count)
        params = jax.tree.map(jnp.add, params, move)
        params = self.threat.project(params, image)
        return state.after(params, best=best, own=velocity, stop=self.early_stop)

    def finish(
        self, state: base.State, model: Any, image: jax.Array, label: jax.Array
    ) -> Any:
        if self.keep == "last" and not self.early_stop:
            return state.params
        return state.best.or_last(state.params)

    def along(self, grad: Any, params: Any, image: jax.Array) -> Any:
        """What a finite gradient is turned into, before `move` gives it a length."""
        if self.direction == "scaled":
            return _scaled(grad)
        return self.threat.direction(grad, params, image)

    def move(self, direction: Any, count: ArrayLike = 0) -> Any:
        """`direction`, of the threat's norm 1, times the length of step `count`."""
        shrink = SCHEDULES[self.schedule](jnp.asarray(count) / max(self.steps, 1))
        if self.step_size is not None:
            return jax.tree.map(lambda d: shrink * self.step_size * d, direction)
        budget = base.like(self.threat.budget, direction)
        return jax.tree.map(
            lambda d, b: shrink * self.rel_step_size * b * d, direction, budget
        )

    def _accumulate(self, grad, velocity):
        if self.momentum is None:
            return grad, None
        total = sum(numerics.safe_norm(g, "l1") for g in jax.tree.leaves(grad))
        scale = jnp.where(total > 0, 1 / jnp.where(total > 0, total, 1.0), 0.0)
        velocity = jax.tree.map(
            lambda v, g: self.momentum * v + scale * g, velocity, grad
        )
        return velocity, velocity


def _scaled(grad):
    """All parts of `grad` divided by the largest magnitude of any of them."""
    leaves = jax.tree.leaves(grad)
    peak = jnp.max(jnp.stack([numerics.safe_norm(g, "linf") for g in leaves]))
    # XLA multiplies by the reciprocal, which of a subnormal peak would be infinite.
    scale = numerics.power_of_two(peak)
    peak = jnp.where(peak > 0, peak / scale, 1.0)
    return jax.tree.map(lambda g: g / scale / peak, grad)
