"""Adversarial weight perturbation: each step is taken from worse weights nearby.

Wu, Xia and Wang, "Adversarial weight perturbation helps robust generalization" (2020),
with one step of the perturbation: images are attacked on the weights w, v moves w up
the loss of these images, and the gradient that w follows is the one at w + v. As in the
authors' code v is that of kernels alone, layer by layer.
"""

import dataclasses
from typing import Any

import jax
import jax.numpy as jnp

from jaxadv import numerics, parallel
from jaxadv.specs import static


@dataclasses.dataclass(frozen=True)
class Awp:
    """Adversarial weight perturbation: each step is taken from worse weights nearby."""

    gamma: float | None = static(
        None,
        above=0,
        help="size of the perturbation relative to each kernel's norm, as 0.005; None: "
        "no perturbation",
    )
    after: int = static(0, minimum=0, help="epochs before it begins")

    def at(self, step: jax.Array, steps_per_epoch: int) -> jax.Array:
        """The relative size in a step."""
        return jnp.where(step < self.after * steps_per_epoch, 0.0, self.gamma or 0.0)


def perturbation(grads: Any, params: Any, gamma: Any) -> Any:
    """v: for each kernel the steepest ascent of a loss, `gamma` times its norm long.

    Biases and the parameters of normalization, which have one axis, get zeros, and so
    does a kernel without a gradient.

    Args:
      grads: of the loss of this device's images in the params; they are averaged over
        all devices.
      params: of the network.
      gamma: relative size of the perturbation.
    """
    grads = jax.lax.pmean(grads, parallel.AXIS)

    def one(weight, grad):
        if weight.ndim < 2:
            return jnp.zeros_like(weight)
        unit = numerics.safe_normalize(grad, "l2")
        return gamma * numerics.safe_norm(weight, "l2") * unit

    return jax.lax.stop_gradient(jax.tree.map(one, params, grads))
