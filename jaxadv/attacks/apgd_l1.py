"""Auto-PGD for the l1 ball: sparse steps that learn how sparse to be."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax import struct

from jaxadv import specs
from jaxadv.attacks import base
from jaxadv.attacks.apgd import Top
from jaxadv.objectives import OBJECTIVES, CrossEntropy
from jaxadv.threats import L1, THREATS, lp

SHRINK = 1.5  # of the step where the sparsity settles; also of the sparsity itself
SETTLED = 0.95  # fewer nonzeros than this share of before: not settled yet
SMALLEST = 0.1  # step, as a share of the budget


@struct.dataclass
class ApgdL1State:
    """State of `ApgdL1`.

    Attributes:
      size: [] step length, as a multiple of the stage's budget.
      share: [] share of the channels that a step moves.
      nonzeros: [] of the best point when `share` was last set.
    """

    key: jax.Array
    count: jax.Array
    params: jax.Array
    size: jax.Array
    share: jax.Array
    nonzeros: jax.Array
    top: Top
    best: base.Best
    done: jax.Array


@struct.dataclass
class ApgdL1:
    """Auto-PGD in the l1 ball.

    A step moves the channels of largest gradient by equal amounts, of those that the
    box lets move, which the authors' code does not ask. At the end of
    each period of 4 % of a stage's steps their number becomes that of the best
    point's nonzeros over 1.5; while it still falls the step is the budget and
    the search goes on from the best point, else the step shrinks by 1.5. With
    `stages`, the first steps search larger balls and the last ones their own.

    Source: Croce and Hein, "Mind the box: l1-APGD for sparse adversarial attacks on
    image classifiers", 2021, algorithm 1 and section 4.2.

    Attributes:
      threat: an l1 ball.
      objective: what to make larger.
      steps: gradient steps of one restart.
      restarts: independent random starts.
      stages: multiples of the budget, the last one 1.
      fractions: of the steps, for each stage.
      early_stop: stop at the first success.

    Raises:
      UsageError: the threat is not `L1`, or stages and fractions do not fit.
    """

    threat: Any = specs.part(lambda: THREATS)
    objective: Any = specs.part(lambda: OBJECTIVES, CrossEntropy())
    steps: int = specs.static(100, minimum=1)
    restarts: int = specs.static(1, minimum=1)
    stages: tuple[float, ...] = specs.static((3.0, 2.0, 1.0))
    fractions: tuple[float, ...] = specs.static((0.3, 0.3, 0.4))
    early_stop: bool = specs.static(True)

    def __post_init__(self):
        specs.check(self)
        base.check_threat(self, L1)
        if len(self.stages) != len(self.fractions) or self.stages[-1:] != (1.0,):
            raise specs.UsageError(
                f"ApgdL1.stages is {self.stages} and fractions {self.fractions}; they "
                "must be equally many, and the last stage must be 1.0"
            )

    def init(self, key, model, image, label) -> ApgdL1State:
        key, start = jax.random.split(key)
        params = self._ball(0).init(start, image)
        return ApgdL1State(
            key=key,
            count=jnp.zeros((), jnp.int32),
            params=params,
            size=jnp.ones(()),
            share=jnp.ones(()),
            nonzeros=jnp.ones(()),
            top=Top.none(params),
            best=base.Best.none(params),
            done=jnp.zeros((), bool),
        )

    def step(self, state: ApgdL1State, model, image, label) -> ApgdL1State:
        multiple, enters, ends = (part[state.count] for part in self._plan())
        ball = self.threat.replace(eps=self.threat.eps * multiple)
        state = self._entered(state, enters, ball, image)
        value, grad, best = base.look(self, state, model, image, label)
        best = base.select(multiple == 1, best, state.best)
        state = state.replace(  # type: ignore[attr-defined]
            top=state.top.update(state.params, grad, value),
            best=best,
            done=best.broken if self.early_stop else state.done,
        )
        state, grad = self._checked(state, grad, ends)
        free = jnp.where(lp.blocked(grad, state.params, image), 0.0, grad)
        moved = state.params + state.size * ball.eps * _sparse(free, state.share)
        params = ball.project(moved, image)
        count = state.count + 1
        return state.replace(count=count, params=params)  # type: ignore

    def finish(self, state: ApgdL1State, model, image, label):
        return state.best.or_last(self.threat.project(state.params, image))

    def _plan(self):
        """Three [steps]: the stage's multiple, where it starts, where periods end."""
        ends = np.round(np.cumsum(self.fractions) / sum(self.fractions) * self.steps)
        starts = np.concatenate([[0], ends[:-1]]).astype(int)
        at = np.arange(self.steps)
        stage = np.searchsorted(ends, at, side="right").clip(max=len(ends) - 1)
        period = np.maximum((0.04 * (ends - starts)).astype(int), 1)[stage]
        into = at - starts[stage]
        multiple = jnp.asarray(self.stages, jnp.float32)[stage]
        ends_here = (into > 0) & (into % period == 0)
        return multiple, jnp.asarray(np.isin(at, starts)), jnp.asarray(ends_here)

    def _ball(self, stage):
        return self.threat.replace(eps=self.threat.eps * self.stages[stage])

    def _entered(self, state, enters, ball, image):
        """Goes on from the best point of the stage before, in the smaller ball."""
        last = base.select(state.count > 0, state.top.params, state.params)
        params = ball.project(last, image)
        nonzeros = jnp.sum(params != 0).astype(jnp.float32)
        fresh = state.replace(
            params=params,
            size=jnp.ones(()),
            share=nonzeros / params.size / SHRINK,
            nonzeros=nonzeros,
            top=Top.none(params),
        )
        return base.select(enters, fresh, state)

    def _checked(self, state, grad, ends):
        """The state and the gradient to go on with, after a period has ended."""
        nonzeros = jnp.sum(state.top.params != 0).astype(jnp.float32)
        falling = nonzeros < SETTLED * state.nonzeros
        shrunk = jnp.maximum(state.size / SHRINK, SMALLEST)
        back = ends & falling
        state = state.replace(
            size=jnp.where(ends, jnp.where(falling, 1.0, shrunk), state.size),
            share=jnp.where(ends, nonzeros / state.params.size / SHRINK, state.share),
            nonzeros=jnp.where(ends, nonzeros, state.nonzeros),
            params=base.select(back, state.top.params, state.params),
        )
        return state, base.select(back, state.top.grad, grad)


def _sparse(grad, share):
    """Equal moves, together of length 1, of the `share` of largest gradient."""
    size = jnp.abs(grad)
    rank = jnp.clip((1 - share) * size.size, 0, size.size - 1).astype(jnp.int32)
    least = jnp.sort(size.reshape(-1))[rank]
    chosen = (size >= least) & (size > 0)
    return jnp.where(chosen, jnp.sign(grad), 0.0) / jnp.maximum(jnp.sum(chosen), 1)
