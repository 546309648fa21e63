"""Fog: a random cloud whose every turn the attack chooses."""

from typing import Any

import jax
import jax.numpy as jnp

from jaxadv import numerics, specs, struct
from jaxadv.threats import base


def side_for(shape: tuple[int, ...]) -> int:
    """Side of the square map for an image of `shape`: the power of two beyond it."""
    return 2 ** max(shape[:2]).bit_length()


def plasma(noise: jax.Array, side: int, decay: float = 2.0, shift: int = 1) -> Any:
    """A fractal cloud by midpoint displacement (diamond-square), in its own unit.

    Args:
      noise: [side * side - 1] in [0, 1]: level after level, from coarse to fine, of
        each the squares' centers and then the two kinds of edges' centers.
      side: a power of two.
      decay: factor between the displacements of neighboring levels; the first one
        is 100.
      shift: by how many cells an edge's second square lies back; neighbors are at
        1, the published adversarial fog has 2.

    Returns:
      [side, side]; it wraps around.
    """
    corners, start, reach = jnp.zeros((1, 1)), 0, 100.0
    for level in range(side.bit_length() - 1):
        cells = 2**level
        stop = start + 3 * cells**2
        moves = reach * (2 * noise[start:stop].reshape(3, cells, cells) - 1)
        own = jnp.eye(cells)
        # Sums of neighbors as products: as sums they would be fused, and each level
        # computed again and again in every use of it, exponentially often.
        ahead, behind = (own + jnp.roll(own, k, axis=0) for k in (-1, shift))
        below, across = _product(ahead, corners), _product(corners, ahead.T)
        middle = _product(below, ahead.T) / 4 + moves[0]
        top = (across + _product(behind, middle)) / 4 + moves[1]
        left = (below + _product(middle, behind.T)) / 4 + moves[2]
        rows = [jnp.stack(pair, axis=-1) for pair in ((corners, top), (left, middle))]
        corners = jnp.stack(rows, axis=1).reshape(2 * cells, 2 * cells)
        start, reach = stop, reach / decay
    return corners


def _product(a, b):
    return jnp.matmul(a, b, precision=jax.lax.Precision.HIGHEST)


@struct.dataclass
class Fog:
    """A cloud between the image and the viewer, of thickness at most `eps`.

    Parameters are "amount", [] in [0, eps], which is the `size`, and "noise", [n] in
    [0, 1], the random numbers of the cloud (see `plasma`). With a cloud f stretched
    to [0, 1] and the image's largest value m, the result is
    (image + amount * f) * m / (m + amount).

    Source: Kang, Sun, Hendrycks, Brown and Steinhardt, "Testing robustness against
    unforeseen adversaries", 2019, section 3, after the fog of Hendrycks and
    Dietterich, "Benchmarking neural network robustness", 2019. As in the latter, m
    is of all channels and the brightness returns to m, so that no fog is the
    identity; the adversarial code stretches each channel to 1. It also stretches the
    clouds of a whole batch together, joins cells that are no neighbors (`plasma`)
    and always takes the full amount.

    Attributes:
      eps: the bound, in [0, 1] units (the published 256 is 256 / 255).
    """

    eps: float = specs.leaf(minimum=0.0)

    __post_init__ = specs.check

    @property
    def budget(self) -> Any:
        return {"amount": self.eps, "noise": 1.0}

    def init(self, key: jax.Array, image: jax.Array) -> Any:
        noise = jax.random.uniform(key, (side_for(image.shape) ** 2 - 1,))
        return {"amount": jnp.asarray(self.eps, jnp.float32), "noise": noise}

    def apply(self, params: Any, image: jax.Array) -> jax.Array:
        side, amount = side_for(image.shape), params["amount"]
        height, width = image.shape[:2]
        top, left = (side - height) // 2, (side - width) // 2
        cloud = base.rescaled(plasma(params["noise"], side))
        cloud = cloud[top : top + height, left : left + width, None]
        brightest = jnp.max(numerics.flat(image))
        total = brightest + amount
        share = amount / jnp.where(total > 0, total, 1.0)
        return numerics.clip(image + share * (cloud * brightest - image), 0.0, 1.0)

    def direction(self, grad: Any, params: Any, image: jax.Array) -> Any:
        return base.climb(grad, frozen=())

    def project(self, params: Any, image: jax.Array) -> Any:
        params = jax.tree.map(numerics.finite_or_zero, params)
        return {
            "amount": jnp.clip(params["amount"], 0.0, self.eps),
            "noise": jnp.clip(params["noise"], 0.0, 1.0),
        }

    def size(self, params: Any, image: jax.Array) -> jax.Array:
        return params["amount"]
