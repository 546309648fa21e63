"""Training on noisy images, for randomized smoothing."""

from typing import Any

import jax
import jax.numpy as jnp

from jaxadv import specs, struct
from jaxadv.craft import joint
from jaxadv.defenses import base
from jaxadv.smoothing import copies


@struct.dataclass
class Gaussian:
    """Mean cross-entropy of images with Gaussian noise, drawn anew in every step.

    The network is not random: noise is added where it is certified or smoothed. Source:
    Cohen, Rosenfeld and Kolter, "Certified adversarial robustness via randomized
    smoothing", 2019, section 3.3. Noisy images are not clipped.

    Attributes:
      sigma: the noise's deviation, in [0, 1] units.
      samples: noisy copies of an image in a step; the source's 1.
    """

    sigma: float = specs.static(0.25, minimum=0.0)
    samples: int = specs.static(1, minimum=1)

    __post_init__ = specs.check

    def init(self, image_shape: tuple[int, ...], examples: int) -> Any:
        return ()

    def loss(
        self, params: Any, state: Any, batch: dict[str, jax.Array], key: jax.Array
    ) -> tuple[jax.Array, base.Output]:
        logits, batch_stats = fresh_pass(self, params, state, batch, key)
        losses = jax.vmap(base.cross_entropies, (1, None))(logits, batch["label"])
        hits = jax.vmap(base.correct, (1, None))(logits, batch["label"])
        metrics = {"noisy_accuracy": jnp.mean(hits)}
        return jnp.mean(losses), base.Output(batch_stats, state.memory, metrics)


def fresh_pass(
    defense: Any, params: Any, state: Any, batch: Any, key: jax.Array
) -> tuple[jax.Array, Any]:
    """`noisy_pass` of the images of a batch, with noise of their own in each step."""
    noise_key, train_key = jax.random.split(key)
    images, ids = batch["image"], batch["id"]
    keys = joint.example_keys(noise_key, ids)
    return noisy_pass(defense, params, state, images, keys, ids, train_key)


def noisy_pass(
    defense: Any,
    params: Any,
    state: Any,
    images: jax.Array,
    keys: Any,
    ids: jax.Array,
    train_key: jax.Array,
) -> tuple[jax.Array, Any]:
    """ONE pass in train mode over all noisy copies of images [b, h, w, c].

    Args:
      defense: with `sigma` and `samples`.
      params: of the network.
      state: the train state.
      images: [b, h, w, c].
      keys: [b] of each image's noise.
      ids: [b] of the images.
      train_key: of dropout and other noise.

    Returns:
      Logits [b, samples, classes], and the moved running statistics.
    """

    def noised(key, image):
        return copies(key, image, defense.sigma, defense.samples)

    noised_images = jax.vmap(noised)(keys, images)
    flat = noised_images.reshape(-1, *images.shape[1:])
    logits, batch_stats = state.network.train(
        params, state.batch_stats, flat, train_key, ids
    )
    return logits.reshape(*noised_images.shape[:2], -1), batch_stats
