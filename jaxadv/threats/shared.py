"""One perturbation for all the images of a group."""

from typing import Any, ClassVar

import jax
import jax.numpy as jnp

from jaxadv import specs, struct
from jaxadv.threats import lp


@struct.dataclass
class Shared:
    """A universal perturbation: one delta in an lp ball, valid for K images at once.

    The image is [K, h, w, c] and parameters are [h, w, c]. Projections are the exact
    ones onto the ball and the box max_k(-x_k) <= delta <= min_k(1 - x_k). Source:
    Moosavi-Dezfooli, Fawzi, Fawzi and Frossard, "Universal adversarial perturbations",
    2017, for the problem; Wang et al., "Adversarial Attack Generation Empowered by
    Min-Max Optimization", 2021, eq. 6 and proposition 1.

    Attributes:
      threat: the lp ball; `size` is its own, the largest over the images.
    """

    threat: Any = specs.part(lambda: lp.BALLS)

    groups: ClassVar[bool] = True  # an image may be a group of them

    @property
    def eps(self) -> Any:
        return self.threat.eps

    @property
    def budget(self) -> Any:
        return self.threat.budget

    def init(self, key: jax.Array, image: jax.Array) -> Any:
        return self.threat.init(key, image)

    def apply(self, params: Any, image: jax.Array) -> jax.Array:
        return lp.apply(params, image)

    def direction(self, grad: Any, params: Any, image: jax.Array) -> Any:
        return self.threat.direction(grad, params, image)

    def maximize(self, grad: Any, image: jax.Array) -> Any:
        return self.threat.maximize(grad, image)

    def project(self, params: Any, image: jax.Array) -> Any:
        return self.threat.project(params, image)

    def size(self, params: Any, image: jax.Array) -> jax.Array:
        images = image.reshape(-1, *image.shape[-3:])
        return jnp.max(jax.vmap(lambda one: self.threat.size(params, one))(images))
