"""TRADES: accuracy traded against the stability of the prediction."""

from typing import Any

import jax
import jax.numpy as jnp

from jaxadv import specs, struct
from jaxadv.craft import craft
from jaxadv.defenses import base, inner
from jaxadv.objectives import KL, kl_divergence


@struct.dataclass
class Trades:
    """CE(f(x), y) + beta KL(f(x) || f(x')), x' maximizing the same divergence.

    Source: Zhang, Yu, Jiao, Xing, El Ghaoui and Jordan, "Theoretically principled
    trade-off between robustness and accuracy", 2019, eq. 5 and algorithm 1. The
    gradient flows through both arguments of the divergence. Two forward passes in
    train mode, clean and then attacked, are each normalized by their own batch's
    statistics and move the running ones in turn; the authors' code runs the clean
    pass twice, which changes nothing but the running statistics.

    Attributes:
      attacks: a tuple of one attack; its objective is replaced by the divergence.
      beta: weight of the divergence.
      start: standard deviation, in the threat's own units, of the Gaussian that
        the attack starts from; None for the attack's own start. The divergence
        has no gradient at the image itself.
    """

    attacks: Any = specs.given()
    beta: float = specs.static(6.0, minimum=0.0)
    start: float | None = specs.static(0.001, minimum=0.0)

    def __post_init__(self):
        specs.check(self)
        inner.only(self)
        if self.start == 0:
            raise specs.UsageError(
                "Trades.start is 0.0, the image itself, where the divergence has no "
                "gradient; give a larger one, as 0.001, or None for the attack's own"
            )
        self._inner()

    def init(self, image_shape: tuple[int, ...], examples: int) -> Any:
        return ()

    def loss(
        self, params: Any, state: Any, batch: dict[str, jax.Array], key: jax.Array
    ) -> tuple[jax.Array, base.Output]:
        craft_key, train_key = jax.random.split(key)
        images, labels, ids = batch["image"], batch["label"], batch["id"]
        model = state.network.target(params, state.batch_stats)
        attacked = craft(self._inner(), model, craft_key, images, labels, ids=ids)
        keys = jax.random.split(base.local_key(train_key, ids))
        network = state.network
        clean, batch_stats = network.train(params, state.batch_stats, images, keys[0])
        moved, batch_stats = network.train(params, batch_stats, attacked.image, keys[1])
        natural = jnp.mean(base.cross_entropies(clean, labels))
        divergence = jnp.mean(jax.vmap(kl_divergence)(clean, moved))
        metrics = {
            "clean_accuracy": jnp.mean(base.correct(clean, labels)),
            "robust_accuracy": jnp.mean(base.correct(moved, labels)),
            "divergence": divergence,
        }
        loss = natural + self.beta * divergence
        return loss, base.Output(batch_stats, state.memory, metrics)

    def _inner(self):
        attack = self.attacks[0].replace(objective=KL())
        if self.start is None:
            return attack
        return attack.replace(threat=inner.GaussianStart(attack.threat, self.start))
