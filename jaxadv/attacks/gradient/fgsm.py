"""The one-step attack that maximizes the linearized objective exactly."""

import dataclasses
from typing import Any, ClassVar

import jax
import jax.numpy as jnp

from jaxadv import protocols, specs, struct
from jaxadv.attacks import base
from jaxadv.objectives import OBJECTIVES, CrossEntropy, check_start, score
from jaxadv.threats import THREATS


@struct.dataclass
class Fgsm:
    """Moves from the clean image to the maximizer of its linear approximation.

    In the l-infinity ball this is x + eps sign(grad), clipped: the fast gradient
    sign method (Goodfellow et al., "Explaining and harnessing adversarial
    examples", 2015). In other balls it is the exact maximizer over ball and box.

    Attributes:
      threat: where to look; it must have `maximize`.
      objective: what to make larger.

    Raises:
      UsageError: the threat has no `maximize`, or the objective no gradient at the
        clean image.
    """

    threat: Any = specs.part(lambda: THREATS)
    objective: Any = specs.part(lambda: OBJECTIVES, CrossEntropy())
    steps: ClassVar[int] = 1
    restarts: ClassVar[int] = 1

    def __post_init__(self):
        threat = self.threat
        if dataclasses.is_dataclass(threat) and not protocols.has_maximizer(threat):
            raise specs.UsageError(
                f"Fgsm.threat is a {type(threat).__name__}, which has no closed-form "
                "maximizer; take an attack of several steps, such as pgd"
            )
        check_start(self, "take cross_entropy, or pgd, which starts at random")

    def init(
        self, key: jax.Array, model: Any, image: jax.Array, label: jax.Array
    ) -> base.State:
        form = jax.eval_shape(self.threat.init, key, image)
        params = jax.tree.map(lambda leaf: jnp.zeros(leaf.shape, leaf.dtype), form)
        return base.begin(key, params)

    def step(
        self, state: base.State, model: Any, image: jax.Array, label: jax.Array
    ) -> base.State:
        def value(params):
            perturbed = self.threat.apply(params, image)
            return score(self.objective, model, perturbed, label, state.key)

        grad = base.input_gradient(value, state.params)
        return state.after(self.threat.maximize(grad, image))

    def finish(
        self, state: base.State, model: Any, image: jax.Array, label: jax.Array
    ) -> Any:
        return state.params
