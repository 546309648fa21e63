"""Instance adaptive adversarial training: each image has a budget that it can bear."""

from typing import Any

import jax
import jax.numpy as jnp

from jaxadv import specs, struct
from jaxadv.craft import craft
from jaxadv.defenses import base, inner


@struct.dataclass
class Iaat:
    """Training in balls that grow while the network withstands a larger one.

    The budget eps of an image is remembered from visit to visit. Two attacks ask
    whether the network is robust at eps and at eps + gamma; the new budget is
    (1 - beta) eps + beta `candidate`, and the network learns from a third attack within
    it. Nothing bounds the budgets from above. Source: Balaji, Goldstein and Hoffman,
    "Instance adaptive adversarial training: improved accuracy tradeoffs in neural
    nets", 2019, algorithms 1 and 2, with the numbers of the authors' code. There the
    network attacks in train mode; here it does so, and is asked, in evaluation mode.

    With `warm_up` the budget is `eps_warm` for images that are correct when clean and 0
    for others: the source's first epochs, whose last visits are what the balls start
    from. Without any, they start from 0. A step is `rel_step_size` times the budget,
    and `least_step` at least; within a budget of 0 the image stays as it is.

    Attributes:
      attacks: a tuple of one PGD in linf or l2; the source's has 10 steps and a
        `rel_step_size` of 0.2. Its own eps is that of the validation alone.
      warm_up: whether this is the phase before the balls adapt.
      eps_warm: the budget of that phase, in the threat's units; the source's 8/255.
      gamma: how far beyond the budget the network is asked, in the same units; 1.9/255.
      beta: the weight of the new budget against the old one, 0.1.
      least_step: the smallest length of a step, in the same units; 2/255.
    """

    attacks: Any = specs.given()
    warm_up: bool = specs.static(False)
    eps_warm: float = specs.leaf(8 / 255, minimum=0.0)
    gamma: float = specs.leaf(1.9 / 255, minimum=0.0)
    beta: float = specs.leaf(0.1, minimum=0.0, maximum=1.0)
    least_step: float = specs.leaf(2 / 255, minimum=0.0)

    def __post_init__(self):
        specs.check(self)
        inner.ascent(self)

    def init(self, image_shape: tuple[int, ...], examples: int) -> Any:
        return {"eps": jnp.zeros(examples)}

    def loss(
        self, params: Any, state: Any, batch: dict[str, jax.Array], key: jax.Array
    ) -> tuple[jax.Array, base.Output]:
        craft_key, train_key = jax.random.split(key)
        keys = jax.random.split(craft_key, 3)
        images, labels, ids = batch["image"], batch["label"], batch["id"]
        model = state.network.target(params, state.batch_stats)
        clean = inner.clean_logits(model, craft_key, images, ids)
        right = base.correct(clean, labels)
        if self.warm_up:
            eps = jnp.where(right, self.eps_warm, 0.0)
        else:
            before = state.memory["eps"][ids]
            wider = before + self.gamma
            robust = self._withstood(model, keys[0], batch, before)
            beyond = self._withstood(model, keys[1], batch, wider)
            found = candidate(before, robust, beyond, right, self.gamma)
            eps = self.beta * found + (1 - self.beta) * before
        attacked = self._attacked(model, keys[2], batch, eps)
        _, losses, hits, batch_stats, _ = base.one_pass(
            state, params, batch, [attacked.image], train_key, 0.0
        )
        metrics = {
            "clean_accuracy": jnp.mean(right),
            "robust_accuracy": jnp.mean(hits),
            "eps_mean": jnp.mean(eps),
        }
        memory = inner.remembered(state.memory, ids, eps)
        return jnp.mean(losses), base.Output(batch_stats, memory, metrics)

    def _withstood(self, model, key, batch, eps):
        # Not `~success`, which would count a margin that is NaN as robust.
        return self._attacked(model, key, batch, eps).margin < 0

    def _attacked(self, model, key, batch, eps):
        """`craft` with a budget [b] for each image and steps that follow it."""
        attack = inner.ascent(self)
        steps = jnp.maximum(attack.rel_step_size * eps, self.least_step)
        attack = attack.replace(step_size=self.least_step, rel_step_size=None)
        return craft(
            attack, model, key, batch["image"], batch["label"], ids=batch["id"],
            per_image={"threat.eps": eps, "step_size": steps},
        )  # fmt: skip


def candidate(
    eps: jax.Array, robust: jax.Array, beyond: jax.Array, right: jax.Array, gamma: Any
) -> jax.Array:
    """The budgets [b] that images move towards.

    That is eps + gamma where the network is robust there, also where it is not at eps;
    else eps where it is robust at eps; else eps - gamma, at least 0; and 0 wherever the
    clean image is misclassified.

    Args:
      eps: [b] the budgets before.
      robust: [b] whether the network withstood the attack at eps.
      beyond: [b] whether it withstood the one at eps + gamma.
      right: [b] whether the clean image is correct.
      gamma: how far the budgets are apart.
    """
    found = jnp.where(robust, eps, jnp.maximum(eps - gamma, 0.0))
    return jnp.where(right, jnp.where(beyond, eps + gamma, found), 0.0)
