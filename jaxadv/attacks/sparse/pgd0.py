"""PGD0: projected gradients on the fewest pixels, by bisection over their number."""

from typing import Any, ClassVar, NamedTuple

import jax
import jax.numpy as jnp

from jaxadv import numerics, specs, struct
from jaxadv.attacks import base
from jaxadv.attacks.minimal import common
from jaxadv.objectives import OBJECTIVES, CrossEntropy, score
from jaxadv.threats import THREATS


class Level(NamedTuple):
    """The number of pixels in use, the steps taken with it, the largest that failed."""

    pixels: jax.Array
    within: jax.Array
    failed: jax.Array


@struct.dataclass
class Pgd0:
    """Gradient steps projected onto images with few changed pixels.

    The first rounds may change `eps` pixels. After a round that breaks the image,
    which ends it, or fails, the number is bisected between the largest that failed
    and the smallest that did not; once these are neighbors, and while nothing is
    broken, further rounds are random starts. Source: Croce and Hein, "Sparse and
    imperceivable adversarial attacks", 2019, PGD_0, with the steps of Azizmalayeri
    and Rohban, "Lagrangian objective function leads to improved unforeseen attack
    generalization in adversarial training", 2021, whose code tries the numbers 1, 2,
    … in turn. Here the image itself is the first start, and no point is left untested.

    Attributes:
      threat: an L0 ball; see `attacks.minimal` for what its eps means. With `pixels`
        all channels of a pixel count once.
      objective: what to make larger.
      steps: gradient steps of all rounds.
      round_steps: steps after which a round has failed.
      step_size: l1 length of a step.
      early_stop: stop at the first broken point within eps.
    """

    threat: Any = specs.part(lambda: THREATS)
    objective: Any = specs.part(lambda: OBJECTIVES, CrossEntropy())
    steps: int = specs.static(200, minimum=1)
    round_steps: int = specs.static(20, minimum=1)
    step_size: float = specs.leaf(30000 / 255, minimum=0.0)
    early_stop: bool = specs.static(False)
    search: ClassVar[int] = 0
    restarts: ClassVar[int] = 1
    minimizes: ClassVar[bool] = True

    def __post_init__(self):
        common.check_ball(self, ("l0",))

    def init(
        self, key: jax.Array, model: Any, image: jax.Array, label: jax.Array
    ) -> common.State:
        zero = jnp.zeros((), jnp.int32)
        most = jnp.minimum(jnp.floor(self.threat.eps), image.size)
        level = Level(most.astype(jnp.float32), zero, jnp.zeros(()))
        return common.begin(key, image, own=level)

    @common.precise
    def step(
        self, state: common.State, model: Any, image: jax.Array, label: jax.Array
    ) -> common.State:
        key = jax.random.fold_in(state.key, state.count)
        key, noise_key, start_key = jax.random.split(key, 3)

        def value(params):
            here = self.threat.apply(params, image)
            return score(self.objective, model, here, label, key)

        grad = base.input_gradient(value, state.params)
        logits = model(self.threat.apply(state.params, image), key)
        best, broken = common.judge(self, state, state.params, logits, image, label)
        unit = common.unit_direction(noise_key, grad)
        unit = unit / numerics.safe_norm(unit, "l1")
        level, ended = self._level(state.own, best, broken)
        start = jax.random.uniform(start_key, image.shape) - image
        moved = base.select(ended, start, state.params + self.step_size * unit)
        moved = self.threat.replace(eps=level.pixels).project(moved, image)
        return common.proceed(self, state, best, moved, own=level)

    def finish(
        self, state: common.State, model: Any, image: jax.Array, label: jax.Array
    ) -> Any:
        return common.finish(self, state, image)

    def _level(self, level, best, broken):
        """(the level of the next step, whether the round has ended)."""
        spent = level.within + 1 >= self.round_steps
        useless = spent & ~broken & best.found
        failed = jnp.where(useless, level.pixels, level.failed)
        # A number that failed once may succeed from another start.
        failed = jnp.minimum(failed, best.size - 1)
        middle = jnp.floor((failed + best.size) / 2)
        fewer = jnp.where(middle > failed, middle, best.size - 1)
        ended = spent | broken
        pixels = jnp.where(ended & best.found, fewer, level.pixels)
        within = jnp.where(ended, 0, level.within + 1)
        return Level(pixels, within, failed), ended
