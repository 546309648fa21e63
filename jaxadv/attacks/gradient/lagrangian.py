"""The attack of Lagrangian adversarial training: a margin less what it costs."""

from typing import Any

import jax
import jax.numpy as jnp

from jaxadv import numerics, specs, struct
from jaxadv.attacks import base
from jaxadv.objectives import OBJECTIVES, Margin
from jaxadv.threats import THREATS
from jaxadv.threats.unbounded import Unbounded


@struct.dataclass
class Lagrangian:
    """Ascent of the objective minus lam times the norm of the perturbation.

    In step i of N the multiplier is lam decay^(1 - i/N), the step
    step_size decay^(i/N), and the gradient is divided by its largest magnitude. What a
    confident image can gain is worth a large perturbation, and one that is broken
    already gets almost none. The last point is returned. Source: Azizmalayeri and
    Rohban, "Lagrangian objective function leads to improved unforeseen attack
    generalization in adversarial training", 2021, algorithm 1.

    The paper's attack knows no box. Here the network is only ever shown images in
    [0, 1], and by default the perturbation stays there too: what leaves the box changes
    no image and would still be paid for. The paper's text starts with a variance of
    0.01, whose draw alone is as long as 5.5 in l2 on 32x32x3, where its perturbations
    measure 1.31 (table 7); their code starts with a deviation of 0.01, the default
    here. The text's fields are clip=False and deviation=0.1; those of the code the
    defaults with Margin(1.0). Their code also crafts with the statistics of the batch.

    Attributes:
      threat: an `Unbounded` one; its `measure` is the norm that is penalized.
      objective: what to make larger, in its own units, which `lam` is weighed against;
        the paper's is the margin.
      steps: gradient steps.
      lam: the last multiplier, units of the objective per unit of the norm, which the
        steps approach from decay times it; 2 on CIFAR-10 and 0.45 on ImageNet-100.
      step_size: of the first step, the largest change of a channel, in [0, 1] units;
        0.15 on CIFAR-10 and 0.25 on ImageNet-100.
      decay: c, by which the multiplier grows and the step shrinks.
      deviation: standard deviation of the normal start, in [0, 1] units.
      clip: keep the perturbed image in [0, 1] after the start and each step.
      restarts: independent starts; the first success is kept.
    """

    threat: Any = specs.part(lambda: THREATS, Unbounded())
    objective: Any = specs.part(lambda: OBJECTIVES, Margin())
    steps: int = specs.static(5, minimum=1)
    lam: float = specs.leaf(2.0, minimum=0.0)
    step_size: float = specs.leaf(0.15, minimum=0.0)
    decay: float = specs.leaf(0.1, minimum=0.0, maximum=1.0)
    deviation: float = specs.leaf(0.01, minimum=0.0)
    clip: bool = specs.static(True)
    restarts: int = specs.static(1, minimum=1)

    def __post_init__(self):
        specs.check(self)
        base.check_threat(self, Unbounded)

    def init(
        self, key: jax.Array, model: Any, image: jax.Array, label: jax.Array
    ) -> base.State:
        key, start = jax.random.split(key)
        params = self.deviation * jax.random.normal(start, image.shape, image.dtype)
        return base.begin(key, self._kept(params, image))

    def step(
        self, state: base.State, model: Any, image: jax.Array, label: jax.Array
    ) -> base.State:
        key = jax.random.fold_in(state.key, state.count)
        share = state.count / self.steps
        lam = self.lam * self.decay ** (1 - share)

        def value(params):
            # Not the objective's `score`, whose units may differ from its own.
            here = self.threat.apply(params, image)
            gain = self.objective(model, here, label, key)
            return gain - lam * numerics.safe_norm(params, self.threat.measure)

        grad = base.input_gradient(value, state.params)
        move = numerics.safe_normalize(grad, "linf")
        params = state.params + self.step_size * self.decay**share * move
        return state.after(self._kept(params, image))

    def finish(
        self, state: base.State, model: Any, image: jax.Array, label: jax.Array
    ) -> Any:
        return state.params

    def _kept(self, params, image):
        if self.clip:
            return self.threat.project(params, image)
        return jnp.asarray(params, image.dtype)
