"""Training on unperturbed images."""

from typing import Any, ClassVar

import jax
import jax.numpy as jnp

from jaxadv import struct
from jaxadv.defenses import base


@struct.dataclass
class Clean:
    """Mean cross-entropy of the clean images."""

    takes_targets: ClassVar[bool] = True

    def init(self, image_shape: tuple[int, ...], examples: int) -> Any:
        return ()

    def loss(
        self, params: Any, state: Any, batch: dict[str, jax.Array], key: jax.Array
    ) -> tuple[jax.Array, base.Output]:
        logits, batch_stats = state.network.train(
            params, state.batch_stats, batch["image"], key, batch["id"]
        )
        loss = jnp.mean(base.cross_entropies(logits, base.wanted(batch)))
        metrics = {"clean_accuracy": jnp.mean(base.correct(logits, batch["label"]))}
        return loss, base.Output(batch_stats, state.memory, metrics)
