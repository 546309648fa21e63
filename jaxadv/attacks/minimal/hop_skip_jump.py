"""HopSkipJump: a walk along the boundary by the network's decisions alone."""

from typing import Any, ClassVar

import jax
import jax.numpy as jnp

from jaxadv import numerics, specs, struct
from jaxadv.attacks import base
from jaxadv.attacks.minimal import common
from jaxadv.numerics import streams
from jaxadv.objectives import OBJECTIVES, Margin, goal_at
from jaxadv.threats import THREATS

# What a query is for: the clean image; a random image; a point of the segment from the
# image to a random one, or to a point that was jumped to; a point a little outside of
# the segment's boundary; one beside the boundary; one that is jumped to.
CLEAN, DRAW, BLEND, BISECT, CONFIRM, PROBE, JUMP = range(7)
# The share of a segment to which a random image is drawn near in linf.
_BLENDED = 1e-3
# So close to the boundary two programs in float32 need not decide alike.
_FINEST = 2.0**-16


@struct.dataclass
class Walk:
    """Where a walk stands, and what the query at `state.params` is for.

    Attributes:
      phase: [] a number from `CLEAN` to `JUMP`.
      turn: [] jumps that are complete, and one.
      far: [h, w, c] the broken end of the segment.
      near: [h, w, c] the last broken point of the segment that was queried.
      low: [] the largest share of the segment known to fail.
      high: [] the share of `near`.
      probes: [] points beside `near` that were queried.
      broken: [] how many of them are broken.
      total: [h, w, c] the sum of their differences from `near`.
      pull: [h, w, c] the sum over the broken ones.
      direction: [h, w, c] of the jump.
      length: [] of the jump.
    """

    phase: jax.Array
    turn: jax.Array
    far: jax.Array
    near: jax.Array
    low: jax.Array
    high: jax.Array
    probes: jax.Array
    broken: jax.Array
    total: jax.Array
    pull: jax.Array
    direction: jax.Array
    length: jax.Array

    @classmethod
    def first(cls, image: jax.Array) -> "Walk":
        field, zero = jnp.zeros_like(image), jnp.zeros(())
        count = jnp.zeros((), jnp.int32)
        ends = field, field, zero, zero
        return cls(
            count + CLEAN, count + 1, *ends, zero, zero, field, field, field, zero
        )

    def along(self, far: Any, phase: int) -> Any:
        """Begins to halve the segment from the image to `far`."""
        zero, one = jnp.zeros(()), jnp.ones(())
        return self._with(phase, far=far, near=far, low=zero, high=one)

    def _with(self, phase: int, **fields: Any) -> Any:
        number = jnp.full((), phase, jnp.int32)
        return self.replace(phase=number, **fields)  # type: ignore[attr-defined]

    def halved(self, params: Any, broken: Any) -> Any:
        """After the query at the middle of what is left of the segment."""
        middle = (self.low + self.high) / 2
        return self.replace(  # type: ignore[attr-defined]
            near=base.select(broken, params, self.near),
            low=jnp.where(broken, self.low, middle),
            high=jnp.where(broken, middle, self.high),
        )

    def probing(self) -> Any:
        """Begins to look beside `near`."""
        zero, field = jnp.zeros(()), jnp.zeros_like(self.near)
        sums = {"probes": zero, "broken": zero, "total": field, "pull": field}
        return self._with(PROBE, **sums)

    def probed(self, params: Any, broken: Any) -> Any:
        """After the query at a point beside `near`."""
        moved = params - self.near
        return self.replace(  # type: ignore[attr-defined]
            probes=self.probes + 1,
            broken=self.broken + broken,
            total=self.total + moved,
            pull=self.pull + jnp.where(broken, moved, 0.0),
        )

    @property
    def gradient(self) -> jax.Array:
        """The estimated direction in which the goal rises, of any length.

        The mean of sign times difference, where the mean sign is subtracted from the
        signs: their variance is smaller. Where all signs are equal it is the mean.
        """
        share = self.broken / self.probes
        mixed = self.pull - share * self.total
        alike = jnp.where(share > 0, self.total, -self.total)
        return jnp.where((share > 0) & (share < 1), mixed, alike)


@struct.dataclass
class HopSkipJump:
    """HopSkipJump, for l2 and linf: of the network only its decisions are used.

    A decision is whether the goal is at least 0. The clean image is the first query;
    random images, uniform in the box, follow until one is broken. Halving the segment
    to the image leads from it to the boundary; in linf the change is first scaled, and
    then clipped. From there on, in turns, the broken share of points beside the
    boundary estimates the gradient, a jump along it, halved until it is broken, leaves
    the boundary, and halving leads back. Each step is one query, so `steps` is their
    number; where no random image is broken, all of them are spent on random images.
    Source: Chen, Jordan and Wainwright, "HopSkipJumpAttack: a query-efficient
    decision-based attack", 2020, algorithm 2, with the constants of the public code.
    Different here: segments are halved to a share of 2^-16 at most, which float32 tells
    apart, and a query beyond the end of a halving confirms what is returned.

    Attributes:
      threat: an l2 or linf ball; see `attacks.minimal` for what its eps means.
      objective: only whether its goal is at least 0 is used.
      steps: queries.
      init_evals: points that estimate the first gradient; the t-th takes sqrt(t) times
        as many.
      max_evals: the most points that estimate a gradient.
      gamma: scales how near to the boundary the walk stays. In images of d channels,
        segments are halved to the share gamma / d^1.5 in l2 and gamma / d^2 in linf;
        the points beside the boundary lie gamma / d times the distance that the last
        jump had from the image, and 0.1 at first.
      early_stop: stop at the first broken point within eps.
    """

    threat: Any = specs.part(lambda: THREATS)
    objective: Any = specs.part(lambda: OBJECTIVES, Margin())
    steps: int = specs.static(10_000, minimum=1)
    init_evals: int = specs.static(100, minimum=1)
    max_evals: int = specs.static(10_000, minimum=1)
    gamma: float = specs.leaf(1.0, minimum=0.0)
    early_stop: bool = specs.static(False)
    search: ClassVar[int] = 0
    restarts: ClassVar[int] = 1
    minimizes: ClassVar[bool] = True
    passes: ClassVar[tuple[int, int]] = (1, 0)

    def __post_init__(self):
        common.check_ball(self, ("l2", "linf"))

    def init(
        self, key: jax.Array, model: Any, image: jax.Array, label: jax.Array
    ) -> common.State:
        return common.begin(key, image, own=Walk.first(image))

    @common.precise
    def step(
        self, state: common.State, model: Any, image: jax.Array, label: jax.Array
    ) -> common.State:
        key = jax.random.fold_in(state.key, state.count)
        noise = streams.stream(key, "network")
        here, walk = self.threat.apply(state.params, image), state.own
        # Not by `common.judge`, whose allowance for rounding is of the logits' values.
        broken = goal_at(self.objective, model, here, label, noise) >= 0
        counts, found = _confirmed(walk, state.params)
        size = self.threat.size(found, image)
        best = state.best.update(found, size, broken & counts, False)
        walk = self._walked(walk, state.params, broken, image)
        params = self._point(walk, key, image)
        return common.proceed(self, state, best, params, own=walk)

    def finish(
        self, state: common.State, model: Any, image: jax.Array, label: jax.Array
    ) -> Any:
        return common.finish(self, state, image)

    def _walked(self, walk, params, broken, image):
        """The walk after the query at `params`, whatever its phase was."""
        halved, probed = walk.halved(params, broken), walk.probed(params, broken)
        gap = halved.high - halved.low
        first = BLEND if self.threat.norm == "linf" else BISECT
        landed = walk.along(params, BISECT).replace(turn=walk.turn + 1)
        after = {
            CLEAN: walk._with(DRAW),
            DRAW: base.select(broken, walk.along(params, first), walk),
            BLEND: base.select(
                gap <= _BLENDED, halved.along(halved.near, BISECT), halved
            ),
            BISECT: base.select(
                gap <= self._share(image), halved._with(CONFIRM), halved
            ),
            CONFIRM: walk.probing(),
            PROBE: base.select(
                probed.probes >= self._evaluations(walk),
                self._aimed(probed, image),
                probed,
            ),
            JUMP: base.select(broken, landed, walk.replace(length=walk.length / 2)),
        }
        found = walk
        for phase, other in after.items():
            found = base.select(walk.phase == phase, other, found)
        return found

    def _aimed(self, walk, image):
        """The walk before its jump."""
        direction = numerics.safe_normalize(walk.gradient)
        if self.threat.norm == "linf":
            direction = jnp.sign(direction)
        length = self.threat.size(walk.near, image) / jnp.sqrt(walk.turn)
        return walk._with(JUMP, direction=direction, length=length)

    def _point(self, walk, key, image):
        """What the next query is at."""
        draw, beside = jax.random.split(key)
        halved = (walk.low + walk.high) / 2
        linf = self.threat.norm == "linf"
        segment = _clipped if linf else _scaled
        if linf:
            noise = jax.random.uniform(beside, image.shape, minval=-1.0, maxval=1.0)
        else:
            noise = jax.random.normal(beside, image.shape)
        probe = numerics.safe_normalize(noise)
        distance = self.threat.size(walk.far, image)
        radius = jnp.where(walk.turn == 1, 0.1, self.gamma / image.size * distance)
        points = {
            DRAW: jax.random.uniform(draw, image.shape) - image,
            BLEND: _scaled(walk.far, halved),
            BISECT: segment(walk.far, halved),
            CONFIRM: segment(walk.far, jnp.minimum(walk.high + _FINEST, 1.0)),
            PROBE: walk.near + radius * probe,
            JUMP: walk.near + walk.length * walk.direction,
        }
        found = jnp.zeros_like(image)
        for phase, point in points.items():
            found = jnp.where(walk.phase == phase, point, found)
        return jnp.clip(found, -image, 1 - image)

    def _share(self, image):
        """To what share of a segment it is halved."""
        power = 1.5 if self.threat.norm == "l2" else 2.0
        return jnp.maximum(self.gamma / image.size**power, _FINEST)

    def _evaluations(self, walk):
        many = jnp.floor(self.init_evals * jnp.sqrt(walk.turn))
        return jnp.minimum(many, self.max_evals)


def _confirmed(walk, params):
    """Whether a broken `params` makes a point count, and which one.

    Of a halving it is the last broken point before: what lies within a rounding error
    of the boundary is not returned. Points beside the boundary do not count.
    """
    halving = (walk.phase == BLEND) | (walk.phase == BISECT)
    outside = (walk.phase == CONFIRM) & (walk.high + _FINEST <= 1)
    counts = (walk.phase <= DRAW) | halving | outside
    return counts, base.select(halving, walk.near, params)


def _scaled(far, share):
    return share * far


def _clipped(far, share):
    limit = share * numerics.safe_norm(far, "linf")
    return jnp.clip(far, -limit, limit)
