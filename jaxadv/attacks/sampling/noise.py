"""Random search: the most broken of many random points of the threat."""

from typing import Any, ClassVar

import jax

from jaxadv import specs, struct
from jaxadv.attacks import base
from jaxadv.numerics import streams
from jaxadv.objectives import OBJECTIVES, CrossEntropy, goal_at
from jaxadv.threats import THREATS


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

    def draw(self, key: jax.Array, image: jax.Array) -> Any:
        """A random point of the threat."""
        return self.threat.init(key, image)

    def init(
        self, key: jax.Array, model: Any, image: jax.Array, label: jax.Array
    ) -> base.State:
        params = self.draw(key, image)
        return base.begin(key, params, best=base.Best.none(params))

    def step(
        self, state: base.State, model: Any, image: jax.Array, label: jax.Array
    ) -> base.State:
        key = jax.random.fold_in(state.key, state.count)
        params = self.draw(key, image)
        here = self.threat.apply(params, image)
        noise = streams.stream(key, "network")
        goal = goal_at(self.objective, model, here, label, noise)
        best = state.best.update(params, goal)
        return state.after(params, best=best, stop=self.early_stop)

    def finish(
        self, state: base.State, model: Any, image: jax.Array, label: jax.Array
    ) -> Any:
        return state.best.or_last(state.params)
