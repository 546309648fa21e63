"""DeepFool: steps onto the nearest linearized boundary until the class changes."""

from typing import Any, ClassVar

import jax

from jaxadv import numerics, specs, struct
from jaxadv.attacks.minimal import boundary, common
from jaxadv.numerics import streams
from jaxadv.numerics.hyperplane import NORMS
from jaxadv.objectives import OBJECTIVES, Margin
from jaxadv.threats import THREATS


@struct.dataclass
class DeepFool:
    """Crosses the nearest of the linearized class boundaries, step by step.

    Source: Moosavi-Dezfooli, Fawzi and Frossard, "DeepFool: a simple and accurate
    method to fool deep neural networks", 2016, algorithm 2 and section 3.3. Here the
    steps know the box: each is the shortest one inside it, where the paper clips
    afterwards. The steps that are left after the class has changed halve the segment
    to the image.

    Attributes:
      threat: an l1, l2 or linf ball; see `attacks.minimal` for what its eps means.
      objective: says what success is; untargeted.
      steps: at most so many, the search included.
      candidates: how many of the most likely wrong classes are considered, one
        backward pass each.
      overshoot: how far beyond the boundary a step goes, as a share of it.
      early_stop: stop at the first broken point within eps.
    """

    threat: Any = specs.part(lambda: THREATS)
    objective: Any = specs.part(lambda: OBJECTIVES, Margin())
    steps: int = specs.static(50, minimum=1)
    candidates: int = specs.static(9, minimum=1)
    overshoot: float = specs.leaf(0.02, minimum=0.0)
    early_stop: bool = specs.static(False)
    restarts: ClassVar[int] = 1
    minimizes: ClassVar[bool] = True

    def __post_init__(self):
        common.check_ball(self, NORMS)
        boundary.check_untargeted(self)

    @property
    def passes(self) -> tuple[int, int]:
        """Forward passes, backward passes of a step, with that many wrong classes."""
        return 1, self.candidates

    @property
    def search(self) -> int:
        """All steps: the search begins with the first broken point."""
        return self.steps

    @common.precise
    def init(
        self, key: jax.Array, model: Any, image: jax.Array, label: jax.Array
    ) -> common.State:
        logits = model(image, streams.stream(key, "network"))
        rivals = boundary.rivals(logits, label, self.candidates)
        return common.begin(key, image, own=rivals.classes)

    @common.precise
    def step(
        self, state: common.State, model: Any, image: jax.Array, label: jax.Array
    ) -> common.State:
        key = jax.random.fold_in(state.key, state.count)
        here = self.threat.apply(state.params, image)
        planes = boundary.linearize(model, here, label, state.own, key)
        best, _ = common.judge(self, state, state.params, planes.logits, image, label)
        planes = planes.beyond(2 * best.rounding(planes.logits))
        _, onto = boundary.nearest(planes, self.threat.norm, -here, 1 - here)
        moved = here - image + (1 + self.overshoot) * onto.delta
        moved = numerics.clip(moved, -image, 1 - image)
        return common.proceed(self, state, best, moved, own=state.own)

    def finish(
        self, state: common.State, model: Any, image: jax.Array, label: jax.Array
    ) -> Any:
        return common.finish(self, state, image)
