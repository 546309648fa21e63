"""Noise on activations, with a learned deviation for each of them."""

from typing import Any, ClassVar

import jax
import jax.numpy as jnp

from jaxadv import specs
from jaxadv.models.noisy import base


class Learn2Perturb(base.RandomNetwork):
    """A network with Gaussian noise where its layers offer a `layers.site`.

    These are the stem before its ReLU and the sum that ends each residual block.
    P = f(X, W) + sigma N(0, 1), with a deviation for each activation of an image, so
    that it fits images of one size. Source: Jeddi, Shafiee, Karg, Scharfenberger and
    Wong, "Learn2Perturb: an end-to-end feature perturbation learning to improve
    adversarial robustness", 2020, equations 3, 4 and 8.

    Attributes:
      sigma: the deviations at first.
      least_sigma: what they are kept above.

    Raises:
      UsageError: the network offers no such place.
    """

    sigma: float = specs.static(0.25, minimum=1e-6)
    least_sigma: float = specs.static(0.01, minimum=1e-6)
    learns: ClassVar = "sigma"

    def begin(self, inner: Any, variables: Any, images: jax.Array) -> Any:
        def sites():
            return inner.apply(variables, images, train=False, mutable=["sites"])[1]

        found = jax.eval_shape(sites).get("sites", {})
        if not found:
            raise specs.UsageError(
                f"Learn2Perturb.network is a {type(inner).__name__}, which offers no "
                "place for noise; take a residual network"
            )
        return jax.tree.map(lambda x: jnp.full(x.shape[1:], self.sigma), found)

    def randomized(self, learned: Any, weights: Any, key: Any) -> dict[str, Any]:
        return {
            "noise": jax.tree.map(jnp.multiply, learned, base.normals(key, learned))
        }

    def constrain(self, params: Any) -> Any:
        """The parameters with every deviation at least `least_sigma`."""
        sigma = jax.tree.map(
            lambda s: jnp.maximum(s, self.least_sigma), params["sigma"]
        )
        return {**params, "sigma": sigma}

    def penalty(self, params: Any) -> jax.Array:
        """Minus the sum of the roots of all deviations; equation 8 without 1/tau."""
        roots = [jnp.sum(jnp.sqrt(s)) for s in jax.tree.leaves(params["sigma"])]
        return -jnp.sum(jnp.stack(roots))
