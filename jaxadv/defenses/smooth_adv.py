"""SmoothAdv: adversarial training of the smoothed network."""

from typing import Any

import jax
import jax.numpy as jnp

from jaxadv import specs, struct
from jaxadv.craft import craft
from jaxadv.craft.base import draws_key, example_key
from jaxadv.defenses import base, inner
from jaxadv.defenses.gaussian import noisy_pass
from jaxadv.objectives import CrossEntropy, FixedDraws
from jaxadv.smoothing import smoothed


@struct.dataclass
class SmoothAdv:
    """Cross-entropy of noisy copies of images that are attacked as smoothed.

    The attack climbs the cross-entropy of the mean probabilities over `samples` draws
    of noise, which are the same at all its steps, and the copies that are trained on
    have the same noise again. Source: Salman et al., "Provably robust deep learning via
    adversarially trained smoothed classifiers", 2019, eq. 6 and section 2.2. Where
    their code takes a step of the optimizer for each part of a batch, this takes one
    for all copies.

    Attributes:
      attacks: a tuple of one attack, as PGD in l2; its objective is replaced.
      sigma: the noise's deviation, in [0, 1] units.
      samples: draws of noise, of the attack and of the update.
      warm_up: steps over which the attack's eps grows evenly to its own; 0: none.
    """

    attacks: Any = specs.given()
    sigma: float = specs.static(0.25, minimum=0.0)
    samples: int = specs.static(4, minimum=1)
    warm_up: int = specs.static(0, minimum=0)

    def __post_init__(self):
        specs.check(self)
        inner.with_budgets(self)

    def init(self, image_shape: tuple[int, ...], examples: int) -> Any:
        return ()

    def loss(
        self, params: Any, state: Any, batch: dict[str, jax.Array], key: jax.Array
    ) -> tuple[jax.Array, base.Output]:
        craft_key, train_key = jax.random.split(key)
        images, labels, ids = batch["image"], batch["label"], batch["id"]
        attack = inner.with_budgets(self).replace(objective=FixedDraws(CrossEntropy()))
        model = smoothed(
            state.network.target(params, state.batch_stats), self.sigma, self.samples
        )
        eps = self.ramp(state.step) * attack.threat.eps
        found = craft(
            attack, model, craft_key, images, labels, ids=ids,
            per_image={"threat.eps": jnp.full(labels.shape, eps)},
        )  # fmt: skip
        keys = jax.vmap(lambda i: draws_key(example_key(craft_key, i), 0))(ids)
        logits, batch_stats = noisy_pass(
            self, params, state, found.image, keys, ids, train_key
        )
        losses = jax.vmap(base.cross_entropies, (1, None))(logits, labels)
        hits = jax.vmap(base.correct, (1, None))(logits, labels)
        metrics = {"robust_accuracy": jnp.mean(hits)}
        return jnp.mean(losses), base.Output(batch_stats, state.memory, metrics)

    def ramp(self, step: Any) -> jax.Array:
        """The fraction of eps at a step of the training, from 1 / `warm_up` to 1."""
        return jnp.minimum(1.0, (step + 1) / max(self.warm_up, 1))
