"""Universal adversarial training: one perturbation for all images."""

from typing import Any

import jax
import jax.numpy as jnp

from jaxadv import specs, struct
from jaxadv.attacks.gradient.ascent import Ascent
from jaxadv.craft import joint
from jaxadv.defenses import base
from jaxadv.threats import lp


@struct.dataclass
class Universal:
    """Cross-entropy of all images under one perturbation, trained beside the weights.

    The network learns from a batch under the perturbation that earlier ones have left;
    that then climbs the batch's mean loss by the attack's number of steps and stays in
    its ball. The perturbed images are clipped to [0, 1]. Source: Shafahi, Najibi, Xu,
    Dickerson, Davis and Goldstein, "Universal adversarial training", 2018 (uSGD), with
    one step of `eps` times the sign; both move from the same network here.

    Attributes:
      attacks: a tuple of one PGD, of whose threat (linf or l2), steps, step size and
        schedule use is made; the perturbation begins at zero.
    """

    attacks: Any = specs.given()

    def __post_init__(self):
        if len(self.attacks) != 1:
            raise specs.UsageError(
                f"Universal needs exactly one attack, not {len(self.attacks)}; "
                "set config.attack"
            )
        (attack,), kind = self.attacks, Ascent
        if type(attack) is not kind or not isinstance(attack.threat, (lp.Linf, lp.L2)):
            raise specs.UsageError(
                "Universal: the attack must be 'pgd' with the threat 'linf' or 'l2'"
            )

    def init(self, image_shape: tuple[int, ...], examples: int) -> Any:
        return jnp.zeros(image_shape)

    def loss(
        self, params: Any, state: Any, batch: dict[str, jax.Array], key: jax.Array
    ) -> tuple[jax.Array, base.Output]:
        craft_key, train_key = jax.random.split(key)
        images, labels, ids = batch["image"], batch["label"], batch["id"]
        model = state.network.target(params, state.batch_stats)
        delta = joint.ascend(
            self.attacks[0], model, state.memory, images, labels,
            base.local_key(craft_key, ids),
        )  # fmt: skip
        attacked = jax.vmap(lp.apply, (None, 0))(state.memory, images)
        logits, batch_stats = state.network.train(
            params, state.batch_stats, attacked, train_key, ids
        )
        metrics = {"robust_accuracy": jnp.mean(base.correct(logits, labels))}
        loss = jnp.mean(base.cross_entropies(logits, labels))
        return loss, base.Output(batch_stats, delta, metrics)
