"""JSMA: single features set to their largest value, chosen by the logits' Jacobian."""

from typing import Any, ClassVar, NamedTuple

import jax
import jax.numpy as jnp

from jaxadv import numerics, specs, struct
from jaxadv.attacks import base
from jaxadv.attacks.minimal import boundary, common
from jaxadv.numerics import streams
from jaxadv.objectives import OBJECTIVES, Margin, TargetedMargin
from jaxadv.threats import THREATS


class Turn(NamedTuple):
    """The target in turn, the steps taken toward it, and the features left to set."""

    targets: boundary.Rivals
    number: jax.Array
    within: jax.Array
    free: jax.Array


@struct.dataclass
class Jsma:
    """Jacobian-based saliency map attack: raises features to 1, one or two in a step.

    A feature is a channel of a pixel. Of those below 1 it takes the one whose rise
    helps the target's logit and harms the sum of the others' most: the largest product
    of both effects. Where no feature does both, it takes the largest difference of the
    two effects. With `pairs` it takes the two features whose summed effects have the
    largest product, and stops where no two do both. With an untargeted objective it
    aims at the likely wrong classes in turn, each from the clean image, and returns the
    image with fewest changes that is broken. Source: Papernot et al., "The limitations
    of deep learning in adversarial settings", 2016, algorithms 2 and 3 with theta = 1;
    the single features are those of Pang et al., "Improving adversarial robustness via
    promoting ensemble diversity", 2019, in their public code. The table of pairs grows
    with the square of the features, so that it is of the `among` best ones here.

    Attributes:
      threat: an L0 ball; see `attacks.minimal` for what its eps means.
      objective: `Margin`, or `TargetedMargin` for one target.
      round_steps: steps toward one target.
      targets: how many of the most likely wrong classes are targets in turn.
      pairs: set two features in a step.
      among: of how many features, those with the largest single effects, pairs are
        formed.
      early_stop: stop at the first broken point within eps.
    """

    threat: Any = specs.part(lambda: THREATS)
    objective: Any = specs.part(lambda: OBJECTIVES, Margin())
    round_steps: int = specs.static(100, minimum=1)
    targets: int = specs.static(9, minimum=1)
    pairs: bool = specs.static(False)
    among: int = specs.static(256, minimum=2)
    early_stop: bool = specs.static(False)
    search: ClassVar[int] = 0
    restarts: ClassVar[int] = 1
    minimizes: ClassVar[bool] = True
    passes: ClassVar[tuple[int, int]] = (2, 2)

    def __post_init__(self):
        common.check_ball(self, ("l0",))
        if not isinstance(self.objective, (Margin, TargetedMargin)):
            raise specs.UsageError(
                f"Jsma.objective is a {type(self.objective).__name__}; give margin, or "
                "targeted_margin for one target"
            )

    @property
    def steps(self) -> int:
        """Steps toward all targets."""
        targeted = isinstance(self.objective, TargetedMargin)
        return self.round_steps * (1 if targeted else self.targets)

    @common.precise
    def init(
        self, key: jax.Array, model: Any, image: jax.Array, label: jax.Array
    ) -> common.State:
        logits = model(image, streams.stream(key, "network"))
        if isinstance(self.objective, TargetedMargin):
            classes = jnp.asarray(self.objective.target, jnp.int32)[None]
            targets = boundary.Rivals(classes, jnp.ones((), jnp.int32))
        else:
            targets = boundary.rivals(logits, label, self.targets)
        zero = jnp.zeros((), jnp.int32)
        state = common.begin(key, image, own=Turn(targets, zero, zero, image < 1))
        best, _ = common.judge(self, state, state.params, logits, image, label)
        return state.replace(best=best, done=best.size <= 0)  # type: ignore

    @common.precise
    def step(
        self, state: common.State, model: Any, image: jax.Array, label: jax.Array
    ) -> common.State:
        key, turn = jax.random.fold_in(state.key, state.count), state.own
        here = self.threat.apply(state.params, image)
        helps, harms = _effects(model, here, turn.targets.classes[turn.number], key)
        choose = _pair if self.pairs else _single
        chosen, some = choose(helps, harms, turn.free, self.among)
        params = jnp.where(chosen, 1 - image, state.params)
        logits = model(self.threat.apply(params, image), key)
        best, broken = common.judge(self, state, params, logits, image, label)
        free, within = turn.free & ~chosen, turn.within + 1
        # A point with as many changes as the best one has nothing left to gain.
        useless = self.threat.size(params, image) >= best.size
        ended = broken | useless | ~some | (within >= self.round_steps)
        number = turn.number + ended
        over = number >= turn.targets.number
        fresh = Turn(turn.targets, number, jnp.zeros_like(within), image < 1)
        own = base.select(
            ended & ~over, fresh, Turn(turn.targets, turn.number, within, free)
        )
        moved = jnp.where(ended & ~over, 0.0, params)
        after = common.proceed(self, state, best, moved, own=own)
        return after.replace(done=after.done | (ended & over))  # type: ignore

    def finish(
        self, state: common.State, model: Any, image: jax.Array, label: jax.Array
    ) -> Any:
        return common.finish(self, state, image)


def _effects(model, image, target, key):
    """Gradients [h, w, c] of the target's logit, and of the sum of the others'."""
    logits, pull = jax.vjp(lambda x: model(x, key), image)
    own = jax.nn.one_hot(target, len(logits), dtype=logits.dtype)
    # Of a class that is masked by -inf there is none.
    rest = jnp.where(jnp.isfinite(logits), 1.0, 0.0) * (1 - own)
    (helps,), (harms,) = pull(own), pull(rest)
    return numerics.finite_or_zero(helps), numerics.finite_or_zero(harms)


def _single(helps, harms, free, among):
    """The feature to set [h, w, c] as a mask of one, and whether there is any."""
    del among
    both = free & (helps >= 0) & (harms <= 0)
    product = jnp.where(both, helps * -harms, -jnp.inf)
    difference = jnp.where(free, helps - harms, -jnp.inf)
    some = jnp.any(numerics.flat(both))
    found = jnp.where(some, _largest(product), _largest(difference))
    return found & free, jnp.any(numerics.flat(free))


def _largest(score):
    return jnp.arange(score.size).reshape(score.shape) == jnp.argmax(
        numerics.flat(score)
    )


def _pair(helps, harms, free, among):
    """As `_single`, two features: none where no two help and harm."""
    single = jnp.where(free, helps - harms, -jnp.inf).ravel()
    kept, places = jax.lax.top_k(single, min(among, single.size))
    helps, harms = helps.ravel()[places], harms.ravel()[places]
    up, down = helps[:, None] + helps, harms[:, None] + harms
    there = jnp.isfinite(kept)
    both = (up > 0) & (down < 0) & there[:, None] & there
    both = jnp.triu(both, 1)
    score = jnp.where(both, up * -down, -jnp.inf).ravel()
    best, some = jnp.argmax(score), jnp.any(both)
    index = jnp.arange(free.size)
    first, second = places[best // len(places)], places[best % len(places)]
    chosen = ((index == first) | (index == second)) & some
    return chosen.reshape(free.shape), some
