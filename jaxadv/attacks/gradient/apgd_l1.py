"""Auto-PGD for the l1 ball: sparse steps that learn how sparse to be."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from jaxadv import numerics, specs, struct
from jaxadv.attacks import base
from jaxadv.attacks.gradient.apgd import Top
from jaxadv.objectives import OBJECTIVES, CrossEntropy
from jaxadv.threats import L1, THREATS, lp

SHRINK = 1.5  # of the step where the sparsity settles
SETTLED = 95  # fewer nonzeros than this percentage of before: not settled yet
SMALLEST = 0.1  # step, as a share of the budget


@struct.dataclass
class Stage:
    """What `ApgdL1` remembers within a stage.

    Attributes:
      size: [] step length, as a multiple of the stage's budget.
      moves: [] how many channels a step moves.
      nonzeros: [] of the best point when `moves` was last set.
      top: the point of largest objective.
    """

    size: jax.Array
    moves: jax.Array
    nonzeros: jax.Array
    top: Top


@struct.dataclass
class ApgdL1:
    """Auto-PGD in the l1 ball.

    A step moves the channels of largest gradient by equal amounts. Those at the box
    are pushed as well, because else the projection would take back what they have;
    left out, unlike in the authors' code, are the ones that the box holds at zero
    change. At the end of each period of 4 % of a stage's steps the number of moved
    channels becomes that of the best point's nonzeros over 1.5; while it still falls
    the step is the budget and the search goes on from the best point, else the step
    shrinks by 1.5. With `stages`, the first steps search larger balls and the last
    ones their own, as in the authors' AutoAttack "standard"; its other versions have
    one stage, `stages=(1.0,)` and `fractions=(1.0,)`. The start is uniform in the
    ball, theirs a projected Gaussian.

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

    def init(
        self, key: jax.Array, model: Any, image: jax.Array, label: jax.Array
    ) -> base.State:
        key, start = jax.random.split(key)
        multiple = self._plan()[0][0]
        params = self._ball(multiple).init(start, image)
        best, stage = base.Best.none(params), _entered(params)
        return base.begin(key, params, best=best, own=stage)

    def step(
        self, state: base.State, model: Any, image: jax.Array, label: jax.Array
    ) -> base.State:
        multiple, following, leaves, ends = (p[state.count] for p in self._plan())
        value, grad, best = base.look(self, state, model, image, label)
        best = base.select(multiple == 1, best, state.best)
        stage: Any = state.own
        stage = stage.replace(top=stage.top.update(state.params, grad, value))
        params, stage, grad = self._checked(state.params, stage, grad, ends)
        idle = lp.blocked(grad, params, image) & (params == 0)
        move = _sparse(jnp.where(idle, 0.0, grad), stage.moves)
        ahead = params + stage.size * self._ball(multiple).eps * move
        ahead = base.select(leaves, stage.top.params, ahead)
        params = self._ball(following).project(ahead, image)
        stage = base.select(leaves, _entered(params), stage)
        return state.after(params, best=best, own=stage, stop=self.early_stop)

    def finish(
        self, state: base.State, model: Any, image: jax.Array, label: jax.Array
    ) -> Any:
        return state.best.or_last(self.threat.project(state.params, image))

    def _plan(self):
        """Four [steps]: multiple, the next step's, where stages and periods end."""
        ends = np.round(np.cumsum(self.fractions) / sum(self.fractions) * self.steps)
        starts = np.concatenate([[0], ends[:-1]]).astype(int)
        at = np.arange(self.steps)
        stage = np.searchsorted(ends, at, side="right").clip(max=len(ends) - 1)
        after = np.append(stage[1:], stage[-1])
        period = np.maximum((0.04 * (ends - starts)).astype(int), 1)[stage]
        into = at - starts[stage]
        multiple = np.asarray(self.stages, np.float32)
        period_ends = (into > 0) & (into % period == 0)
        plan = multiple[stage], multiple[after], after != stage, period_ends
        return tuple(jnp.asarray(part) for part in plan)

    def _ball(self, multiple):
        return self.threat.replace(eps=self.threat.eps * multiple)

    def _checked(self, params, stage, grad, ends):
        """Point, stage and gradient to go on with, after a period has ended."""
        nonzeros = _nonzeros(stage.top.params)
        falling = 100 * nonzeros < SETTLED * stage.nonzeros
        shrunk = jnp.maximum(stage.size / SHRINK, SMALLEST)
        after = stage.replace(
            size=jnp.where(ends, jnp.where(falling, 1.0, shrunk), stage.size),
            moves=jnp.where(ends, _fewer(nonzeros), stage.moves),
            nonzeros=jnp.where(ends, nonzeros, stage.nonzeros),
        )
        top = stage.top.params, stage.top.grad
        params, grad = base.select(ends & falling, top, (params, grad))
        return params, after, grad


def _nonzeros(params):
    return jnp.sum(numerics.flat(params) != 0).astype(jnp.int32)


def _fewer(nonzeros):
    """Over 1.5, rounded up; in integers, as a division of floats may round past."""
    return -(-2 * nonzeros // 3)


def _entered(params):
    """The stage that starts at `params`."""
    nonzeros = _nonzeros(params)
    return Stage(jnp.ones(()), _fewer(nonzeros), nonzeros, Top.none(params))


def _sparse(grad, moves):
    """Equal moves, together of length 1, of the channels of largest gradient."""
    vector = numerics.flat(grad)
    size = jnp.abs(vector)
    _, least = numerics.first_float(
        lambda level: jnp.sum(size > level) < moves, jnp.max(size)
    )
    chosen = (size >= least) & (size > 0)
    equal = jnp.where(chosen, jnp.sign(vector), 0.0) / jnp.maximum(jnp.sum(chosen), 1)
    return equal.reshape(grad.shape)
