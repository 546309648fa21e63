"""FMN: projected steps in a ball whose radius closes in on the boundary."""

from typing import Any, ClassVar

import jax
import jax.numpy as jnp

from jaxadv import numerics, specs, struct
from jaxadv.attacks.minimal import common
from jaxadv.numerics import streams
from jaxadv.objectives import OBJECTIVES, Margin, check_start
from jaxadv.threats import THREATS

_DUAL = {"l0": "linf", "l1": "linf", "l2": "l2", "linf": "l1"}


@struct.dataclass
class Fmn:
    """Fast minimum-norm attack, for l0, l1, l2 and linf.

    Until a point is broken the radius is the estimated distance of the boundary;
    from then on it shrinks by a factor after a broken point and grows after another.
    Source: Pintor, Roli, Brendel and Biggio, "Fast minimum-norm adversarial attacks
    through adaptive norm constraints", 2021, algorithm 1. Here the projection is the
    exact one onto ball and box together, the first radius is taken larger by gamma
    (it could come ever closer to the boundary and not cross it), and the search at
    the end is added.

    Attributes:
      threat: an lp ball; see `attacks.minimal` for what its eps means. "l0" counts
        channels, or pixels if the threat does.
      objective: a margin: at least 0 exactly where broken.
      steps: gradient steps, the search included.
      search: the last steps, which halve the segment to the image; none for "l0".
      step_size: l2 length of the first step; a cosine divides it by 100. None for
        1, and for 100 in "l0", where a long step weighs an entry's gradient by the
        room that it has in the box.
      gamma: by what share the radius changes at first (a count by at least 1).
      last_gamma: the same at the end of a cosine.
      early_stop: stop at the first broken point within eps.
    """

    threat: Any = specs.part(lambda: THREATS)
    objective: Any = specs.part(lambda: OBJECTIVES, Margin())
    steps: int = specs.static(110, minimum=1)
    search: int = specs.static(10, minimum=0)
    step_size: float | None = specs.leaf(None, minimum=0.0)
    gamma: float = specs.leaf(0.05, minimum=0.0, maximum=1.0)
    last_gamma: float = specs.leaf(1e-4, minimum=0.0, maximum=1.0)
    early_stop: bool = specs.static(False)
    restarts: ClassVar[int] = 1
    minimizes: ClassVar[bool] = True

    def __post_init__(self):
        common.check_ball(self, tuple(_DUAL))
        check_start(self, "take margin")

    def init(
        self, key: jax.Array, model: Any, image: jax.Array, label: jax.Array
    ) -> common.State:
        return common.begin(key, image, own=jnp.full((), jnp.inf))

    @common.precise
    def step(
        self, state: common.State, model: Any, image: jax.Array, label: jax.Array
    ) -> common.State:
        key = jax.random.fold_in(state.key, state.count)
        noise = streams.stream(key, "network")
        threat, params = self.threat, state.params

        def value(params):
            return self.objective(model, threat.apply(params, image), label, noise)

        loss, grad = jax.value_and_grad(value)(params)
        grad = numerics.finite_or_zero(grad)
        logits = model(threat.apply(params, image), noise)
        best, broken = common.judge(self, state, params, logits, image, label)
        share = common.progress(self, state)
        gamma = common.anneal(self.gamma, self.last_gamma, share)
        distance = jnp.abs(loss) / numerics.safe_norm(grad, _DUAL[threat.norm])
        estimate = threat.size(params, image) + distance
        radius = self._radius(state.own, gamma, estimate, best, broken)
        radius = jnp.where(radius < image.size, radius, image.size)
        length = self._length() * common.anneal(1.0, 0.01, share)
        moved = params + length * common.unit_direction(key, grad)
        moved = threat.replace(eps=radius).project(moved, image)
        return common.proceed(self, state, best, moved, own=radius)

    def finish(
        self, state: common.State, model: Any, image: jax.Array, label: jax.Array
    ) -> Any:
        return common.finish(self, state, image)

    def _length(self):
        if self.step_size is not None:
            return self.step_size
        return 100.0 if self.threat.norm == "l0" else 1.0

    def _radius(self, radius, gamma, estimate, best, broken):
        """The radius of the next step's ball."""
        smaller, larger = (1 - gamma) * radius, (1 + gamma) * radius
        estimate = (1 + gamma) * estimate
        if self.threat.norm == "l0":
            smaller = jnp.minimum(jnp.floor(smaller), radius - 1)
            larger = jnp.maximum(jnp.floor(larger), radius + 1)
            estimate = jnp.ceil(estimate)
        outside = jnp.where(best.found, larger, estimate)
        return jnp.where(broken, jnp.minimum(smaller, best.size), outside)
