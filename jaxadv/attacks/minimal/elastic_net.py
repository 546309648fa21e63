"""Elastic-net attack: sparse perturbations of small l1 norm."""

from typing import Any, ClassVar, NamedTuple

import jax
import jax.numpy as jnp

from jaxadv import numerics, specs, struct
from jaxadv.attacks import base
from jaxadv.attacks.minimal import common
from jaxadv.attacks.minimal.constants import Constant
from jaxadv.objectives import OBJECTIVES, Margin, check_start
from jaxadv.threats import THREATS


class Memory(NamedTuple):
    """A round's constant, and the point ahead [h, w, c] where its gradient is taken."""

    constant: Constant
    ahead: jax.Array


@struct.dataclass
class ElasticNet:
    """Minimizes l2 norm squared plus l1 norm minus c times the margin (EAD).

    Accelerated shrinkage and thresholding: a gradient step of the smooth part from a
    point ahead of the last one, every entry then moved towards zero by `shrinkage`,
    not further, and the sum clipped to the box. Of all broken points the one of least
    l1 norm is returned (the source's L1 rule). The constant c is searched in rounds;
    see `constants.Constant`. Source: Chen, Sharma, Zhang, Yi and Hsieh, "EAD:
    elastic-net attacks to deep neural networks via adversarial examples", 2018,
    algorithm 1, whose threshold beta is not multiplied by the step size: as steps
    shrink, the l1 norm comes to weigh more. Here alone: the point ahead stays in the
    box, and the search at the end.

    Attributes:
      threat: an L1 ball; see `attacks.minimal` for what its eps means.
      objective: a margin that is flat from a confidence kappa on, 0 by default.
      rounds: values of the constant.
      round_steps: steps with one constant.
      search: further steps, which halve the segment to the image; 0 for none.
      first_constant: c of the first round.
      step_size: at the start of a round; it falls with the square root of what is
        left of the round.
      shrinkage: in [0, 1] units; the source's beta.
      early_stop: stop at the first broken point within eps.
    """

    threat: Any = specs.part(lambda: THREATS)
    objective: Any = specs.part(lambda: OBJECTIVES, Margin(0.0))
    rounds: int = specs.static(9, minimum=1)
    round_steps: int = specs.static(1000, minimum=1)
    search: int = specs.static(10, minimum=0)
    first_constant: float = specs.leaf(1e-3, minimum=0.0)
    step_size: float = specs.leaf(0.01, minimum=0.0)
    shrinkage: float = specs.leaf(1e-3, minimum=0.0)
    early_stop: bool = specs.static(False)
    restarts: ClassVar[int] = 1
    minimizes: ClassVar[bool] = True
    passes: ClassVar[tuple[int, int]] = (2, 1)

    def __post_init__(self):
        common.check_ball(self, ("l1",))
        check_start(self, "take margin")

    @property
    def steps(self) -> int:
        """Steps of all rounds, and of the search."""
        return self.rounds * self.round_steps + self.search

    def init(
        self, key: jax.Array, model: Any, image: jax.Array, label: jax.Array
    ) -> common.State:
        memory = Memory(Constant.first(self.first_constant), jnp.zeros_like(image))
        return common.begin(key, image, own=memory)

    @common.precise
    def step(
        self, state: common.State, model: Any, image: jax.Array, label: jax.Array
    ) -> common.State:
        key, memory = jax.random.fold_in(state.key, state.count), state.own

        def smooth(params):
            here = self.threat.apply(params, image)
            gain = self.objective(model, here, label, key)
            return numerics.dot(params, params) - memory.constant.value * gain

        logits = model(self.threat.apply(state.params, image), key)
        best, broken = common.judge(self, state, state.params, logits, image, label)
        within = state.count % self.round_steps
        length = self.step_size * jnp.sqrt(1 - within / self.round_steps)
        moved = memory.ahead - length * base.input_gradient(smooth, memory.ahead)
        moved = jnp.sign(moved) * jnp.maximum(jnp.abs(moved) - self.shrinkage, 0)
        moved = numerics.clip(moved, -image, 1 - image)
        ahead = moved + within / (within + 3) * (moved - state.params)
        ahead = numerics.clip(ahead, -image, 1 - image)
        memory = Memory(memory.constant.after(broken, within, self.round_steps), ahead)
        last = within == self.round_steps - 1
        moved = jnp.where(last, 0.0, moved)
        fresh = Memory(memory.constant.next_round(), jnp.zeros_like(image))
        memory = base.select(last, fresh, memory)
        return common.proceed(self, state, best, moved, own=memory)

    def finish(
        self, state: common.State, model: Any, image: jax.Array, label: jax.Array
    ) -> Any:
        return common.finish(self, state, image)
