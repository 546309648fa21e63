"""What attacks that minimize a norm share.

Such an attack searches an additive lp ball. The norm of its `threat` is minimized;
`threat.eps` only says what counts as success and may be as large as the unit box:
then every image gets its smallest perturbation, and the accuracy at any eps is the
share of images whose `size` is larger. What is returned is the smallest broken
perturbation if it is within eps, and otherwise a point of the ball.

Every point is evaluated before it counts, and a point of a step is the one that the
next step evaluates, so that none is left untested. The last `search` of the steps
halve the segment between the image and the best point.
"""

import dataclasses
import functools
from collections.abc import Callable
from typing import Any, TypeVar

import jax
import jax.numpy as jnp

from jaxadv import numerics, objectives, protocols, specs, struct
from jaxadv.attacks import base
from jaxadv.attacks.base import State

# Two programs that compute the goal of one image differ by rounding, up to about this
# share of how far the goal has to rise from the clean image.
_ROUNDING = 1e-5
# So close to the best point the search has nothing left to gain: ten halvings.
_CLOSE = 1 - 2.0**-10

Method = TypeVar("Method", bound=Callable[..., Any])


@struct.dataclass
class Smallest:
    """The broken perturbation of least norm so far.

    Attributes:
      params: [h, w, c]; zero while nothing is broken.
      size: [] its norm; infinite while nothing is broken.
      inner: [] the largest share of `params` that was tried and is not broken.
      rise: [] how far the goal is from 0 at the first point, the clean image; NaN
        before it is known.
    """

    params: jax.Array
    size: jax.Array
    inner: jax.Array
    rise: jax.Array

    @classmethod
    def none(cls, image: jax.Array) -> "Smallest":
        zero, unknown = jnp.zeros(()), jnp.full((), jnp.nan)
        return cls(jnp.zeros_like(image), jnp.full((), jnp.inf), zero, unknown)

    @property
    def found(self) -> jax.Array:
        return jnp.isfinite(self.size)

    @property
    def middle(self) -> jax.Array:
        """Half way between the best point and the largest share known to fail."""
        return (1 + self.inner) / 2 * self.params

    def rounding(self, logits: jax.Array) -> jax.Array:
        """By how much a goal must be positive for the image to be broken for sure.

        A goal is the difference of two logits, near 0 of the two largest; how far it
        rises does not change with a shift of all logits, and classes that cannot win
        have no part in it. Beside that share two units in the last place of the
        largest logit, which is all that is left of a difference of large ones.
        """
        ulps = 2 * jnp.finfo(logits.dtype).eps * jnp.abs(jnp.max(logits))
        share = _ROUNDING * self.rise
        return numerics.finite_or_zero(share) + numerics.finite_or_zero(ulps)

    def update(
        self, params: Any, size: Any, broken: jax.Array, searching: Any
    ) -> "Smallest":
        """Keeps the smaller one; `searching` says that `params` is `middle`."""
        better = broken & ((size < self.size) | searching)
        share = (1 + self.inner) / 2
        halved = jnp.where(broken, self.inner / share, share)
        kept = jnp.where(better, 0.0, self.inner)
        return Smallest(
            base.select(better, params, self.params),
            jnp.where(better, size, self.size),
            jnp.where(searching, halved, kept),
            self.rise,
        )


def begin(key: jax.Array, image: jax.Array, own: Any = None) -> State:
    """The state before the first step, at the clean image."""
    return base.begin(key, jnp.zeros_like(image), best=Smallest.none(image), own=own)


def own_steps(attack: Any) -> int:
    """The steps before the search, which shortens but cannot make a point sparser."""
    return attack.steps - (0 if attack.threat.norm == "l0" else attack.search)


def progress(attack: Any, state: State) -> jax.Array:
    """From 0 at the first step to 1 at the last one before the search."""
    return jnp.minimum(state.count / max(own_steps(attack) - 1, 1), 1.0)


def searching(attack: Any, state: State) -> jax.Array:
    """Whether this step tests the middle of the segment, and nothing else."""
    return (state.count >= own_steps(attack)) & state.best.found


def judge(
    attack: Any,
    state: State,
    params: Any,
    logits: jax.Array,
    image: jax.Array,
    label: jax.Array,
) -> Any:
    """(best, broken) after the network gave `logits` at `params`."""
    goal, best = attack.objective.goal(logits, label), state.best
    rise = jnp.where(jnp.isnan(best.rise), jnp.abs(goal), best.rise)
    best = best.replace(rise=rise)  # type: ignore[attr-defined]
    broken = goal >= best.rounding(logits)
    size = attack.threat.size(params, image)
    return best.update(params, size, broken, searching(attack, state)), broken


def proceed(
    attack: Any, state: State, best: Smallest, moved: Any, own: Any = None
) -> State:
    """The state after a step that moved to `moved`, unless the search has begun."""
    after = state.replace(count=state.count + 1, best=best)  # type: ignore
    limit = attack.threat.eps if attack.early_stop else 0.0
    search = searching(attack, after)
    params = base.select(search, best.middle, moved)
    done = (best.size <= limit) | (search & (best.inner >= _CLOSE))
    return after.replace(params=params, own=own, done=done)  # type: ignore


def finish(
    attack: Any, state: State, image: jax.Array, unbroken: str = "last"
) -> jax.Array:
    """The best perturbation if it is within eps, else a point of the ball.

    That is the projection of the best one or, if nothing was broken, of the last, or
    none where `unbroken` is "clean".
    """
    threat, best = attack.threat, state.best
    last = state.params
    if unbroken == "clean":
        last = jnp.zeros_like(last)
    nearest = threat.project(base.select(best.found, best.params, last), image)
    return base.select(best.size <= threat.eps, best.params, nearest)


def unit_direction(key: jax.Array, grad: jax.Array) -> jax.Array:
    """`grad` with l2 norm one, or a random direction where it is zero.

    Gradients vanish where a network is saturated; standing still would then look
    like robustness. Source: Rony et al. (2019), as in their code.
    """
    noise = jax.random.normal(key, grad.shape, grad.dtype)
    moves = jnp.any(numerics.flat(grad) != 0)
    return numerics.safe_normalize(jnp.where(moves, grad, noise))


def anneal(first: Any, last: Any, share: jax.Array) -> jax.Array:
    """From `first` at share 0 to `last` at share 1 along half a cosine."""
    return last + (first - last) * (1 + jnp.cos(jnp.pi * share)) / 2


def precise(method: Method) -> Method:
    """Computes in float32 at the highest matrix-multiplication precision.

    The points lie close to the decision boundary, and the drivers verify them so.
    """

    @functools.wraps(method)
    def computed(attack, first, model, *rest):
        with jax.default_matmul_precision("highest"):
            return method(attack, first, protocols.full_precision(model), *rest)

    return computed  # type: ignore[return-value]


def check_ball(attack: Any, norms: tuple[str, ...]) -> None:
    """Checks the fields of an attack, and that it can minimize its threat's norm.

    Raises:
      UsageError: a field is out of its bounds, the search has more steps than there
        are, the threat is not an additive ball of one of `norms`, or the objective is
        an expectation.
    """
    specs.check(attack)
    objectives.check_logits(attack, "judges")
    if isinstance(attack.objective, objectives.Expectation):
        raise specs.UsageError(
            f"{type(attack).__name__}.objective is an Expectation; of a random network "
            "the smallest broken point is its luckiest draw; take pgd, apgd or square"
        )
    name, threat = type(attack).__name__, attack.threat
    norm = protocols.norm(threat)
    if dataclasses.is_dataclass(threat) and norm not in norms:
        raise specs.UsageError(
            f"{name}.threat is a {type(threat).__name__}; this attack minimizes "
            f"the norm of a ball: {', '.join(norms)}"
        )
    if attack.search > attack.steps:
        raise specs.UsageError(
            f"{name}.search is {attack.search}; it must be at most the "
            f"{attack.steps} steps, which it is part of"
        )
