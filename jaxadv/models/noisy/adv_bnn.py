"""Gaussian distributions in place of weights."""

from typing import Any, ClassVar

import jax
import jax.numpy as jnp

from jaxadv import specs
from jaxadv.models.noisy import base


class AdvBnn(base.RandomNetwork):
    """A Bayesian network whose every parameter is normal and independent.

    Weights, biases and the affine parameters of batch normalization are
    mu + exp(s) N(0, 1). The means start as the network's own parameters. Source: Liu,
    Li, Wu and Hsieh, "Adv-BNN: improved adversarial defense through robust Bayesian
    neural network", 2019, section 3.2.

    Attributes:
      sigma: the deviations exp(s) at first.
      prior_sigma: the deviation of the prior, which is normal about 0.
    """

    sigma: float = specs.static(0.08, minimum=1e-6)
    prior_sigma: float = specs.static(0.08, minimum=1e-6)
    learns: ClassVar = "log_sigma"
    off: ClassVar = -jnp.inf

    def begin(self, inner: Any, variables: Any, images: jax.Array) -> Any:
        at_first = jnp.log(self.sigma)
        return jax.tree.map(lambda w: jnp.full(w.shape, at_first), variables["params"])

    def randomized(self, learned: Any, weights: Any, key: Any) -> dict[str, Any]:
        def drawn(mean, log_sigma, noise):
            return mean + jnp.exp(log_sigma) * noise

        noise = base.normals(key, weights)
        return {"params": jax.tree.map(drawn, weights, learned, noise)}

    def penalty(self, params: Any) -> jax.Array:
        """The divergence of the weights from their prior, in nats, over all of them."""
        pairs = (params["weights"], params["log_sigma"])
        found = jax.tree.map(lambda m, s: jnp.sum(kl(m, s, self.prior_sigma)), *pairs)
        return jnp.sum(jnp.stack(jax.tree.leaves(found)))


def kl(mean: jax.Array, log_sigma: jax.Array, prior_sigma: float) -> jax.Array:
    """KL(N(mean, exp(log_sigma)^2) || N(0, prior_sigma^2)), elementwise, in nats."""
    square = jnp.exp(2 * log_sigma) + mean**2
    return jnp.log(prior_sigma) - log_sigma + square / (2 * prior_sigma**2) - 0.5
