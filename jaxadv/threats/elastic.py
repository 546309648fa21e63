"""Elastic: a random displacement of every pixel, blurred."""

import math
from typing import Any

import jax
import jax.numpy as jnp

from jaxadv import numerics, specs, struct
from jaxadv.threats import base


@struct.dataclass
class Elastic:
    """A smooth warp: displacements of at most `eps` pixels before a Gaussian blur.

    Parameters are the displacements before the blur, [h, w, 2] rows and columns in
    pixels; `size` is the largest one. Pixels are interpolated linearly, black
    beyond the border.

    Source: Kang, Sun, Hendrycks, Brown and Steinhardt, "Testing robustness against
    unforeseen adversaries", 2019, section 3. Zero displacement is the identity, as
    in their calibration; with the interpolation that later torch versions take for
    granted their code darkens the border instead. They scale displacements by
    (side - 1) / side, which is left out.

    Attributes:
      eps: the bound, in pixels; calibrated values in `evaluation.calibration`.
      width: standard deviation of the blur as a share of the longer side: 3 pixels
        of 224, 0.43 of 32.
    """

    eps: float = specs.leaf(minimum=0.0)
    width: float = specs.static(3 / 224, minimum=1e-3)

    __post_init__ = specs.check

    @property
    def budget(self) -> Any:
        return self.eps

    def init(self, key: jax.Array, image: jax.Array) -> Any:
        shape = (*image.shape[:2], 2)
        return jax.random.uniform(key, shape, minval=-1.0, maxval=1.0) * self.eps

    def apply(self, params: Any, image: jax.Array) -> jax.Array:
        height, width = image.shape[:2]
        deviation = self.width * max(height, width)
        weights = base.gaussian(deviation, math.ceil(4 * deviation))
        flow = base.blur(params, weights, "reflect")
        rows, columns = jnp.meshgrid(
            jnp.arange(height), jnp.arange(width), indexing="ij"
        )
        source = [rows + flow[..., 0], columns + flow[..., 1]]
        return numerics.clip(base.sample(image, source, "constant"), 0.0, 1.0)

    def direction(self, grad: Any, params: Any, image: jax.Array) -> Any:
        return numerics.steepest(grad, "linf")

    def project(self, params: Any, image: jax.Array) -> Any:
        return jnp.clip(numerics.finite_or_zero(params), -self.eps, self.eps)

    def size(self, params: Any, image: jax.Array) -> jax.Array:
        return jnp.max(jnp.abs(params))
