"""Gabor: sparse spots, each drawn as a small wave pattern."""

from typing import Any

import jax
import jax.numpy as jnp

from jaxadv import numerics, specs, struct
from jaxadv.threats import base

_DENSITY, _MOST_SIDES = 1 / 14, 10


def kernel(
    sides: jax.Array | int,
    deviation: jax.Array | float,
    frequency: jax.Array | float,
    angle: jax.Array | float,
    count: int = 23,
) -> jax.Array:
    """A Gaussian times the sum of `sides` plane waves, [count, count].

    Args:
      sides: number of waves, at most 10, at equal angles over half a turn.
      deviation: of the Gaussian, as a share of the kernel's side.
      frequency: periods of a wave over the kernel's side.
      angle: of the first wave against the columns, in radians.
      count: pixels of a side.
    """
    line = jnp.linspace(-0.5, 0.5, count)
    y, x = jnp.meshgrid(line, line, indexing="ij")
    number = jnp.arange(_MOST_SIDES)[:, None, None]
    turned = angle + jnp.pi * number / sides
    along = x * jnp.cos(turned) + y * jnp.sin(turned)
    waves = jnp.cos(2 * jnp.pi * frequency * along)
    total = jnp.sum(jnp.where(number < sides, waves, 0.0), axis=0)
    return jnp.exp(-0.5 * (x**2 + y**2) / (deviation + 1e-3) ** 2) * total


def drawn_kernel(draws: jax.Array) -> jax.Array:
    """The kernel of four numbers in [0, 1]: 1 to 10 waves, their scale and angle."""
    draws = jnp.clip(jax.lax.stop_gradient(draws), 0.0, 1.0)
    sides = jnp.minimum(1 + jnp.floor(_MOST_SIDES * draws[0]), _MOST_SIDES)
    deviation, frequency = 0.1 + 0.3 * draws[1], 3 + 2.75 * draws[2]
    return kernel(sides, deviation, frequency, jnp.pi * draws[3])


def leveled(noise: jax.Array) -> jax.Array:
    """`noise` with equal strength everywhere, in [0, 1]; zero if it is constant.

    Deviations from the mean are divided by their own magnitude, softened; the
    divisor and the limits are constants to differentiation.
    """
    mean = jnp.mean(numerics.flat(noise))
    away = jnp.abs(noise - mean)
    largest = jnp.max(numerics.flat(away))
    share = away / jnp.where(largest > 0, largest, 1.0)
    factor = jax.lax.stop_gradient(1.001 / (0.001 + share))
    even = mean + (noise - mean) * factor
    low, high = base.limits(jax.lax.stop_gradient(even))
    spread = high - low
    return jnp.where(spread > 0, (even - low) / jnp.where(spread > 0, spread, 1.0), 0.0)


@struct.dataclass
class Gabor:
    """Bright wave patterns all over the image, of amplitude at most `eps`.

    Parameters are "amount", [] in [0, eps], which is the `size`; "spots", [h, w] in
    [-1, 1], the strength at each site; and two that are drawn once an image and stay
    as they are: "sites", [h, w] uniform draws, of which those below 1 / 14 are sites,
    and "draws", [4], the wave pattern (see `drawn_kernel`). The same noise is added
    to all channels. At a start without spots the gradient is zero.

    Source: Kang, Sun, Hendrycks, Brown and Steinhardt, "Testing robustness against
    unforeseen adversaries", 2019, section 3, after Lagae et al., "Procedural noise
    using sparse Gabor convolution", 2009. Their code optimizes everything but the
    sites by mistake, and always takes the full amount.

    Attributes:
      eps: the bound, in [0, 1] units (the published 12.5 is 12.5 / 255).
    """

    eps: float = specs.leaf(minimum=0.0)

    __post_init__ = specs.check

    @property
    def budget(self) -> Any:
        return {"amount": self.eps, "spots": 1.0, "sites": 1.0, "draws": 1.0}

    def init(self, key: jax.Array, image: jax.Array) -> Any:
        keys = jax.random.split(key, 3)
        shape = image.shape[:2]
        params = {
            "amount": jnp.asarray(self.eps, jnp.float32),
            "spots": jax.random.uniform(keys[0], shape, minval=-1.0, maxval=1.0),
            "sites": jax.random.uniform(keys[1], shape),
            "draws": jax.random.uniform(keys[2], (4,)),
        }
        return self.project(params, image)

    def apply(self, params: Any, image: jax.Array) -> jax.Array:
        shape = drawn_kernel(params["draws"])
        noise = base.convolve(params["spots"][None], shape[None])
        added = params["amount"] * leveled(noise)[..., None]
        return numerics.clip(image + added, 0.0, 1.0)

    def direction(self, grad: Any, params: Any, image: jax.Array) -> Any:
        return base.climb(grad, frozen=("sites", "draws"))

    def project(self, params: Any, image: jax.Array) -> Any:
        params = jax.tree.map(numerics.finite_or_zero, params)
        spots = jnp.where(params["sites"] < _DENSITY, params["spots"], 0.0)
        return {
            **params,
            "amount": jnp.clip(params["amount"], 0.0, self.eps),
            "spots": jnp.clip(spots, -1.0, 1.0),
        }

    def size(self, params: Any, image: jax.Array) -> jax.Array:
        return params["amount"]
