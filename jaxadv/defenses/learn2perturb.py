"""Adversarial training of a network that learns how strong its noise is."""

from typing import Any

import jax
import jax.numpy as jnp

from jaxadv import protocols, specs, struct
from jaxadv.craft import craft
from jaxadv.defenses import base, inner
from jaxadv.specs import UsageError


@struct.dataclass
class Learn2Perturb:
    """Clean and attacked cross-entropy, less what the noise's deviations earn.

    alpha CE(clean) + beta CE(attacked) + gamma / tau penalty, which is minus the sum of
    the roots of all deviations. tau is the harmonic number of the epochs with noise so
    far, this one counted. Each of the two passes is in train mode with noise of its
    own; with beta = 0 there is no attack. Source: Jeddi et al., "Learn2Perturb", 2020,
    equations 5 to 8 and, of its supplement, 3. As in the authors' code the attack moves
    the network away from its own prediction on the clean image, so that no label leaks;
    their tau divides by zero in the first epoch with noise.

    Attributes:
      attacks: a tuple of one attack, or none while `beta` is 0.
      alpha: weight of the clean loss.
      beta: weight of the loss of the attacked images.
      gamma: weight of the penalty, 1e-4.
      since: the epochs of the training before those with noise, the source's 10.
      noisy: False trains the same network without noise, as before those epochs.
      predicted: attack the network's prediction in place of the label.
      alternate: the penalty moves the noise in a step of its own, before each step of
        all parameters (equations 6 and 7); False adds it to the loss.
    """

    attacks: Any = specs.given()
    alpha: float = specs.static(0.5, minimum=0.0)
    beta: float = specs.static(0.5, minimum=0.0)
    gamma: float = specs.static(1e-4, minimum=0.0)
    since: int = specs.static(0, minimum=0)
    noisy: bool = specs.static(True)
    predicted: bool = specs.static(True)
    alternate: bool = specs.static(False)

    def __post_init__(self):
        specs.check(self)
        if self.alpha + self.beta == 0:
            raise UsageError("Learn2Perturb: alpha and beta are both 0")
        if self.beta:
            inner.only(self)

    def init(self, image_shape: tuple[int, ...], examples: int) -> Any:
        return ()

    def loss(
        self, params: Any, state: Any, batch: dict[str, jax.Array], key: jax.Array
    ) -> tuple[jax.Array, base.Output]:
        network, labels = state.network, batch["label"]
        module = _penalized(network.module)
        used = params if self.noisy else protocols.silent(module, params)
        craft_key, *keys = jax.random.split(key, 3)
        clean, batch_stats = network.train(
            used, state.batch_stats, batch["image"], keys[0], batch["id"]
        )
        loss = self.alpha * jnp.mean(base.cross_entropies(clean, labels))
        metrics = {"clean_accuracy": jnp.mean(base.correct(clean, labels))}
        if self.beta:
            wanted = jnp.argmax(clean, axis=-1) if self.predicted else labels
            model = network.target(used, state.batch_stats)
            attacked = craft(
                self.attacks[0], model, craft_key, batch["image"], wanted,
                ids=batch["id"], features=base.features(batch),
            ).image  # fmt: skip
            moved, batch_stats = network.train(
                used, batch_stats, attacked, keys[1], batch["id"]
            )
            loss += self.beta * jnp.mean(base.cross_entropies(moved, labels))
            metrics["robust_accuracy"] = jnp.mean(base.correct(moved, labels))
        if self.noisy and not self.alternate:
            loss += self._penalty(module, params, state)
        metrics |= _deviations(params, module)
        return loss, base.Output(batch_stats, state.memory, metrics)

    def noise_loss(self, params: Any, state: Any) -> jax.Array:
        """What the step of the noise alone makes smaller, with `alternate`."""
        return self._penalty(_penalized(state.network.module), params, state)

    def _penalty(self, module, params, state):
        if not self.noisy:
            return jnp.zeros(())
        epochs = state.step // state.steps_per_epoch - self.since + 1
        epochs = jnp.maximum(epochs, 1)  # where the noise is on before `since`
        return self.gamma / harmonic(epochs) * module.penalty(params)


def harmonic(number: Any) -> jax.Array:
    """1 + 1/2 + … + 1/number, of a whole number >= 1, traced or not."""
    return (
        jax.scipy.special.digamma(jnp.asarray(number, jnp.float32) + 1)
        + jnp.euler_gamma
    )


def _penalized(module):
    learned = protocols.learns_noise(module) == "sigma"
    if not (learned and protocols.has_penalty(module)):
        raise UsageError(
            f"Learn2Perturb: the network {type(module).__name__} learns no deviations; "
            "set config.model to learn2perturb around it"
        )
    return module


def _deviations(params, module):
    """The mean of what the network learns of its noise."""
    leaves = jax.tree.leaves(params[protocols.learns_noise(module)])
    total = jnp.sum(jnp.stack([jnp.sum(leaf) for leaf in leaves]))
    return {"noise": total / sum(leaf.size for leaf in leaves)}
