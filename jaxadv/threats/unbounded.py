"""Every image of the box, for attacks that pay for what they change."""

from typing import Any, ClassVar

import jax
import jax.numpy as jnp

from jaxadv import numerics, specs, struct
from jaxadv.threats import lp


@struct.dataclass
class Unbounded:
    """Any image in [0, 1]: nothing bounds how far it is, a penalty is the attack's own.

    Parameters are the perturbation, [h, w, c]. The budget is infinite, so every image
    that is misclassified counts as broken, and `size` tells how far the attack went.
    Tables say "penalized" where they print the eps of another threat. A relative step
    is relative to 1. Source: Azizmalayeri and Rohban, "Lagrangian objective function
    leads to improved unforeseen attack generalization in adversarial training", 2021,
    section 3, whose attack has a Lagrange multiplier in the place of a budget.

    Attributes:
      measure: the norm that `size` is and that the attack penalizes: "l2", as in the
        source, "linf" or "l1".
    """

    measure: str = specs.static("l2", choices=("l2", "linf", "l1"))

    __post_init__ = specs.check
    unbounded: ClassVar[bool] = True
    eps: ClassVar[float] = float("inf")
    budget: ClassVar[float] = 1.0

    def init(self, key: jax.Array, image: jax.Array) -> Any:
        return self.project(jax.random.uniform(key, image.shape) - image, image)

    def apply(self, params: Any, image: jax.Array) -> jax.Array:
        return lp.apply(params, image)

    def direction(self, grad: Any, params: Any, image: jax.Array) -> Any:
        return numerics.steepest(grad, self.measure)

    def project(self, params: Any, image: jax.Array) -> Any:
        return jnp.clip(params, *lp.box(image))

    def size(self, params: Any, image: jax.Array) -> jax.Array:
        return self.distance(image, self.apply(params, image))

    def distance(self, image: jax.Array, other: jax.Array) -> jax.Array:
        return numerics.safe_norm(other - image, self.measure)
