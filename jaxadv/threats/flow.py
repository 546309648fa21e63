"""StAdv: every pixel is read from a place nearby."""

from typing import Any

import jax
import jax.numpy as jnp

from jaxadv import numerics, specs, struct
from jaxadv.threats import base


@struct.dataclass
class StAdv:
    """A flow field that says where each pixel comes from.

    Parameters are the flow, [h, w, 2]: rows and columns, in coordinates where the
    image spans [-1, 1] from edge to edge, so `eps` is eps * side / 2 pixels. Each
    entry is at most `eps` and none leaves the image; `size` is the largest one. In
    between pixels are interpolated linearly, black beyond the border.

    Source: Xiao, Zhu, Li, He, Liu and Song, "Spatially transformed adversarial
    examples", 2018, who penalize the roughness of the flow and do not bound it;
    bound and normalized coordinates as in Laidlaw, Singla and Feizi, "Perceptual
    adversarial robustness", 2021, with 0.025, 0.05 and 0.1 (table 4). Their public
    code takes Adam steps on margin + 0.0025 / eps * roughness and starts at zero.

    Attributes:
      eps: the bound.
      smooth: weight of `roughness`, which `direction` trades against the objective.
        0 gives the strongest attack, 0.05 their smoothness; it suits the margin,
        since the gradient of the cross-entropy of a sure network is far smaller.
    """

    eps: float = specs.leaf(0.05, minimum=0.0)
    smooth: float = specs.leaf(0.0, minimum=0.0)

    __post_init__ = specs.check

    @property
    def budget(self) -> Any:
        return self.eps

    def init(self, key: jax.Array, image: jax.Array) -> Any:
        shape = (*image.shape[:2], 2)
        flow = jax.random.uniform(key, shape, minval=-1.0, maxval=1.0) * self.eps
        return self.project(flow, image)

    def apply(self, params: Any, image: jax.Array) -> jax.Array:
        height, width = image.shape[:2]
        rows, columns = jnp.meshgrid(
            jnp.arange(height), jnp.arange(width), indexing="ij"
        )
        source = [
            rows + params[..., 0] * (height / 2),
            columns + params[..., 1] * (width / 2),
        ]
        return numerics.clip(base.sample(image, source, "constant"), 0.0, 1.0)

    def direction(self, grad: Any, params: Any, image: jax.Array) -> Any:
        return numerics.steepest(base.smoothed(grad, params, self.smooth), "linf")

    def project(self, params: Any, image: jax.Array) -> Any:
        axes = [(2 * jnp.arange(side) + 1) / side - 1 for side in image.shape[:2]]
        place = jnp.stack(jnp.meshgrid(*axes, indexing="ij"), axis=-1)
        flow = jnp.clip(numerics.finite_or_zero(params), -1 - place, 1 - place)
        return jnp.clip(flow, -self.eps, self.eps)

    def size(self, params: Any, image: jax.Array) -> jax.Array:
        return jnp.max(jnp.abs(params))

    def roughness(self, params: Any) -> Any:
        """Differences between neighboring flows; see `base.roughness`."""
        return base.roughness(params)
