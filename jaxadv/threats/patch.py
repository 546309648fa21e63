"""A square patch of the image, at any place and of any content."""

from typing import Any

import jax
import jax.numpy as jnp

from jaxadv import numerics, specs, struct
from jaxadv.threats import lp


def sides(eps: Any, shape: tuple[int, ...]) -> tuple[jax.Array, jax.Array]:
    """Rows and columns that a patch of `eps` pixels a side covers, whole numbers."""
    side = jnp.floor(jnp.asarray(eps, jnp.float32))
    return jnp.minimum(side, shape[0]), jnp.minimum(side, shape[1])


def window(corner: Any, eps: Any, shape: tuple[int, ...]) -> jax.Array:
    """[h, w] whether a pixel is in the patch whose first row and column is `corner`."""
    marks = [
        (jnp.arange(count) >= first) & (jnp.arange(count) < first + side)
        for first, side, count in zip(corner, sides(eps, shape), shape, strict=False)
    ]
    return marks[0][:, None] & marks[1]


def corner(key: jax.Array, eps: Any, shape: tuple[int, ...]) -> jax.Array:
    """A uniform place of a patch inside the image: its first row and column, [2]."""
    room = jnp.array(shape[:2]) - jnp.stack(sides(eps, shape))
    places = jnp.floor(jax.random.uniform(key, (2,)) * (room + 1))
    return jnp.minimum(places, room)


@struct.dataclass
class Patch:
    """A square of at most `eps` pixels a side is overwritten, wherever it does most.

    Parameters are what is added, [h, w, c], zero outside of some square; so a step may
    move the square as well as change its content. `size` is the side of the smallest
    square that holds all changed pixels. `project` is the exact Euclidean projection:
    onto the square that keeps most of the parameters, and the box. As in `L0`, a step
    of size 1 moves the channel of largest gradient through the whole range, much larger
    ones choose the square by what can be gained in it, and a relative step is relative
    to 1. Where an image has fewer rows or columns, all of them are covered. Source of
    image-specific patches at any place: Croce, Andriushchenko, Singh, Flammarion and
    Hein, "Sparse-RS: a versatile framework for query-efficient sparse black-box
    adversarial attacks", 2022.

    Attributes:
      eps: the side, in pixels; traced, so that all sides share one program.
    """

    eps: float = specs.leaf(minimum=0.0, whole=True)

    __post_init__ = specs.check

    @property
    def budget(self) -> Any:
        return 1.0

    def init(self, key: jax.Array, image: jax.Array) -> Any:
        """A uniform content at a uniform place."""
        place, content = jax.random.split(key)
        inside = window(corner(place, self.eps, image.shape), self.eps, image.shape)
        drawn = jax.random.uniform(content, image.shape, image.dtype)
        return jnp.where(inside[..., None], drawn - image, 0.0)

    def apply(self, params: Any, image: jax.Array) -> jax.Array:
        return lp.apply(params, image)

    def direction(self, grad: Any, params: Any, image: jax.Array) -> Any:
        return lp.relative(grad)

    def maximize(self, grad: Any, image: jax.Array) -> Any:
        grad = numerics.finite_or_zero(grad)
        low, high = lp.box(image)
        best = jnp.where(grad > 0, high, jnp.where(grad < 0, low, 0.0))
        gain = jnp.sum(grad / numerics.power_of_two(grad) * best, axis=-1)
        return jnp.where(self._best(gain)[..., None], best, 0.0)

    def project(self, params: Any, image: jax.Array) -> Any:
        params = numerics.finite_or_zero(params)
        clipped = numerics.clip(params, *lp.box(image))
        # a^2 - (a - c)^2 = c (2a - c), scaled so that no product over- or underflows.
        peak, top = numerics.power_of_two(params), numerics.power_of_two(clipped)
        gain = clipped / top * (2 * (params / peak) - clipped / peak)
        kept = self._best(jnp.sum(gain, axis=-1))
        # Sums that differ by less than rounding would not tell what fits already.
        first, extent = _extent(jnp.any(clipped != 0, axis=-1))
        covered = jnp.stack(sides(self.eps, image.shape))
        held = jnp.minimum(first, jnp.array(image.shape[:2]) - covered)
        fits = jnp.all(extent <= covered)
        kept = jnp.where(fits, window(held, self.eps, image.shape), kept)
        return jnp.where(kept[..., None], clipped, 0.0)

    def size(self, params: Any, image: jax.Array) -> jax.Array:
        return self.distance(image, self.apply(params, image))

    def distance(self, image: jax.Array, other: jax.Array) -> jax.Array:
        changed = jnp.any(other != image, axis=-1)
        return jnp.max(_extent(changed)[1]).astype(jnp.float32)

    def _best(self, gain):
        """[h, w] the window of largest sum of `gain` [h, w], nowhere below 0."""
        covered = sides(self.eps, gain.shape)
        down, across = map(_spans, covered, gain.shape)
        # One that ends beyond the image has no larger sum than the last one inside.
        with jax.default_matmul_precision("highest"):
            best = jnp.argmax(down @ gain @ across.T)
        place = best // gain.shape[1], best % gain.shape[1]
        return window(place, self.eps, gain.shape)


def _spans(side, count):
    """[count, count]: 1 where pixel j is among the `side` ones from i on, else 0."""
    after = jnp.arange(count) - jnp.arange(count)[:, None]
    return ((after >= 0) & (after < side)).astype(jnp.float32)


def _extent(marked):
    """([2] first row and column, [2] rows and columns) that hold all of `marked`."""
    firsts, counts = [], []
    for axis, length in enumerate(marked.shape):
        line = jnp.any(marked, axis=1 - axis)
        first = jnp.argmax(line)
        last = length - 1 - jnp.argmax(line[::-1])
        firsts.append(first)
        counts.append(jnp.where(jnp.any(line), last - first + 1, 0))
    return jnp.stack(firsts), jnp.stack(counts)
