"""Adversarial training of a Bayesian network."""

from typing import Any

import jax
import jax.numpy as jnp

from jaxadv import protocols, specs, struct
from jaxadv.craft import craft
from jaxadv.defenses import base, inner
from jaxadv.specs import UsageError


@struct.dataclass
class AdvBnn:
    """The evidence lower bound at attacked images: cross-entropy + alpha / N KL.

    N is the number of training images, KL the network's `penalty`: the divergence of
    all its weights from their prior, in nats. Weights are drawn once for all images of
    a pass. Source: Liu et al., "Adv-BNN: improved adversarial defense through robust
    Bayesian neural network", 2019, equations 7 and 8.

    Attributes:
      attacks: a tuple of one attack; the source's is PGD without a random start.
      alpha: weight of the divergence; 1 is the lower bound, the source's code also has
        0.02.
    """

    attacks: Any = specs.given()
    alpha: float = specs.static(1.0, minimum=0.0)

    def __post_init__(self):
        specs.check(self)
        inner.only(self)

    def init(self, image_shape: tuple[int, ...], examples: int) -> Any:
        return ()

    def loss(
        self, params: Any, state: Any, batch: dict[str, jax.Array], key: jax.Array
    ) -> tuple[jax.Array, base.Output]:
        craft_key, train_key = jax.random.split(key)
        module = state.network.module
        learned = protocols.learns_noise(module) == "log_sigma"
        if not (learned and protocols.has_penalty(module)):
            raise UsageError(
                f"AdvBnn: the network {type(module).__name__} has no divergence from a "
                "prior; set config.model to adv_bnn around it"
            )
        model = state.network.target(params, state.batch_stats)
        attacked = craft(
            self.attacks[0], model, craft_key, batch["image"], batch["label"],
            ids=batch["id"], features=base.features(batch),
        ).image  # fmt: skip
        _, losses, hits, batch_stats, _ = base.one_pass(
            state, params, batch, [attacked], train_key, 0.0
        )
        divergence = module.penalty(params)
        metrics = {"robust_accuracy": jnp.mean(hits), "divergence": divergence}
        loss = jnp.mean(losses) + self.alpha / state.examples * divergence
        return loss, base.Output(batch_stats, state.memory, metrics)
