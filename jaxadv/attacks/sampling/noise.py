"""Random search: the most broken of many random points of the threat."""

from typing import Any, ClassVar

import jax
import jax.numpy as jnp

from jaxadv import specs, struct
from jaxadv.attacks import base
from jaxadv.numerics import streams
from jaxadv.objectives import OBJECTIVES, CrossEntropy, goal_at
from jaxadv.threats import THREATS


@struct.dataclass
class NoiseState:
    key: jax.Array
    count: jax.Array
    best: base.Best
    params: Any
    done: jax.Array


@struct.dataclass
class UniformNoise:
    """Draws `steps` uniform points of the threat and keeps a broken one.

    No gradient is used: an attack that this one beats has failed.

    Attributes:
      threat: where to draw.
      objective: says what success is.
      steps: the number of draws.
      early_stop: stop at the first success.
    """

    threat: Any = specs.part(lambda: THREATS)
    objective: Any = specs.part(lambda: OBJECTIVES, CrossEntropy())
    steps: int = specs.static(10, minimum=0)
    early_stop: bool = specs.static(True)
    restarts: ClassVar[int] = 1
    passes: ClassVar[tuple[int, int]] = (1, 0)

    __post_init__ = specs.check

    def draw(self, key, image):
        """A random point of the threat."""
        return self.threat.init(key, image)

    def init(self, key, model, image, label) -> NoiseState:
        params = self.draw(key, image)
        zero = jnp.zeros((), jnp.int32)
        best = base.Best.none(params)
        return NoiseState(key, zero, best, params, jnp.zeros((), bool))

    def step(self, state: NoiseState, model, image, label) -> NoiseState:
        key = jax.random.fold_in(state.key, state.count)
        params = self.draw(key, image)
        here = self.threat.apply(params, image)
        noise = streams.stream(key, "network")
        goal = goal_at(self.objective, model, here, label, noise)
        best = state.best.update(params, goal)
        done = best.broken if self.early_stop else state.done
        return NoiseState(state.key, state.count + 1, best, params, done)

    def finish(self, state: NoiseState, model, image, label):
        return state.best.or_last(state.params)
