"""Grid search: the most broken point of a grid over the whole threat."""

import dataclasses
import math
from typing import Any, ClassVar

import jax

from jaxadv import protocols, specs, struct
from jaxadv.attacks import base
from jaxadv.objectives import OBJECTIVES, Margin, goal_at
from jaxadv.threats import THREATS


@struct.dataclass
class Grid:
    """Tries every point of a grid; for threats of a few parameters.

    Source: Engstrom, Tran, Tsipras, Schmidt and Madry, "Exploring the landscape of
    spatial robustness", 2019, section 3, with 31 angles and 5 x 5 shifts.

    Attributes:
      threat: one that has `grid(points) -> [n, k]`, as the rotations.
      objective: says what success is.
      points: values of each parameter; their product is the number of steps.
      early_stop: stop at the first success.
    """

    threat: Any = specs.part(lambda: THREATS)
    objective: Any = specs.part(lambda: OBJECTIVES, Margin())
    points: tuple[int, ...] = specs.static((31, 5, 5))
    early_stop: bool = specs.static(True)
    restarts: ClassVar[int] = 1
    passes: ClassVar[tuple[int, int]] = (1, 0)

    def __post_init__(self):
        specs.check(self)
        if not self.points or not all(n > 0 for n in self.points):
            raise specs.UsageError(
                f"Grid.points is {self.points}; it must hold positive numbers"
            )
        threat = self.threat
        if dataclasses.is_dataclass(threat) and not protocols.has_grid(threat):
            raise specs.UsageError(
                f"Grid.threat is a {type(threat).__name__}, which has no grid; "
                "use rotation_translation"
            )

    @property
    def steps(self) -> int:
        """The number of grid points."""
        return math.prod(self.points)

    def init(
        self, key: jax.Array, model: Any, image: jax.Array, label: jax.Array
    ) -> base.State:
        params = self.threat.grid(self.points)[0]
        return base.begin(key, params, best=base.Best.none(params))

    def step(
        self, state: base.State, model: Any, image: jax.Array, label: jax.Array
    ) -> base.State:
        params = self.threat.grid(self.points)[state.count]
        here = self.threat.apply(params, image)
        goal = goal_at(self.objective, model, here, label, state.key)
        best = state.best.update(params, goal)
        return state.after(params, best=best, stop=self.early_stop)

    def finish(
        self, state: base.State, model: Any, image: jax.Array, label: jax.Array
    ) -> Any:
        return state.best.or_last(state.params)
