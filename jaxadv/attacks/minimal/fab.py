"""FAB: walks along the linearized decision boundary, close to the image."""

from typing import Any, ClassVar

import jax
import jax.numpy as jnp

from jaxadv import numerics, specs, struct
from jaxadv.attacks import base
from jaxadv.attacks.minimal import boundary, common
from jaxadv.numerics import streams
from jaxadv.numerics.hyperplane import NORMS, step_onto
from jaxadv.objectives import OBJECTIVES, Margin
from jaxadv.threats import THREATS


@struct.dataclass
class Fab:
    """Fast adaptive boundary attack, untargeted or class by class (FAB-T).

    A step goes onto the nearest linearized boundary, from the current point and
    from the image itself, and mixes the two; a broken point is pulled back toward
    the image. Source: Croce and Hein, "Minimally distorted adversarial examples with
    a fast adaptive boundary attack", 2020, algorithm 1; the targeted form is that of
    their "Reliable evaluation of adversarial robustness with an ensemble of diverse
    parameter-free attacks", 2020, with `targets` 9. Here the nearest boundary is the
    one at the smallest distance inside the box, and the search at the end halves a
    segment in place of three secant steps.

    Attributes:
      threat: an l1, l2 or linf ball; see `attacks.minimal` for what its eps means.
      objective: says what success is; untargeted.
      round_steps: steps from one start toward one target.
      starts: starts for each target: the image, then random points at most half as
        far away as the best one or eps.
      targets: how many of the most likely wrong classes are targets, in turn; 0 for
        the nearest class in each step. With fewer classes the rounds left over are
        further starts.
      candidates: where `targets` is 0, how many of the most likely wrong classes are
        considered, one backward pass each.
      search: further steps, which halve the segment to the image; 0 for none.
      alpha_max: largest weight of the step from the image.
      beta: what remains of a broken perturbation.
      eta: length of a step, as a multiple of that onto the boundary.
      early_stop: stop at the first broken point within eps.
    """

    threat: Any = specs.part(lambda: THREATS)
    objective: Any = specs.part(lambda: OBJECTIVES, Margin())
    round_steps: int = specs.static(100, minimum=1)
    starts: int = specs.static(1, minimum=1)
    targets: int = specs.static(0, minimum=0)
    candidates: int = specs.static(9, minimum=1)
    search: int = specs.static(10, minimum=0)
    alpha_max: float = specs.leaf(0.1, minimum=0.0, maximum=1.0)
    beta: float = specs.leaf(0.9, minimum=0.0, maximum=1.0)
    eta: float = specs.leaf(1.05, minimum=1.0)
    early_stop: bool = specs.static(False)
    restarts: ClassVar[int] = 1
    minimizes: ClassVar[bool] = True

    def __post_init__(self):
        common.check_ball(self, NORMS)
        boundary.check_untargeted(self)

    @property
    def steps(self) -> int:
        """Steps of all rounds, and of the search."""
        return self.starts * max(self.targets, 1) * self.round_steps + self.search

    @property
    def passes(self) -> tuple[int, int]:
        """Forward passes, backward passes of a step."""
        return 2, 1 if self.targets else self.candidates

    @common.precise
    def init(
        self, key: jax.Array, model: Any, image: jax.Array, label: jax.Array
    ) -> common.State:
        logits = model(image, streams.stream(key, "network"))
        rivals = boundary.rivals(logits, label, self.targets or self.candidates)
        state = common.begin(key, image, own=rivals)
        best, _ = common.judge(self, state, state.params, logits, image, label)
        return state.replace(best=best, done=best.size <= 0)  # type: ignore

    @common.precise
    def step(
        self, state: common.State, model: Any, image: jax.Array, label: jax.Array
    ) -> common.State:
        key, start_key = jax.random.split(jax.random.fold_in(state.key, state.count))
        moved = self._walk(state, model, image, label, key)
        moved = base.select(common.searching(self, state), state.best.middle, moved)
        logits = model(self.threat.apply(moved, image), key)
        best, broken = common.judge(self, state, moved, logits, image, label)
        moved = jnp.where(broken, self.beta * moved, moved)
        new_round = (state.count + 1) % self.round_steps == 0
        fresh = self._start(start_key, state, best, image)
        moved = base.select(new_round, fresh, moved)
        return common.proceed(self, state, best, moved, own=state.own)

    def finish(
        self, state: common.State, model: Any, image: jax.Array, label: jax.Array
    ) -> Any:
        return common.finish(self, state, image)

    def _walk(self, state, model, image, label, key):
        """Both steps onto the boundary near the current point, mixed."""
        here, (classes, count) = self.threat.apply(state.params, image), state.own
        if self.targets:
            turn = state.count // self.round_steps % count
            classes = classes[turn][None]
        change, norm = here - image, self.threat.norm
        planes = boundary.linearize(model, here, label, classes, key)
        planes = planes.beyond(2 * state.best.rounding(planes.logits))
        index, onto = boundary.nearest(planes, norm, -here, 1 - here)
        normal = planes.normals[index]
        gap = planes.gaps[index] - numerics.dot(normal, change)
        direct = step_onto(gap, normal, norm, -image, 1 - image)
        near, far = (numerics.safe_norm(s.delta, norm) for s in (onto, direct))
        total = near + far
        share = jnp.where(total > 0, near / jnp.where(total > 0, total, 1.0), 0.0)
        alpha = jnp.minimum(share, self.alpha_max)
        mixed = (1 - alpha) * (change + self.eta * onto.delta)
        mixed = mixed + alpha * self.eta * direct.delta
        return numerics.clip(mixed, -image, 1 - image)

    def _start(self, key, state, best, image):
        """Where the next round starts: the image, or a random point near it."""
        turns = state.own.number if self.targets else 1
        first = (state.count + 1) // self.round_steps < turns
        limit = jnp.minimum(jnp.minimum(best.size, self.threat.eps), image.size)
        ball = self.threat.replace(eps=limit / 2)
        return jnp.where(first, 0.0, ball.init(key, image))
