"""Random search with square-shaped changes; uses no gradient."""

from typing import Any, ClassVar

import jax
import jax.numpy as jnp
import numpy as np

from jaxadv import numerics, specs, struct
from jaxadv.attacks import base
from jaxadv.numerics import streams
from jaxadv.objectives import OBJECTIVES, Margin, goal_at, score
from jaxadv.threats import L2, THREATS, Linf

# The share of the image that a square covers halves at these queries of 10,000.
HALVINGS = (10, 50, 200, 500, 1000, 2000, 4000, 6000, 8000)


@struct.dataclass
class Kept:
    """The change of largest objective so far.

    Attributes:
      params: [h, w, c] the change.
      value: [] the objective there.
    """

    params: jax.Array
    value: jax.Array


@struct.dataclass
class Square:
    """Changes random squares of the image, and keeps what raises the objective.

    Source: Andriushchenko, Croce, Flammarion and Hein, "Square attack: a
    query-efficient black-box adversarial attack via random search", 2020,
    algorithms 1 to 3.

    Attributes:
      threat: an l-infinity or l2 ball.
      objective: what to make larger; only its values are used.
      steps: queries of one restart.
      restarts: independent random starts.
      p: share of the image's area that the first squares cover.
      rescale: whether the marks at which squares shrink, made for 10,000 queries, are
        rescaled to `steps`; not so in AutoAttack.
      early_stop: stop at the first success.

    Raises:
      UsageError: another threat.
    """

    threat: Any = specs.part(lambda: THREATS)
    objective: Any = specs.part(lambda: OBJECTIVES, Margin())
    steps: int = specs.static(5000, minimum=1)
    restarts: int = specs.static(1, minimum=1)
    p: float = specs.leaf(0.8, minimum=0.0, maximum=1.0)
    rescale: bool = specs.static(True)
    early_stop: bool = specs.static(True)
    passes: ClassVar[tuple[int, int]] = (1, 0)

    def __post_init__(self):
        specs.check(self)
        base.check_threat(self, Linf, L2)

    def init(
        self, key: jax.Array, model: Any, image: jax.Array, label: jax.Array
    ) -> base.State:
        key, start = jax.random.split(key)
        draw = _stripes if isinstance(self.threat, Linf) else _tiles
        params = self.threat.project(self.threat.eps * draw(start, image.shape), image)
        kept = Kept(params, jnp.full((), -jnp.inf))
        return base.begin(key, params, best=base.Best.none(params), own=kept)

    def step(
        self, state: base.State, model: Any, image: jax.Array, label: jax.Array
    ) -> base.State:
        key = jax.random.fold_in(state.key, state.count)
        noise = streams.stream(key, "network")
        here = self.threat.apply(state.params, image)
        value = score(self.objective, model, here, label, noise)
        goal = goal_at(self.objective, model, here, label, noise)
        best = state.best.update(state.params, goal)
        kept = base.select(
            value > state.own.value, Kept(state.params, value), state.own
        )
        change = _linf_change if isinstance(self.threat, Linf) else _l2_change
        proposed = change(
            key, kept.params, self.threat.eps, self._side(state, image.shape)
        )
        params = self.threat.project(proposed, image)
        return state.after(params, best=best, own=kept, stop=self.early_stop)

    def finish(
        self, state: base.State, model: Any, image: jax.Array, label: jax.Array
    ) -> Any:
        return state.best.or_last(state.own.params)

    def _side(self, state, shape):
        """Side of the next square in pixels, a whole number as float32."""
        scale = self.steps / 10_000 if self.rescale else 1.0
        marks = np.ceil(np.asarray(HALVINGS) * scale)
        halvings = jnp.sum(state.count + 1 > jnp.asarray(marks))
        area = self.p * 0.5**halvings * shape[0] * shape[1]
        return jnp.clip(jnp.round(jnp.sqrt(area)), 1, min(shape[:2]))


def _signs(key, shape):
    return jnp.where(jax.random.bernoulli(key, shape=shape), 1.0, -1.0)


def _stripes(key, shape):
    """Vertical stripes, one pixel wide, of -1 and 1 in each channel."""
    return jnp.broadcast_to(_signs(key, (1, *shape[1:])), shape)


def _tiles(key, shape):
    """A grid of pyramids of random sign, five or more a side, of l2 norm 1."""
    height, width, channels = shape
    side = max(min(height, width) // 5, 1)
    rows = np.arange(height) - height % side // 2
    columns = np.arange(width) - width % side // 2
    inside = ((rows >= 0) & (rows < height // side * side))[:, None]
    inside = inside & (columns >= 0) & (columns < width // side * side)
    signs_key, turns_key = jax.random.split(key)
    tiles = (height // side + 1, width // side + 1)
    signs = _signs(signs_key, (*tiles, channels))
    turns = jax.random.bernoulli(turns_key, shape=tiles)
    tile = np.clip(rows // side, 0, None)[:, None], np.clip(columns // side, 0, None)
    pyramid = _pyramids(rows[:, None] % side, columns % side, side, max(shape))
    pattern = jnp.where(turns[tile], pyramid[1], pyramid[0])
    pattern = jnp.where(inside, pattern, 0.0)[..., None] * signs[tile]
    return numerics.safe_normalize(pattern, "l2")


def _window(key, shape, side):
    """(rows [h, 1], columns [w]) counted from a random square's corner; [h, w] mask."""
    places = jax.random.uniform(key, (2,))
    corner = jnp.floor(places * (jnp.array(shape[:2]) - side + 1))
    corner = jnp.minimum(corner, jnp.array(shape[:2]) - side)
    rows = (jnp.arange(shape[0]) - corner[0])[:, None]
    columns = jnp.arange(shape[1]) - corner[1]
    inside = (rows >= 0) & (rows < side) & (columns >= 0) & (columns < side)
    return rows, columns, inside


def _linf_change(key, delta, eps, side):
    """Algorithm 2: a square takes eps or -eps in each channel."""
    place, sign = jax.random.split(key)
    inside = _window(place, delta.shape, side)[2]
    return jnp.where(inside[..., None], eps * _signs(sign, delta.shape[2:]), delta)


def _l2_change(key, delta, eps, side):
    """Algorithm 3: one square's change is erased, and its norm given to another."""
    shape = delta.shape
    side = jnp.minimum(jnp.maximum(side + (side % 2 == 0), 3), min(shape[:2]))
    first, second, sign, turn = jax.random.split(key, 4)
    rows, columns, into = _window(first, shape, side)
    from_ = _window(second, shape, side)[2]
    into, both = into[..., None], (into | from_)[..., None]
    pyramid = _pyramids(rows, columns, side, max(shape))
    pyramid = jnp.where(jax.random.bernoulli(turn), pyramid[1], pyramid[0])
    old = _unit(jnp.where(into, delta, 0.0))
    new = pyramid[..., None] * _signs(sign, shape[2:]) + old
    unused = jnp.maximum(eps**2 - numerics.dot(delta, delta), 0.0) / shape[2]
    norm = jnp.sum(jnp.where(both, delta, 0.0) ** 2, axis=(0, 1))
    new = _unit(jnp.where(into, new, 0.0)) * jnp.sqrt(unused + norm)
    moved = jnp.where(into, new, jnp.where(both, 0.0, delta))
    return eps * numerics.safe_normalize(moved, "l2")


def _unit(x):
    """[h, w, c] with each channel of l2 norm 1, or 0 where it is 0."""
    norm = jnp.sqrt(jnp.sum(x * x, axis=(0, 1)))
    return x / jnp.where(norm > 0, norm, 1.0)


def _pyramids(rows, columns, side, longest):
    """Two [h, w]: a pyramid beside its negative, and the same turned; norm 1.

    Each half of the square of `side` falls off from its center like the sum of
    1 / (k + 1)^2 over the rings outside. `rows` [h, 1] and `columns` [w] count from
    the corner; outside the square the pattern is 0.
    """
    sums = np.concatenate([[0], np.cumsum(1.0 / np.arange(1, longest + 2) ** 2)])
    sums = jnp.asarray(sums, jnp.float32)

    def half(down, across, start, height):
        ring = jnp.maximum(
            jnp.abs(down - start - height // 2), jnp.abs(across - side // 2)
        )
        rings = jnp.maximum(height // 2, side // 2) + 1
        index = jnp.clip(ring, 0, rings).astype(jnp.int32)
        inside = (down >= start) & (down < start + height)
        inside = inside & (across >= 0) & (across < side)
        value = sums[jnp.asarray(rings, jnp.int32)] - sums[index]
        return numerics.safe_normalize(jnp.where(inside, value, 0.0), "l2")

    def pair(down, across):
        upper = side // 2
        return numerics.safe_normalize(
            half(down, across, 0, upper) - half(down, across, upper, side - upper), "l2"
        )

    return pair(rows, columns), pair(columns, rows)
