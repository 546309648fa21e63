"""Adversarial training against one or several attacks."""

from collections.abc import Callable
from typing import Any, ClassVar

import jax
import jax.numpy as jnp

from jaxadv import specs, struct
from jaxadv.craft import craft
from jaxadv.defenses import base, inner


@struct.dataclass
class Adversarial:
    """`alpha` times the clean loss plus `beta` times the loss of attacked images.

    With one attack this is the training of Madry et al., "Towards deep learning
    models resistant to adversarial attacks", 2018, eq. 2.1; with a one-step attack
    from a random start, that of Wong, Rice and Kolter, "Fast is better than free:
    revisiting adversarial training", 2020. Several attacks follow Tramer and
    Boneh, "Adversarial training and robustness for multiple perturbations", 2019,
    eqs. 3 and 4, and "random" Laidlaw, Singla and Feizi, "Perceptual adversarial
    robustness: defense against unseen threat models", 2021.

    All images of a step, clean ones and the copies of every attack, go through
    ONE forward pass in train mode, so batch normalization sees them together.

    Attributes:
      attacks: one or more attacks.
      mode: with several attacks, "random" draws one a step, the same on all
        devices; "average" takes the mean of their losses; "maximum" takes the
        largest loss of each example.
      alpha: weight of the clean loss.
      beta: weight of the loss of the attacked images.
      only_attack_correct: leave images clean that are misclassified already.
      predicted: attack the network's prediction on the clean image in place of the
        label, so that no label leaks (Kurakin, Goodfellow and Bengio, "Adversarial
        machine learning at scale", 2017, section 3.1); PNI is trained so.
    """

    attacks: Any = specs.given()
    mode: str = specs.static("random", choices=("random", "average", "maximum"))
    alpha: float = specs.static(0.0, minimum=0.0)
    beta: float = specs.static(1.0, minimum=0.0)
    only_attack_correct: bool = specs.static(False)
    predicted: bool = specs.static(False)
    takes_targets: ClassVar[bool] = True

    def __post_init__(self):
        specs.check(self)
        if not self.attacks:
            raise specs.UsageError("Adversarial needs an attack; set config.attack")
        if self.alpha + self.beta == 0:
            raise specs.UsageError("Adversarial: alpha and beta are both 0")

    def init(self, image_shape: tuple[int, ...], examples: int) -> Any:
        return ()

    def loss(
        self,
        params: Any,
        state: Any,
        batch: dict[str, jax.Array],
        key: jax.Array,
        crafted: Any = None,
    ) -> tuple[jax.Array, base.Output]:
        if crafted is None:
            crafted = self.craft(params, state, batch, key)
        _, train_key = jax.random.split(key)
        clean, losses, hits, batch_stats, metrics = base.one_pass(
            state, params, batch, crafted, train_key, self.alpha
        )
        if self.mode == "maximum":
            losses, hits = base.hardest(losses, losses), base.hardest(losses, hits)
        metrics["robust_accuracy"] = jnp.mean(hits)
        loss = clean + self.beta * jnp.mean(losses)
        return loss, base.Output(batch_stats, state.memory, metrics)

    def craft(
        self, params: Any, state: Any, batch: dict[str, jax.Array], key: jax.Array
    ) -> list[jax.Array]:
        """A list of [b, h, w, c], one for each attack that counts in this step."""
        model = state.network.target(params, state.batch_stats)
        images, labels, ids = batch["image"], batch["label"], batch["id"]
        craft_key, _ = jax.random.split(key)
        draw_key, key = jax.random.split(craft_key)
        clean: Any = None
        wanted = labels
        if self.only_attack_correct or self.predicted:
            clean = inner.clean_logits(model, key, images, ids)
        if self.predicted:
            wanted = jnp.argmax(clean, axis=-1)

        def attacked(index):
            own = jax.random.fold_in(key, index)
            return craft(
                self.attacks[index], model, own, images, wanted, ids=ids,
                features=base.features(batch),
            ).image  # fmt: skip

        choices = [lambda i=i: attacked(i) for i in range(len(self.attacks))]
        if self.mode == "random":
            crafted = [
                _one_of(choices, jax.random.randint(draw_key, (), 0, len(choices)))
            ]
        else:
            crafted = [choice() for choice in choices]
        if not self.only_attack_correct:
            return crafted
        right = base.correct(clean, labels)[:, None, None, None]
        return [jnp.where(right, image, images) for image in crafted]


def _one_of(choices: list[Callable[[], jax.Array]], index: jax.Array) -> jax.Array:
    """`choices[index]()`, without a branch on CPU.

    XLA:CPU runs a convolution inside a branch several times slower than outside.
    """
    if len(choices) == 1:
        return choices[0]()
    if jax.default_backend() == "cpu":
        return jnp.stack([choice() for choice in choices])[index]
    return jax.lax.switch(index, choices)
