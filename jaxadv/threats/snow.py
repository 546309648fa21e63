"""Snow: flakes on a grid, each drawn as a short blurred line."""

import math
from typing import Any

import jax
import jax.numpy as jnp

from jaxadv import numerics, specs, struct
from jaxadv.threats import base

_KINDS, _KERNEL, _GRID, _BLOCK = 7, 13, 4, 8
# Mean flake of a block of the grid; as much as a random start has on average.
_MEAN, _LEAST = 0.2, 1e-6


def line_kernels(draws: jax.Array) -> jax.Array:
    """Seven blurred lines through the center of a 13 x 13 kernel.

    Args:
      draws: [29] in [0, 1]: for each kind the line's end, down and across (2 to 6
        pixels from the center), its width (1, 3 or 5 with probabilities 0.6, 0.3 and
        0.1) and its blur (standard deviation from 0.41 to 0.6); last, whether all
        lean the other way.

    Returns:
      [7, 13, 13]; a line's middle has brightness up to 1.
    """
    draws = jnp.clip(jax.lax.stop_gradient(draws), 0.0, 1.0)
    down, across, width, blur = draws[:-1].reshape(4, _KINDS)
    ends = 2 + jnp.minimum(jnp.floor(5 * jnp.stack([down, across])), 4)
    width = jnp.where(width < 0.6, 1.0, jnp.where(width < 0.9, 3.0, 5.0))
    lines = jax.vmap(_line)(ends.T, width)
    blurred = jax.vmap(_blurred)(lines, 0.41 + 0.19 * blur)
    return jnp.where(draws[-1] < 0.5, blurred, blurred[..., ::-1])


def _line(end, width):
    """Coverage of each pixel by a line from -end to end; edges are one pixel soft."""
    place = jnp.arange(_KERNEL) - _KERNEL // 2
    rows, columns = jnp.meshgrid(place, place, indexing="ij")
    along = (rows * end[0] + columns * end[1]) / jnp.sum(end**2)
    nearest = jnp.clip(along, -1.0, 1.0)
    distance = jnp.hypot(rows - nearest * end[0], columns - nearest * end[1])
    return jnp.clip(width / 2 + 0.5 - distance, 0.0, 1.0)


def _blurred(kernel, deviation):
    side = jnp.exp(-0.5 / deviation**2)
    weights = jnp.stack([side, jnp.ones(()), side]) / (1 + 2 * side)
    return base.convolve(kernel[None], (weights[:, None] * weights)[None])


def spread_out(flakes: jax.Array, shape: tuple[int, ...]) -> jax.Array:
    """Flakes [7, h / 4, w / 4] on maps [7, h, w], each kind at its own places.

    Of every 4 x 4 pixels the first four kinds have one in the first row, the others
    one in the first column.
    """
    places = [(0, k) for k in range(4)] + [(k + 1, 0) for k in range(3)]
    maps = [
        jax.lax.pad(kind, 0.0, [(r, 3 - r, 3), (c, 3 - c, 3)])
        for kind, (r, c) in zip(flakes, places, strict=True)
    ]
    return jnp.stack(maps)[:, : shape[0], : shape[1]]


def thinned(flakes: jax.Array) -> jax.Array:
    """`flakes` [7, a, b] with the mean of every 8 x 8 block lowered to 0.2."""
    down, across = flakes.shape[1:]
    pads = ((0, 0), (0, -down % _BLOCK), (0, -across % _BLOCK))

    def block_sums(values):
        padded = jnp.pad(values, pads)
        kinds, height, width = padded.shape
        split = (kinds, height // _BLOCK, _BLOCK, width // _BLOCK, _BLOCK)
        return jnp.sum(padded.reshape(split), axis=(2, 4))

    mean = block_sums(flakes) / block_sums(jnp.ones_like(flakes))
    scale = _MEAN / jnp.maximum(mean, _MEAN)
    scale = jnp.repeat(jnp.repeat(scale, _BLOCK, axis=1), _BLOCK, axis=2)
    return flakes * scale[:, :down, :across]


@struct.dataclass
class Snow:
    """Snowflakes of brightness at most `eps` before the image.

    Parameters are "amount", [] in [0, eps], which is the `size`; "flakes", [7, h / 4,
    w / 4] in [0, 1], whose fourth power is a flake's brightness, with a mean of at
    most 0.2 in every 8 x 8 block of a kind; and "draws", [29], drawn once an image,
    which shape the flakes (see `line_kernels`). Beside the snow the image is
    whitened: `whiten` x amount / eps of the way to max(image, 1.5 gray + 0.5), so
    at the full amount by as much as published, whatever eps is, and without snow not
    at all.

    Source: Kang, Sun, Hendrycks, Brown and Steinhardt, "Testing robustness against
    unforeseen adversaries", 2019, section 3. Their code shares the draws of a batch,
    attacks flakes that are limited only afterwards, returns a last step that is not
    limited at all, and always takes the full amount.

    Attributes:
      eps: the bound, in [0, 1] units; calibrated values in `evaluation.calibration`.
      whiten: the largest share of whitening.
    """

    eps: float = specs.leaf(minimum=0.0)
    whiten: float = specs.leaf(0.25, minimum=0.0)

    __post_init__ = specs.check

    @property
    def budget(self) -> Any:
        return {"amount": self.eps, "flakes": 1.0, "draws": 1.0}

    def init(self, key: jax.Array, image: jax.Array) -> Any:
        flakes_key, draws_key = jax.random.split(key)
        grid = (_KINDS, *(math.ceil(side / _GRID) for side in image.shape[:2]))
        params = {
            "amount": jnp.asarray(self.eps, jnp.float32),
            "flakes": jnp.exp(-jax.random.uniform(flakes_key, grid) / _MEAN),
            "draws": jax.random.uniform(draws_key, (4 * _KINDS + 1,)),
        }
        return self.project(params, image)

    def apply(self, params: Any, image: jax.Array) -> jax.Array:
        amount = params["amount"]
        maps = spread_out(params["flakes"] ** 4, image.shape)
        snow = base.convolve(maps, line_kernels(params["draws"]))[..., None]
        white = jnp.maximum(image, 1.5 * base.gray(image) + 0.5)
        eps = jnp.asarray(self.eps)
        share = self.whiten * amount / jnp.where(eps > 0, eps, 1.0)
        whitened = image + share * (white - image)
        return numerics.clip(whitened + amount * snow, 0.0, 1.0)

    def direction(self, grad: Any, params: Any, image: jax.Array) -> Any:
        return base.climb(grad, frozen=("draws",))

    def project(self, params: Any, image: jax.Array) -> Any:
        params = jax.tree.map(numerics.finite_or_zero, params)
        # At exactly zero a fourth power has no gradient that could bring it back.
        flakes = jnp.clip(params["flakes"], _LEAST, 1.0)
        return {
            **params,
            "amount": jnp.clip(params["amount"], 0.0, self.eps),
            "flakes": thinned(flakes),
        }

    def size(self, params: Any, image: jax.Array) -> jax.Array:
        return params["amount"]
