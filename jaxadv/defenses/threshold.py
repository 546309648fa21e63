"""PGD training whose budget follows the clean probability of the true class."""

from typing import Any

import jax
import jax.numpy as jnp

from jaxadv import specs, struct
from jaxadv.craft import craft
from jaxadv.defenses import base, inner


@struct.dataclass
class Threshold:
    """Adversarial training with a smaller budget for images that are known less surely.

    An image is attacked within eps times the fraction of the interval that its
    probability of the true class lies in, clean and in evaluation mode; a probability
    that equals a threshold belongs to the interval above. A relative step size is
    relative to the image's own budget. Source: Azizmalayeri and Rohban, "Lagrangian
    objective function leads to improved unforeseen attack generalization", 2021,
    section 4.1, Threshold-linf and Threshold-l2, of which there is no public code; eps,
    the side of equality and the network's mode are not given there.

    Attributes:
      attacks: a tuple of one attack, whose `threat.eps` is the largest budget.
      thresholds: the bounds between the intervals of [0, 1], in rising order; the
        source's 0.1, 0.25 and 0.5.
      fractions: of eps, one more than thresholds, for the least probable images first;
        the source's 0.03, 0.3, 0.55 and 1.
    """

    attacks: Any = specs.given()
    thresholds: tuple[float, ...] = specs.static(
        (0.1, 0.25, 0.5), minimum=0.0, maximum=1.0
    )
    fractions: tuple[float, ...] = specs.static((0.03, 0.3, 0.55, 1.0), minimum=0.0)

    def __post_init__(self):
        specs.check(self)
        inner.with_budgets(self)
        bounds = self.thresholds
        if list(bounds) != sorted(set(bounds)):
            raise specs.UsageError(
                f"Threshold.thresholds is {bounds}; give them in rising order"
            )
        if len(self.fractions) != len(bounds) + 1:
            raise specs.UsageError(
                f"Threshold.fractions has {len(self.fractions)} entries for "
                f"{len(bounds)} thresholds; give {len(bounds) + 1}"
            )

    def init(self, image_shape: tuple[int, ...], examples: int) -> Any:
        return ()

    def loss(
        self, params: Any, state: Any, batch: dict[str, jax.Array], key: jax.Array
    ) -> tuple[jax.Array, base.Output]:
        craft_key, train_key = jax.random.split(key)
        images, labels, ids = batch["image"], batch["label"], batch["id"]
        model = state.network.target(params, state.batch_stats)
        clean = inner.clean_logits(model, craft_key, images, ids)
        attack = inner.with_budgets(self)
        eps = self.fraction(jnp.exp(-base.cross_entropies(clean, labels)))
        eps = eps * attack.threat.eps
        attacked = craft(
            attack, model, craft_key, images, labels, ids=ids,
            per_image={"threat.eps": eps},
        )  # fmt: skip
        _, losses, hits, batch_stats, _ = base.one_pass(
            state, params, batch, [attacked.image], train_key, 0.0
        )
        metrics = {
            "clean_accuracy": jnp.mean(base.correct(clean, labels)),
            "robust_accuracy": jnp.mean(hits),
            "eps_mean": jnp.mean(eps),
        }
        return jnp.mean(losses), base.Output(batch_stats, state.memory, metrics)

    def fraction(self, probability: jax.Array) -> jax.Array:
        """[b] of the budget, of the true class's probabilities [b]."""
        bounds, fractions = jnp.array(self.thresholds), jnp.array(self.fractions)
        return fractions[jnp.searchsorted(bounds, probability, side="right")]
