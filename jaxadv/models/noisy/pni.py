"""Noise on weights, scaled by their own deviation and learned factors."""

from typing import Any, ClassVar

import jax
import jax.numpy as jnp
from flax import traverse_util

from jaxadv import specs
from jaxadv.models.noisy import base

GRAINS = ("layer", "channel", "element")


class Pni(base.RandomNetwork):
    """A network with Gaussian noise on the kernels of its layers.

    w + alpha N(0, std(w)^2), std being the unbiased deviation of a layer's whole kernel
    and no gradient going through it; alpha is learned and unbounded. Biases and
    normalization have no noise. Source: Rakin, He and Fan, "Parametric noise
    injection: trainable randomness to improve deep neural network robustness against
    adversarial attack", 2019, equations 1 to 4, with its code's unbiased deviation.

    Attributes:
      alpha: the factors at first.
      grain: what has a factor of its own: a "layer", an output "channel" or an
        "element" of a kernel.
    """

    alpha: float = specs.static(0.25)
    grain: str = specs.static("layer", choices=GRAINS)
    learns: ClassVar = "alpha"

    def begin(self, inner: Any, variables: Any, images: jax.Array) -> Any:
        def factors(kernel):
            shapes = {"layer": (), "channel": kernel.shape[-1:]}
            return jnp.full(shapes.get(self.grain, kernel.shape), self.alpha)

        return jax.tree.map(factors, kernels(variables["params"]))

    def randomized(self, learned: Any, weights: Any, key: Any) -> dict[str, Any]:
        own = kernels(weights)
        noise = base.normals(key, own)

        def noised(kernel, alpha, drawn):
            return kernel + alpha * deviation(kernel) * drawn

        found = jax.tree.map(noised, own, learned, noise)
        flat = traverse_util.flatten_dict(weights) | traverse_util.flatten_dict(found)
        return {"params": traverse_util.unflatten_dict(flat)}


def kernels(params: Any) -> Any:
    """The subtree of the weights that have more than one axis."""
    flat: dict[Any, Any] = traverse_util.flatten_dict(params)
    return traverse_util.unflatten_dict({k: v for k, v in flat.items() if v.ndim > 1})


def deviation(kernel: jax.Array) -> jax.Array:
    """The unbiased standard deviation, without a gradient; 0 of one number."""
    if kernel.size == 1:
        return jnp.zeros(())
    return jax.lax.stop_gradient(jnp.std(kernel, ddof=1))
