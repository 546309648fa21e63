"""MART: misclassified images count more in the stability of the prediction."""

from typing import Any

import jax
import jax.numpy as jnp

from jaxadv import specs, struct
from jaxadv.defenses import base, inner
from jaxadv.objectives import CrossEntropy


@struct.dataclass
class Mart:
    """Boosted cross-entropy of attacked images plus a divergence that weighs by errors.

    The loss is `mart_loss` of the logits of clean and attacked images. Source: Wang,
    Zou, Yi, Bailey, Ma and Gu, "Improving adversarial robustness requires revisiting
    misclassified examples", 2020, algorithm 1. The attack climbs the
    cross-entropy in evaluation mode. Two forward passes in train mode, clean and then
    attacked, are each normalized by their own batch's statistics and move the running
    ones in turn, as in the authors' code.

    Attributes:
      attacks: a tuple of one attack, the source's PGD of 10 steps of 0.007 in
        l-infinity 0.031; its objective is replaced by the cross-entropy.
      lam: weight of the divergence; the source's 5 for a ResNet-18, 6 for a wide
        ResNet.
      start: standard deviation, in the threat's own units, of the Gaussian that
        the attack starts from; None for the attack's own start.
    """

    attacks: Any = specs.given()
    lam: float = specs.leaf(5.0, minimum=0.0)
    start: float | None = specs.static(0.001, minimum=0.0)

    def __post_init__(self):
        specs.check(self)
        inner.only(self)

    def init(self, image_shape: tuple[int, ...], examples: int) -> Any:
        return ()

    def craft(
        self, params: Any, state: Any, batch: dict[str, jax.Array], key: jax.Array
    ) -> jax.Array:
        return inner.crafted(self._inner(), state, params, batch, key)

    def loss(
        self,
        params: Any,
        state: Any,
        batch: dict[str, jax.Array],
        key: jax.Array,
        crafted: Any = None,
    ) -> tuple[jax.Array, base.Output]:
        clean, moved, batch_stats, metrics = inner.two_passes(
            self._inner(), state, params, batch, key, crafted
        )
        loss = mart_loss(clean, moved, batch["label"], self.lam)
        return loss, base.Output(batch_stats, state.memory, metrics)

    def _inner(self):
        return inner.started(inner.only(self), CrossEntropy(), self.start)


def mart_loss(
    natural: jax.Array, adversarial: jax.Array, labels: jax.Array, lam: Any
) -> jax.Array:
    """The mean of BCE(q, y) + lam KL(p || q) (1 - p_y).

    p and q are the probabilities of the clean and of the attacked image and
    BCE(q, y) = -log q_y - log(1 - max over k != y of q_k). The constants that keep
    the logarithms finite, 1.0001 and 1e-12, and the weight's 1.0000001 are those of the
    authors' code. The gradient goes through all terms, the weight too.

    Args:
      natural: [b, classes] logits of the clean images.
      adversarial: [b, classes] logits of the attacked ones.
      labels: [b].
      lam: weight of the divergence.
    """
    terms = jax.vmap(_terms)(natural, adversarial, labels)
    boosted, divergence = (jnp.mean(term) for term in terms)
    return boosted + lam * divergence


def _terms(natural, adversarial, label):
    """(BCE, weighed divergence) of one image."""
    others = jnp.where(jnp.arange(len(adversarial)) == label, -jnp.inf, adversarial)
    q = jax.nn.softmax(adversarial)
    p, log_p = jax.nn.softmax(natural), jax.nn.log_softmax(natural)
    log_p = jnp.where(log_p > -jnp.inf, log_p, 0.0)  # where p is 0, nothing is added
    boosted = base.cross_entropies(adversarial[None], label[None])[0]
    boosted -= jnp.log(1.0001 - q[jnp.argmax(others)] + 1e-12)
    divergence = jnp.sum(p * (log_p - jnp.log(q + 1e-12)))
    return boosted, divergence * (1.0000001 - p[label])
