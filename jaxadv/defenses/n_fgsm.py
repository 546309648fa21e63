"""N-FGSM: one step from strong noise, which is not cut back to the ball."""

from typing import Any, ClassVar

import jax
import jax.numpy as jnp

from jaxadv import numerics, specs, struct
from jaxadv.craft import joint
from jaxadv.defenses import base, inner


@struct.dataclass
class NFgsm:
    """Cross-entropy at x + n + step eps sign(grad at x + n), n uniform in noise eps.

    Neither the noise nor the sum is cut back to the l-infinity ball of eps, only to
    [0, 1]; that is what keeps training of one step from its collapse.

    Source: de Jorge, Bibi, Volpi, Sanyal, Torr, Rogez and Dokania, "Make some noise:
    reliable and efficient single-step adversarial training", 2022.

    Attributes:
      attacks: a tuple of one attack in l-infinity, whose eps is taken; what it would do
        itself is not.
      noise: half the width of the noise, in eps.
      step: length of the step, in eps.
    """

    attacks: Any = specs.given()
    noise: float = specs.leaf(2.0, minimum=0.0)
    step: float = specs.leaf(1.0, minimum=1e-6)
    takes_targets: ClassVar[bool] = True

    def __post_init__(self):
        specs.check(self)
        inner.linf(self)

    def init(self, image_shape: tuple[int, ...], examples: int) -> Any:
        return ()

    def craft(
        self, params: Any, state: Any, batch: dict[str, jax.Array], key: jax.Array
    ) -> jax.Array:
        images, labels, ids = batch["image"], batch["label"], batch["id"]
        model = state.network.target(params, state.batch_stats)
        noise_key, pass_key, _ = jax.random.split(key, 3)
        eps = inner.only(self).threat.eps
        unit = jax.vmap(
            lambda k, x: jax.random.uniform(k, x.shape, x.dtype, -1.0, 1.0)
        )(joint.example_keys(noise_key, ids), images)
        noise = self.noise * eps * unit
        start = numerics.clip(images + noise, 0.0, 1.0)
        keys = joint.example_keys(pass_key, ids)

        def loss(moved):
            logits = base.logits_of(model, moved, keys)
            return jnp.sum(base.cross_entropies(logits, labels))

        sign = jnp.sign(jax.grad(loss)(start))
        return numerics.clip(start + self.step * eps * sign, 0.0, 1.0)

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
        _, _, train_key = jax.random.split(key, 3)
        loss, batch_stats, metrics = inner.attacked_pass(
            state, params, batch, crafted, train_key
        )
        return loss, base.Output(batch_stats, state.memory, metrics)
