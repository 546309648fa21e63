"""Manifold regularization: outputs that agree at opposite corners of a small cube."""

from typing import Any

import jax
import jax.numpy as jnp

from jaxadv import numerics, specs, struct
from jaxadv.craft import joint
from jaxadv.defenses import base


@struct.dataclass
class Manifold:
    """Clean loss plus `gamma` times the squared distance of two corners' outputs.

    Of each image the logits at x + eps s and at x - eps s are compared, s being random
    signs, one for each channel of each pixel: no attack is run. Clean images and both
    corners, clipped to [0, 1], go through ONE forward pass in train mode. Source: Jin
    and Rinard, "Manifold regularization for locally stable deep neural networks", 2020.

    Their penalty of the weights is the optimizer's weight decay. Their third term, the
    distance of the patterns of active units, is left out, and their coefficients were
    not to be found: those here are ours, and results are to be called so.

    Attributes:
      eps: how far the corners are, in [0, 1] units; the source's ball of 8/255.
      gamma: weight of the mean squared distance of the logits; ours.
    """

    eps: float = specs.static(8 / 255, minimum=0.0)
    gamma: float = specs.static(0.1, minimum=0.0)

    __post_init__ = specs.check

    def init(self, image_shape: tuple[int, ...], examples: int) -> Any:
        return ()

    def loss(
        self, params: Any, state: Any, batch: dict[str, jax.Array], key: jax.Array
    ) -> tuple[jax.Array, base.Output]:
        corner_key, train_key = jax.random.split(key)
        images, labels, ids = batch["image"], batch["label"], batch["id"]

        def signs(own, image):
            return jax.random.rademacher(own, image.shape, image.dtype)

        moves = self.eps * jax.vmap(signs)(joint.example_keys(corner_key, ids), images)
        corners = [numerics.clip(images + sign * moves, 0.0, 1.0) for sign in (1, -1)]
        logits, batch_stats = state.network.train(
            params,
            state.batch_stats,
            jnp.concatenate([images, *corners]),
            train_key,
            ids,
        )
        clean, plus, minus = logits.reshape(3, len(labels), -1)
        distance = jnp.mean(jnp.sum((plus - minus) ** 2, axis=-1))
        loss = jnp.mean(base.cross_entropies(clean, labels)) + self.gamma * distance
        metrics = {
            "clean_accuracy": jnp.mean(base.correct(clean, labels)),
            "distance": distance,
        }
        return loss, base.Output(batch_stats, state.memory, metrics)
