"""Lagrangian perceptual attacks: LPA and its fast form for training.

Both ascend L(x) - lam max(0, d(x) - eps), d the LPIPS distance to the clean image,
along the normalized gradient by steps of a given LPIPS length.

Source: Laidlaw, Singla and Feizi, "Perceptual adversarial robustness: defense
against unseen threat models", 2021, algorithms 2 and 3. Where their code differs
from the paper the paper is followed, and the code's way is an option: steps counted
from 0 (`count_from`), a `damping` of the measured derivative, and the secant
(`threat.derivative`). As in their code every point is clipped to [0, 1], here the
random start too; here alone a step of `eps` is never longer than the diameter of the
unit box (`LpipsBall.limited`), and LPA's multiplier grows by the distance after a
round's last step, not before it.
"""

from typing import Any, ClassVar, NamedTuple

import jax
import jax.numpy as jnp

from jaxadv import classifier, numerics, specs, struct
from jaxadv.attacks import base
from jaxadv.objectives import OBJECTIVES, Margin, goal_at
from jaxadv.perceptual import jacobian
from jaxadv.threats import THREATS
from jaxadv.threats.lpips import LpipsBall


class Move(NamedTuple):
    """One step of a Lagrangian attack, and what was seen before it.

    Attributes:
      params: after the step, a perturbation kept in the unit box.
      distance: [] LPIPS distance to the clean image before the step.
      lam: [] the multiplier that was used.
    """

    params: jax.Array
    distance: jax.Array
    lam: jax.Array


def move(
    attack: Any,
    multiplier: Any,
    length: Any,
    params: Any,
    model: Any,
    image: jax.Array,
    label: jax.Array,
    key: jax.Array,
) -> Move:
    """A step of `length` LPIPS units up the Lagrangian.

    Args:
      attack: gives threat, objective, `secant_step` and `damping`.
      multiplier: distance [] -> lam []; no gradient flows through it.
      length: in the distance's units.
      params: [h, w, c], the perturbation.
      model, image, label, key: as an objective takes them.
    """
    threat = attack.threat

    def value(delta):
        here = threat.apply(delta, image)
        once = classifier.seen(model, here)
        distance = threat.attacking(once).distance(image, here)
        lam = multiplier(jax.lax.stop_gradient(distance))
        excess = jax.nn.relu(distance - threat.eps)
        goal = attack.objective(once, here, label, key)
        return goal - lam * excess, (distance, lam)

    grad, (distance, lam) = jax.grad(value, has_aux=True)(params)
    unit = numerics.safe_normalize(numerics.finite_or_zero(grad))
    here = threat.apply(params, image)
    near = jacobian.linearize(threat.embed, here, threat.derivative, attack.secant_step)
    speed = numerics.safe_norm(near.push(unit), "l2") + attack.damping
    moved = here + length / threat.limited(speed, image) * unit
    return Move(numerics.clip(moved, 0.0, 1.0) - image, distance, lam)


@struct.dataclass
class FastLpa:
    """Fast-LPA, the attack of perceptual adversarial training (algorithm 3).

    It may end outside the ball, which does no harm in training; an evaluation needs
    `project`, and counts what lies outside as unbroken.

    Attributes:
      threat: an LpipsBall.
      objective: what to make larger.
      steps: gradient steps.
      first_step: length of a step at t = 0, as a fraction of eps.
      step_decay: factor on the length from t = 0 to t = steps; 1 for none (Table 6).
      first_lam: the multiplier at t = 0.
      lam_growth: factor on it from t = 0 to t = steps; 1 for none (Table 6).
      count_from: the first t: 1 in the paper, 0 in the authors' code.
      secant_step: h where the threat's derivative is "secant".
      damping: added to the measured derivative; 1e-4 in the authors' code.
      project: end with a projection (Table 7).
    """

    threat: Any = specs.part(lambda: THREATS)
    objective: Any = specs.part(lambda: OBJECTIVES, Margin())
    steps: int = specs.static(10, minimum=0)
    first_step: float = specs.leaf(1.0, minimum=0.0)
    step_decay: float = specs.leaf(0.1, minimum=0.0)
    first_lam: float = specs.leaf(1.0, minimum=0.0)
    lam_growth: float = specs.leaf(10.0, minimum=0.0)
    count_from: int = specs.static(1, choices=(0, 1))
    secant_step: float = specs.leaf(0.1, minimum=0.0)
    damping: float = specs.leaf(0.0, minimum=0.0)
    project: bool = specs.static(False)
    restarts: ClassVar[int] = 1
    passes: ClassVar[tuple[int, int]] = (2, 1)

    def __post_init__(self):
        specs.check(self)
        base.check_threat(self, LpipsBall)

    def init(
        self, key: jax.Array, model: Any, image: jax.Array, label: jax.Array
    ) -> base.State:
        key, start = jax.random.split(key)
        return base.begin(key, _noise(self.threat, start, image))

    def step(
        self, state: base.State, model: Any, image: jax.Array, label: jax.Array
    ) -> base.State:
        key = jax.random.fold_in(state.key, state.count)
        share = (state.count + self.count_from) / max(self.steps, 1)
        lam = self.first_lam * self.lam_growth**share
        length = self.threat.eps * self.first_step * self.step_decay**share
        with jax.default_matmul_precision("highest"):
            moved = move(
                self, lambda _: lam, length, state.params, model, image, label, key
            )
        return state.after(moved.params)

    def finish(
        self, state: base.State, model: Any, image: jax.Array, label: jax.Array
    ) -> Any:
        if self.project:
            return self.threat.project(state.params, image)
        return state.params


@struct.dataclass
class Lpa:
    """LPA: a search over the multiplier in rounds of steps (algorithm 2).

    The multiplier grows after a round that ended outside the ball; the point is
    carried on from round to round. Each image stops, by itself, at its first point
    that is misclassified inside the ball, and that point is returned; the others
    end with a projection of the last one.

    Attributes:
      threat: an LpipsBall.
      objective: what to make larger; the paper has no kappa, the code 1.
      rounds: values of the multiplier that are tried.
      round_steps: gradient steps of a round.
      restarts: independent random starts; the first success is kept.
      first_step: length of a step at t = 0 of a round, as a fraction of eps.
      step_decay: factor on the length from t = 0 to t = round_steps.
      first_lam: the multiplier of the first round.
      lam_growth: factor on it after a round that ended outside.
      count_from: the first t: 1 in the paper, 0 in the authors' code.
      secant_step: h where the threat's derivative is "secant".
      damping: added to the measured derivative; 1e-8 in the authors' code.
      early_stop: stop at the first success; otherwise go on, and return the most
        broken of the points inside the ball that a step started from.
    """

    threat: Any = specs.part(lambda: THREATS)
    objective: Any = specs.part(lambda: OBJECTIVES, Margin(1.0))
    rounds: int = specs.static(5, minimum=1)
    round_steps: int = specs.static(40, minimum=1)
    restarts: int = specs.static(1, minimum=1)
    first_step: float = specs.leaf(1.0, minimum=0.0)
    step_decay: float = specs.leaf(0.1, minimum=0.0)
    first_lam: float = specs.leaf(0.01, minimum=0.0)
    lam_growth: float = specs.leaf(10.0, minimum=0.0)
    count_from: int = specs.static(1, choices=(0, 1))
    secant_step: float = specs.leaf(0.1, minimum=0.0)
    damping: float = specs.leaf(0.0, minimum=0.0)
    early_stop: bool = specs.static(True)
    passes: ClassVar[tuple[int, int]] = (2, 1)

    def __post_init__(self):
        specs.check(self)
        base.check_threat(self, LpipsBall)

    @property
    def steps(self) -> int:
        """Gradient steps of all rounds."""
        return self.rounds * self.round_steps

    def init(
        self, key: jax.Array, model: Any, image: jax.Array, label: jax.Array
    ) -> base.State:
        key, start = jax.random.split(key)
        params = _noise(self.threat, start, image)
        lam = jnp.asarray(self.first_lam, jnp.float32)
        return base.begin(key, params, best=base.Best.none(params), own=lam)

    def step(
        self, state: base.State, model: Any, image: jax.Array, label: jax.Array
    ) -> base.State:
        key = jax.random.fold_in(state.key, state.count)
        within = state.count % self.round_steps
        share = (within + self.count_from) / self.round_steps
        length = self.threat.eps * self.first_step * self.step_decay**share
        new_round = (within == 0) & (state.count > 0)

        def multiplier(distance):
            grows = new_round & (distance > self.threat.eps)
            return jnp.where(grows, self.lam_growth * state.own, state.own)

        params = state.params
        with jax.default_matmul_precision("highest"):
            moved = move(self, multiplier, length, params, model, image, label, key)
            here = self.threat.apply(params, image)
            goal = goal_at(self.objective, model, here, label, key)
        inside = moved.distance <= self.threat.inner
        best = state.best.update(params, jnp.where(inside, goal, -jnp.inf))
        return state.after(moved.params, best=best, own=moved.lam, stop=self.early_stop)

    def finish(
        self, state: base.State, model: Any, image: jax.Array, label: jax.Array
    ) -> Any:
        return state.best.or_last(self.threat.project(state.params, image))


def _noise(threat, key, image):
    """The random start, which these attacks do not project."""
    moved = image + threat.start * jax.random.normal(key, image.shape)
    return numerics.clip(moved, 0.0, 1.0) - image
