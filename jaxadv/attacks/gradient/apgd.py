"""Auto-PGD: ascent with momentum whose step halves when progress stalls."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from jaxadv import specs, struct
from jaxadv.attacks import base
from jaxadv.objectives import OBJECTIVES, CrossEntropy
from jaxadv.threats import THREATS


def checkpoints(steps: int) -> np.ndarray:
    """[steps + 1] the length of the period that ends at each step, 0 at no end.

    Periods take 22 % of the steps, then 3 % less each time, at least 6 %. Source:
    Croce and Hein, "Reliable evaluation of adversarial robustness with an ensemble
    of diverse parameter-free attacks", 2020, section 3.1.
    """
    spans = np.zeros(steps + 1, np.int32)
    percent, period, before = 22, 22, 0
    while percent < 100:
        end = -(-percent * steps // 100)
        if end > before:
            spans[end] = end - before
        period = max(period - 3, 6)
        percent, before = percent + period, end
    return spans


@struct.dataclass
class Top:
    """The point of largest objective so far.

    Attributes:
      params: the point.
      grad: the gradient there.
      value: [] the objective there.
    """

    params: Any
    grad: Any
    value: jax.Array

    @classmethod
    def none(cls, params: Any) -> "Top":
        grad = jax.tree.map(jnp.zeros_like, params)
        return cls(params, grad, jnp.full((), -jnp.inf))

    def update(self, params: Any, grad: Any, value: Any) -> "Top":
        """Keeps the better of the two; a NaN value never wins."""
        return base.select(value > self.value, Top(params, grad, value), self)


@struct.dataclass
class Pace:
    """What `Apgd` remembers between steps.

    Attributes:
      previous: the point before `params`.
      size: [] step length, as a multiple of the budget.
      value: [] the objective at `previous`.
      rises: [] steps of this period that made the objective larger.
      mark: [] largest objective at the last period's end.
      halved: [] whether the step was halved there.
      top: the point of largest objective.
    """

    previous: Any
    size: jax.Array
    value: jax.Array
    rises: jax.Array
    mark: jax.Array
    halved: jax.Array
    top: Top


@struct.dataclass
class Apgd:
    """Auto-PGD: needs no step size.

    The step starts at twice the budget. At the end of each period of `checkpoints`
    it is halved, and the search goes on from the point of largest objective, if
    fewer than a share `rho` of the steps made the objective larger, or if the step
    was not halved the last time and that largest objective has not grown since.

    Source: Croce and Hein, "Reliable evaluation of adversarial robustness with an
    ensemble of diverse parameter-free attacks", 2020, algorithm 1. The start is
    uniform in the threat, where the authors' code starts on the ball's boundary.

    Attributes:
      threat: where to look.
      objective: what to make larger; with `likely_targets` each restart has its own
        target.
      steps: gradient steps of one restart.
      restarts: independent random starts.
      rho: the share of steps that must make the objective larger.
      momentum: weight of the new step against the last movement.
      early_stop: stop at the first success.
    """

    threat: Any = specs.part(lambda: THREATS)
    objective: Any = specs.part(lambda: OBJECTIVES, CrossEntropy())
    steps: int = specs.static(100, minimum=1)
    restarts: int = specs.static(1, minimum=1)
    rho: float = specs.leaf(0.75, minimum=0.0, maximum=1.0)
    momentum: float = specs.leaf(0.75, minimum=0.0, maximum=1.0)
    early_stop: bool = specs.static(True)

    __post_init__ = specs.check

    def init(
        self, key: jax.Array, model: Any, image: jax.Array, label: jax.Array
    ) -> base.State:
        key, start = jax.random.split(key)
        params = self.threat.init(start, image)
        pace = Pace(
            previous=params,
            size=jnp.full((), 2.0),
            value=jnp.full((), jnp.inf),
            rises=jnp.zeros((), jnp.int32),
            mark=jnp.full((), -jnp.inf),
            halved=jnp.ones((), bool),
            top=Top.none(params),
        )
        return base.begin(key, params, best=base.Best.none(params), own=pace)

    def step(
        self, state: base.State, model: Any, image: jax.Array, label: jax.Array
    ) -> base.State:
        value, grad, best = base.look(self, state, model, image, label)
        pace: Any = state.own
        pace = pace.replace(
            top=pace.top.update(state.params, grad, value),
            rises=pace.rises + (value > pace.value),
        )
        params, pace, grad = self._checked(state.count, state.params, pace, grad)
        moved = self._moved(state.count, params, pace, grad, image)
        pace = pace.replace(previous=params, value=value)
        return state.after(moved, best=best, own=pace, stop=self.early_stop)

    def finish(
        self, state: base.State, model: Any, image: jax.Array, label: jax.Array
    ) -> Any:
        return state.best.or_last(state.params)

    def _checked(self, count, params, pace, grad):
        """Point, pace and gradient to go on with, after a period has ended."""
        span = jnp.asarray(checkpoints(self.steps))[count]
        few = pace.rises < self.rho * span
        stuck = ~pace.halved & (pace.top.value <= pace.mark)
        halve = (span > 0) & (few | stuck)
        ended = span > 0
        after = pace.replace(
            size=jnp.where(halve, pace.size / 2, pace.size),
            rises=jnp.where(ended, 0, pace.rises),
            mark=jnp.where(ended, pace.top.value, pace.mark),
            halved=jnp.where(ended, halve, pace.halved),
        )
        top = pace.top.params, pace.top.grad
        params, grad = base.select(halve, top, (params, grad))
        return params, after, grad

    def _moved(self, count, params, pace, grad, image):
        direction = self.threat.direction(grad, params, image)
        budget = base.like(self.threat.budget, direction)
        ahead = jax.tree.map(
            lambda p, d, b: p + pace.size * b * d, params, direction, budget
        )
        ahead = self.threat.project(ahead, image)
        weight = jnp.where(count == 0, 1.0, self.momentum)
        mixed = jax.tree.map(
            lambda p, z, old: p + weight * (z - p) + (1 - weight) * (p - old),
            params,
            ahead,
            pace.previous,
        )
        return self.threat.project(mixed, image)
