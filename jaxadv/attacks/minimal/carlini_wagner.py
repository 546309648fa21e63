"""Carlini and Wagner's l2 attack with a binary search over its constant."""

from typing import Any, ClassVar, NamedTuple

import jax
import jax.numpy as jnp
import optax

from jaxadv import numerics, specs, struct
from jaxadv.attacks import base
from jaxadv.attacks.minimal import common
from jaxadv.attacks.minimal.constants import Constant
from jaxadv.objectives import OBJECTIVES, Margin, check_start
from jaxadv.threats import THREATS


class Memory(NamedTuple):
    """A round's constant, and its Adam."""

    constant: Constant
    adam: Any


@struct.dataclass
class CarliniWagner:
    """Minimizes the squared l2 norm minus c times the margin, by Adam in the box.

    The constant c is searched in rounds; see `constants.Constant`. Source: Carlini and
    Wagner, "Towards evaluating the robustness of neural networks", 2017, sections 5
    and 6.A. Of their three ways to stay in the box this is the first, a projection
    after each step: the derivative of their tanh all but vanishes at saturated pixels.
    Here alone: the steps shrink in the course of a round, and the search at the end.

    Attributes:
      threat: an L2 ball; see `attacks.minimal` for what its eps means.
      objective: a margin that is flat from a confidence kappa on, 0 by default.
      rounds: values of the constant.
      round_steps: steps with one constant. A hundred of this length are too few for a
        robust network: on digits they end 17 % further away.
      search: further steps, which halve the segment to the image; 0 for none, and the
        image itself is then returned where no round has broken it.
      first_constant: c of the first round.
      step_size: Adam's at the start of a round; a cosine divides it by 100.
      early_stop: stop at the first broken point within eps.
    """

    threat: Any = specs.part(lambda: THREATS)
    objective: Any = specs.part(lambda: OBJECTIVES, Margin(0.0))
    rounds: int = specs.static(9, minimum=1)
    round_steps: int = specs.static(1000, minimum=1)
    search: int = specs.static(10, minimum=0)
    first_constant: float = specs.leaf(1e-3, minimum=0.0)
    step_size: float = specs.leaf(0.01, minimum=0.0)
    early_stop: bool = specs.static(False)
    restarts: ClassVar[int] = 1
    minimizes: ClassVar[bool] = True

    def __post_init__(self):
        common.check_ball(self, ("l2",))
        check_start(self, "take margin")

    @property
    def steps(self) -> int:
        """Steps of all rounds, and of the search."""
        return self.rounds * self.round_steps + self.search

    def init(
        self, key: jax.Array, model: Any, image: jax.Array, label: jax.Array
    ) -> common.State:
        constant = Constant.first(self.first_constant)
        memory = Memory(constant, optax.scale_by_adam().init(image))
        return common.begin(key, image, own=memory)

    @common.precise
    def step(
        self, state: common.State, model: Any, image: jax.Array, label: jax.Array
    ) -> common.State:
        key, memory = jax.random.fold_in(state.key, state.count), state.own

        def cost(params):
            here = self.threat.apply(params, image)
            gain = self.objective(model, here, label, key)
            return numerics.dot(params, params) - memory.constant.value * gain

        grad = base.input_gradient(cost, state.params)
        logits = model(self.threat.apply(state.params, image), key)
        best, broken = common.judge(self, state, state.params, logits, image, label)
        within = state.count % self.round_steps
        length = common.anneal(1.0, 0.01, within / self.round_steps) * self.step_size
        update: Any
        update, adam = optax.scale_by_adam().update(grad, memory.adam)
        moved = numerics.clip(state.params - length * update, -image, 1 - image)
        memory = Memory(memory.constant.after(broken, within, self.round_steps), adam)
        last = within == self.round_steps - 1
        moved = jnp.where(last, 0.0, moved)
        fresh = memory.constant.next_round(), optax.scale_by_adam().init(image)
        memory = base.select(last, Memory(*fresh), memory)
        return common.proceed(self, state, best, moved, own=memory)

    def finish(
        self, state: common.State, model: Any, image: jax.Array, label: jax.Array
    ) -> Any:
        return common.finish(self, state, image)
