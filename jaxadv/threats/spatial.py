"""Rotations and translations of the whole image."""

from typing import Any

import jax
import jax.numpy as jnp

from jaxadv import numerics, specs, struct
from jaxadv.threats import base


@struct.dataclass
class RotationTranslation:
    """The image turned counterclockwise about its center, then shifted.

    Parameters are [3]: angle, rows and columns, each as a share of its limit; `size`
    is the largest of the three, and `eps` bounds it. Pixels are interpolated
    linearly. Source: Engstrom, Tran, Tsipras, Schmidt and Madry, "Exploring the
    landscape of spatial robustness", 2019, section 3: 30 degrees and 3 pixels of 32,
    black beyond the border.

    Attributes:
      eps: share of both limits that is allowed.
      degrees: limit of the rotation.
      pixels: limit of the shift along each axis.
      border: what lies beyond the image: "black" or the nearest pixel's color.
    """

    eps: float = specs.leaf(1.0, minimum=0.0)
    degrees: float = specs.leaf(30.0, minimum=0.0)
    pixels: float = specs.leaf(3.0, minimum=0.0)
    border: str = specs.static("black", choices=("black", "nearest"))

    __post_init__ = specs.check

    @property
    def budget(self) -> Any:
        return self.eps

    def init(self, key: jax.Array, image: jax.Array) -> Any:
        return jax.random.uniform(key, (3,), minval=-1.0, maxval=1.0) * self.eps

    def apply(self, params: Any, image: jax.Array) -> jax.Array:
        angle = jnp.deg2rad(self.degrees * params[0])
        height, width = image.shape[:2]
        center = jnp.array([height - 1, width - 1]) / 2
        rows, columns = jnp.meshgrid(
            jnp.arange(height) - center[0] - self.pixels * params[1],
            jnp.arange(width) - center[1] - self.pixels * params[2],
            indexing="ij",
        )
        cos, sin = jnp.cos(angle), jnp.sin(angle)
        source = [
            center[0] + cos * rows + sin * columns,
            center[1] - sin * rows + cos * columns,
        ]
        mode = "constant" if self.border == "black" else "nearest"
        return numerics.clip(base.sample(image, source, mode), 0.0, 1.0)

    def direction(self, grad: Any, params: Any, image: jax.Array) -> Any:
        return numerics.steepest(grad, "linf")

    def project(self, params: Any, image: jax.Array) -> Any:
        return jnp.clip(params, -self.eps, self.eps)

    def size(self, params: Any, image: jax.Array) -> jax.Array:
        return jnp.max(jnp.abs(params))

    def grid(self, points: tuple[int, ...]) -> jax.Array:
        """[n, 3]: all combinations of `points` equally spaced values of each."""
        lines = [jnp.linspace(-1.0, 1.0, n) if n > 1 else jnp.zeros(1) for n in points]
        grids = jnp.meshgrid(*lines, indexing="ij")
        return self.eps * jnp.stack(grids, axis=-1).reshape(-1, len(points))
