"""Adam steps on the parameters of a perturbation, which may pay for its roughness."""

from typing import Any

import jax
import jax.numpy as jnp
import optax

from jaxadv import protocols, specs, struct
from jaxadv.attacks import base
from jaxadv.objectives import OBJECTIVES, Margin, check_start, goal_at
from jaxadv.threats import THREATS


@struct.dataclass
class Adam:
    """Adam steps up the objective less `penalty` times the roughness of the parameters.

    The search of StAdv and ReColorAdv in the public code of Laidlaw, Singla and Feizi,
    "Perceptual adversarial robustness", 2021, with the margin: it starts at the image
    itself, projects the parameters before each gradient, and returns the last ones.
    StAdv has learning rate 0.01 and penalty 0.0025 / eps, ReColorAdv 0.001 and
    0.0036 / eps. The penalties are those of Xiao et al., "Spatially transformed
    adversarial examples", 2018, and of Laidlaw and Feizi, "Functional adversarial
    attacks", 2019.

    Attributes:
      threat: where to look.
      objective: what to make larger, in its own units, which `penalty` is weighed
        against.
      steps: gradient steps.
      learning_rate: of Adam, in the units of the threat's parameters.
      penalty: units of the objective per unit of roughness; with 0 any threat can be
        searched.
      b1: decay of Adam's first moment.
      b2: decay of its second moment.
      keep: "last" returns the last point, "best" the most broken one visited.
      restarts: of a search that draws nothing; more than one are for random networks.

    Raises:
      UsageError: the threat has no roughness to pay for, or the objective no gradient
        at the clean image.
    """

    threat: Any = specs.part(lambda: THREATS)
    objective: Any = specs.part(lambda: OBJECTIVES, Margin())
    steps: int = specs.static(100, minimum=1)
    learning_rate: float = specs.leaf(0.01, minimum=0.0)
    penalty: float = specs.leaf(0.0, minimum=0.0)
    b1: float = specs.static(0.9, minimum=0.0, maximum=1.0)
    b2: float = specs.static(0.999, minimum=0.0, maximum=1.0)
    keep: str = specs.static("last", choices=("best", "last"))
    restarts: int = specs.static(1, minimum=1)

    def __post_init__(self):
        specs.check(self)
        check_start(self, "take margin or cross_entropy")
        rough = protocols.has_roughness(self.threat)
        if not rough and isinstance(self.penalty, int | float) and self.penalty > 0:
            raise specs.UsageError(
                f"Adam.penalty is {self.penalty}, but a {type(self.threat).__name__} "
                "has no roughness to pay for; give 0, or take stadv or recolor"
            )

    def init(
        self, key: jax.Array, model: Any, image: jax.Array, label: jax.Array
    ) -> base.State:
        form = jax.eval_shape(self.threat.init, key, image)
        params = jax.tree.map(lambda leaf: jnp.zeros(leaf.shape, leaf.dtype), form)
        moments = self._search().init(params)
        return base.begin(key, params, best=base.Best.none(params), own=moments)

    def step(
        self, state: base.State, model: Any, image: jax.Array, label: jax.Array
    ) -> base.State:
        key = jax.random.fold_in(state.key, state.count)

        def value(params):
            # Not the objective's `score`, whose units may differ from its own.
            here = self.threat.apply(params, image)
            gain = self.objective(model, here, label, key)
            if not protocols.has_roughness(self.threat):
                return gain
            return gain - self.penalty * self.threat.roughness(params)

        grad = base.input_gradient(value, state.params)
        best = state.best
        if self.keep == "best":
            here = self.threat.apply(state.params, image)
            goal = goal_at(self.objective, model, here, label, key)
            best = best.update(state.params, goal)
        moves, moments = self._search().update(grad, state.own)
        params = jax.tree.map(
            lambda p, m: p + self.learning_rate * m, state.params, moves
        )
        return state.after(self.threat.project(params, image), best=best, own=moments)

    def finish(
        self, state: base.State, model: Any, image: jax.Array, label: jax.Array
    ) -> Any:
        return state.best.or_last(state.params) if self.keep == "best" else state.params

    def _search(self):
        return optax.scale_by_adam(self.b1, self.b2, 1e-8)
