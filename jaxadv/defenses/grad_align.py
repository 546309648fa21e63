"""GradAlign: single-step training whose gradients point the same way over the ball."""

from typing import Any, ClassVar

import jax
import jax.numpy as jnp

from jaxadv import numerics, specs, struct
from jaxadv.craft import joint
from jaxadv.defenses import base, inner


@struct.dataclass
class GradAlign:
    """Cross-entropy of attacked images plus lam (1 - cos(grad at x, grad at x + n)).

    n is uniform in the l-infinity ball of the attack, and both gradients are those of
    the cross-entropy in the image, with the network in train mode. The gradient of the
    training goes through both: a step has one pass forward and backward more for each,
    and one backward through them. An image without a gradient at one of the two points
    adds nothing, as in the authors' code.

    Source: Andriushchenko and Flammarion, "Understanding and improving fast adversarial
    training", 2020.

    Attributes:
      attacks: a tuple of one attack in l-infinity, the source's `fgsm`.
      lam: weight of the term; the source's 0.2 for eps 8/255 on CIFAR-10.
    """

    attacks: Any = specs.given()
    lam: float = specs.leaf(0.2, minimum=0.0)
    takes_targets: ClassVar[bool] = True

    def __post_init__(self):
        specs.check(self)
        inner.linf(self)

    def init(self, image_shape: tuple[int, ...], examples: int) -> Any:
        return ()

    def craft(
        self, params: Any, state: Any, batch: dict[str, jax.Array], key: jax.Array
    ) -> jax.Array:
        return inner.crafted(inner.only(self), state, params, batch, key)

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
        loss, batch_stats, metrics = inner.attacked_pass(
            state, params, batch, crafted, train_key
        )
        cosine = self._cosines(params, state, batch, jax.random.fold_in(train_key, 1))
        metrics["gradient_cosine"] = jnp.mean(cosine)
        loss += self.lam * jnp.mean(1 - cosine)
        return loss, base.Output(batch_stats, state.memory, metrics)

    def _cosines(self, params, state, batch, key):
        """[b] between the gradients at the images and at noisy ones; 1 without one."""
        images, ids = batch["image"], batch["id"]
        eps = inner.only(self).threat.eps

        def noisy(own, image):
            noise = jax.random.uniform(own, image.shape, image.dtype, -1.0, 1.0)
            return numerics.clip(image + eps * noise, 0.0, 1.0)

        def gradient(points):
            def loss(points):
                logits, _ = state.network.train(
                    params, state.batch_stats, points, key, ids
                )
                return jnp.sum(base.cross_entropies(logits, batch["label"]))

            return jax.grad(loss)(points)

        moved = jax.vmap(noisy)(joint.example_keys(key, ids), images)
        return jax.vmap(_cosine)(gradient(images), gradient(moved))


def _cosine(first, second):
    """Of two arrays as vectors; 1, without a derivative, where one of them is 0."""
    units = numerics.safe_normalize(first, "l2"), numerics.safe_normalize(second, "l2")
    alive = jnp.any(numerics.flat(first) != 0) & jnp.any(numerics.flat(second) != 0)
    return jnp.where(alive, numerics.dot(*units), 1.0)
