"""DDN: direction and norm of an l2 perturbation, one after the other."""

from typing import Any, ClassVar

import jax
import jax.numpy as jnp

from jaxadv import numerics, specs, struct
from jaxadv.attacks import base
from jaxadv.attacks.minimal import common
from jaxadv.numerics import streams
from jaxadv.objectives import OBJECTIVES, CrossEntropy, score
from jaxadv.threats import THREATS


@struct.dataclass
class Ddn:
    """Decoupled direction and norm, for the smallest l2 perturbation.

    The direction follows the normalized gradient; the radius shrinks by a factor
    after a broken point and grows after another, up to the box's farthest corner.
    Source: Rony et al., "Decoupling direction and norm for efficient gradient-based
    l2 adversarial attacks and defenses", 2019, algorithm 1, without the rounding to
    8 bits. Here alone: the search at the end, and by default a projected point, not
    the clean image, where nothing was broken. Their training (section 5) takes
    unbroken="clean", search=0 and 100 steps; a broken perturbation that is longer than
    the threat's eps, 1.0 on CIFAR-10 and 2.4 on MNIST, is scaled down to it.

    Attributes:
      threat: an L2 ball; see `attacks.minimal` for what its eps means.
      objective: what to make larger.
      steps: gradient steps, the search included.
      search: the last steps, which halve the segment to the image; 0 for none.
      first_radius: the radius of the first step.
      gamma: by what share the radius changes.
      step_size: length of the first step; a cosine takes it to `last_step_size`.
      last_step_size: length of the last one.
      early_stop: stop at the first broken point within eps.
      unbroken: what is returned where nothing was broken: "last", the projection of
        the last point, which evaluation wants; or "clean", the image, as the source.
    """

    threat: Any = specs.part(lambda: THREATS)
    objective: Any = specs.part(lambda: OBJECTIVES, CrossEntropy())
    steps: int = specs.static(110, minimum=1)
    search: int = specs.static(10, minimum=0)
    first_radius: float = specs.leaf(1.0, minimum=0.0)
    gamma: float = specs.leaf(0.05, minimum=0.0, maximum=1.0)
    step_size: float = specs.leaf(1.0, minimum=0.0)
    last_step_size: float = specs.leaf(0.01, minimum=0.0)
    early_stop: bool = specs.static(False)
    unbroken: str = specs.static("last", choices=("last", "clean"))
    restarts: ClassVar[int] = 1
    minimizes: ClassVar[bool] = True

    def __post_init__(self):
        common.check_ball(self, ("l2",))

    def init(
        self, key: jax.Array, model: Any, image: jax.Array, label: jax.Array
    ) -> common.State:
        radius = jnp.asarray(self.first_radius, jnp.float32)
        return common.begin(key, image, own=radius)

    @common.precise
    def step(
        self, state: common.State, model: Any, image: jax.Array, label: jax.Array
    ) -> common.State:
        key = jax.random.fold_in(state.key, state.count)
        noise = streams.stream(key, "network")

        def value(params):
            here = self.threat.apply(params, image)
            return score(self.objective, model, here, label, noise)

        grad = base.input_gradient(value, state.params)
        logits = model(self.threat.apply(state.params, image), noise)
        best, broken = common.judge(self, state, state.params, logits, image, label)
        radius = state.own * jnp.where(broken, 1 - self.gamma, 1 + self.gamma)
        radius = jnp.minimum(radius, jnp.linalg.norm(jnp.maximum(image, 1 - image)))
        share = common.progress(self, state)
        length = common.anneal(self.step_size, self.last_step_size, share)
        moved = state.params + length * common.unit_direction(key, grad)
        moved = radius * numerics.safe_normalize(moved)
        moved = numerics.clip(moved, -image, 1 - image)
        return common.proceed(self, state, best, moved, own=radius)

    def finish(
        self, state: common.State, model: Any, image: jax.Array, label: jax.Array
    ) -> Any:
        return common.finish(self, state, image, self.unbroken)
