"""Sparse-RS: random search over few pixels, or over a patch; uses no gradient."""

from typing import Any, ClassVar

import jax
import jax.numpy as jnp
import numpy as np

from jaxadv import specs, struct
from jaxadv.attacks import base
from jaxadv.numerics import streams
from jaxadv.objectives import OBJECTIVES, Margin, goal_at, score
from jaxadv.threats import L0, THREATS, Patch
from jaxadv.threats import patch as patches

# Alpha is divided by the first number at first, and by the next one from beyond each of
# these queries of 10,000 on.
PIXEL_MARKS = (0, 50, 200, 500, 1000, 2000, 4000, 6000, 8000)
PIXEL_DIVISORS = (1, 2, 4, 5, 6, 8, 10, 12, 15, 20)
PATCH_MARKS = (10, 50, 200, 500, 1000, 2000, 4000, 6000, 8000)
PATCH_DIVISORS = (1, 2, 4, 8, 16, 32, 32, 64, 64, 128)


@struct.dataclass
class Pixels:
    """A set of pixels and the colors that they take.

    Attributes:
      chosen: [h, w] whether a pixel is of the set.
      color: [h, w, c], 0 or 1; read where it is.
    """

    chosen: jax.Array
    color: jax.Array

    @classmethod
    def start(cls, key: jax.Array, threat: Any, shape: tuple[int, ...]) -> "Pixels":
        """Uniform pixels, as many as the budget allows, of uniform corner colors."""
        place, color = jax.random.split(key)
        chosen = _lowest(jax.random.uniform(place, shape[:2]), _count(threat, shape))
        return cls(chosen, _corners(color, shape))

    def changed(self, key: jax.Array, threat: Any, share: Any, *_: Any) -> "Pixels":
        """A `share` of the set, one at least, gives way to pixels outside of it."""
        count = _count(threat, self.color.shape)
        many = jnp.minimum(jnp.maximum(jnp.floor(share * count), 1), count)
        out, into, color = jax.random.split(key, 3)
        places = jax.random.uniform(out, self.chosen.shape)
        leaves = _lowest(jnp.where(self.chosen, places, 2.0), many)
        # Where too few are outside, those that leave are next.
        places = jax.random.uniform(into, self.chosen.shape)
        inside = jnp.where(leaves, 1 + places, 3.0)
        enters = _lowest(jnp.where(self.chosen, inside, places), many)
        drawn = _corners(color, self.color.shape)
        return Pixels(
            (self.chosen & ~leaves) | enters,
            jnp.where(enters[..., None], drawn, self.color),
        )

    def params(self, threat: Any, image: jax.Array) -> jax.Array:
        del threat
        return jnp.where(self.chosen[..., None], self.color - image, 0.0)


@struct.dataclass
class Placed:
    """A patch and its place.

    Attributes:
      corner: [2] its first row and column, whole numbers as float32.
      content: [h, w, c], 0 or 1; read up to the side of the patch.
    """

    corner: jax.Array
    content: jax.Array

    @classmethod
    def start(cls, key: jax.Array, threat: Any, shape: tuple[int, ...]) -> "Placed":
        """Vertical stripes of uniform corner colors, at a uniform place."""
        place, stripes = jax.random.split(key)
        content = jnp.broadcast_to(_corners(stripes, (1, *shape[1:])), shape)
        return cls(patches.corner(place, threat.eps, shape), content)

    def changed(
        self, key: jax.Array, threat: Any, share: Any, query: Any, left: Any
    ) -> "Placed":
        """A square of the content changes, or in some queries the place.

        The square has about a `share` of the patch's area; its channels go to 0 or 1,
        each as a whole. Every fifth query moves the patch, every tenth one beyond 1,000
        queries, and so on, by up to three quarters of the image times the share of the
        queries that is `left`.
        """
        place, sign, shift = jax.random.split(key, 3)
        shape = self.content.shape
        covered = jnp.stack(patches.sides(threat.eps, shape))
        side = jnp.maximum(jnp.floor(jnp.sqrt(share) * covered), 1)
        first = jnp.floor(jax.random.uniform(place, (2,)) * (covered - side + 1))
        marks = [
            (jnp.arange(count) >= first[axis])
            & (jnp.arange(count) < first[axis] + side[axis])
            for axis, count in enumerate(shape[:2])
        ]
        inside = (marks[0][:, None] & marks[1])[..., None]
        colored = jnp.where(inside, _corners(sign, shape[2:]), self.content)
        sizes = jnp.array(shape[:2], jnp.float32)
        reach = jnp.floor(0.75 * left * sizes)
        moved = jnp.floor(jax.random.uniform(shift, (2,)) * (2 * reach + 1)) - reach
        corner = jnp.clip(self.corner + moved, 0, sizes - covered)
        moves = (query % (5 * (1 + query // 1000)) == 0) & jnp.any(reach > 0)
        return Placed(
            jnp.where(moves, corner, self.corner),
            jnp.where(moves, self.content, colored),
        )

    def params(self, threat: Any, image: jax.Array) -> jax.Array:
        inside = patches.window(self.corner, threat.eps, image.shape)
        shift = self.corner.astype(jnp.int32)
        pasted = jnp.roll(jnp.roll(self.content, shift[0], 0), shift[1], 1)
        return jnp.where(inside[..., None], pasted - image, 0.0)


@struct.dataclass
class Kept:
    """The candidate of largest objective, and the one that is evaluated next.

    Attributes:
      candidate: `Pixels` or `Placed`.
      value: [] the objective of `candidate`.
      tried: of the kind of `candidate`.
    """

    candidate: Any
    value: jax.Array
    tried: Any


@struct.dataclass
class SparseRs:
    """Sparse-RS: changes a few pixels or a patch at random, keeps what gains.

    In an l0 ball a candidate is a set of pixels with colors from the corners of the
    color box. A share of them, alpha, which falls with the queries, gives way to other
    pixels with new colors. A patch changes a square of its content, whose area is the
    share alpha of it, or now and then its place. What raises the objective is kept.
    Each step is one query. Source: Croce, Andriushchenko, Singh, Flammarion and Hein,
    "Sparse-RS: a versatile framework for query-efficient sparse black-box adversarial
    attacks", 2022, with the constants of the public code for untargeted attacks.
    Different here: a patch may also lie at the last row and column.

    Attributes:
      threat: an l0 ball, or a patch. Where the ball counts channels, as many pixels
        change as have no more.
      objective: what to make larger; only its values are used.
      steps: queries of one restart.
      restarts: independent random starts.
      alpha: the share that changes at first; None for 0.3 of the pixels, and 0.4 of
        the patch.
      rescale: whether the marks at which alpha falls, made for 10,000 queries, are
        rescaled to `steps`.
      early_stop: stop at the first success.

    Raises:
      UsageError: another threat.
    """

    threat: Any = specs.part(lambda: THREATS)
    objective: Any = specs.part(lambda: OBJECTIVES, Margin())
    steps: int = specs.static(10_000, minimum=1)
    restarts: int = specs.static(1, minimum=1)
    alpha: float | None = specs.leaf(None, minimum=0.0, maximum=1.0)
    rescale: bool = specs.static(True)
    early_stop: bool = specs.static(True)
    passes: ClassVar[tuple[int, int]] = (1, 0)

    def __post_init__(self):
        specs.check(self)
        base.check_threat(self, L0, Patch)

    def init(
        self, key: jax.Array, model: Any, image: jax.Array, label: jax.Array
    ) -> base.State:
        key, start = jax.random.split(key)
        kind = Placed if self._patch else Pixels
        first = kind.start(start, self.threat, image.shape)
        params = first.params(self.threat, image)
        kept = Kept(first, jnp.full((), -jnp.inf), first)
        return base.begin(key, params, best=base.Best.none(params), own=kept)

    def step(
        self, state: base.State, model: Any, image: jax.Array, label: jax.Array
    ) -> base.State:
        key = jax.random.fold_in(state.key, state.count)
        noise = streams.stream(key, "network")
        here, own = self.threat.apply(state.params, image), state.own
        value = score(self.objective, model, here, label, noise)
        goal = goal_at(self.objective, model, here, label, noise)
        best = state.best.update(state.params, goal)
        gains = value > own.value
        candidate = base.select(gains, own.tried, own.candidate)
        value = jnp.where(gains, value, own.value)
        query = state.count + 1
        left = (self.steps - query) / self.steps
        share = self._share(query)
        tried = candidate.changed(key, self.threat, share, query, left)
        params, kept = tried.params(self.threat, image), Kept(candidate, value, tried)
        return state.after(params, best=best, own=kept, stop=self.early_stop)

    def finish(
        self, state: base.State, model: Any, image: jax.Array, label: jax.Array
    ) -> Any:
        return state.best.or_last(state.own.candidate.params(self.threat, image))

    @property
    def _patch(self):
        return isinstance(self.threat, Patch)

    def _share(self, query):
        """What alpha is at a query, of which the one of the start is number 0."""
        marks, divisors, first = PIXEL_MARKS, PIXEL_DIVISORS, 0.3
        if self._patch:
            marks, divisors, first = PATCH_MARKS, PATCH_DIVISORS, 0.4
        scale = self.steps / 10_000 if self.rescale else 1.0
        begins = np.ceil((np.asarray(marks) + 1) * scale)
        passed = jnp.sum(query >= jnp.asarray(begins))
        alpha = first if self.alpha is None else self.alpha
        return alpha / jnp.asarray(divisors, jnp.float32)[passed]


def _count(threat, shape):
    """Pixels that the budget allows, a whole number as float32."""
    each = 1 if threat.pixels else shape[2]
    return jnp.minimum(jnp.floor(threat.eps / each), shape[0] * shape[1])


def _corners(key, shape):
    return jax.random.bernoulli(key, shape=shape).astype(jnp.float32)


def _lowest(scores, count):
    """[h, w] the `count` entries of lowest score; of equal ones the first."""
    order = jnp.argsort(scores.ravel())
    rank = jnp.zeros_like(order).at[order].set(jnp.arange(scores.size))
    return (rank < count).reshape(scores.shape)
