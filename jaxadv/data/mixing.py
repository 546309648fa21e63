"""Two training images made into one, with the labels of both.

A mixing is a pure function of a key and TWO images, float32 [h, w, c] in [0, 1], and
returns one image of the same shape and the share of it that the first one has.
"""

from typing import Any

import jax
import jax.numpy as jnp

from jaxadv import protocols, specs, struct
from jaxadv.plugins import Registry


@struct.dataclass
class CutMix:
    """A rectangle of the second image in the place of that of the first.

    Its sides are those of the image times the root of its share, which is drawn from
    Beta(alpha, alpha); its center is uniform, and what leaves the image is cut off. The
    share that is returned is that of the pixels.

    Source: Yun, Han, Oh, Chun, Choe and Yoo, "CutMix: regularization strategy to train
    strong classifiers with localizable features", 2019, eqs. 1 and 2.

    Attributes:
      alpha: of the Beta distribution; 1 is uniform.
      probability: how often images are mixed.
    """

    alpha: float = specs.leaf(1.0, minimum=1e-6)
    probability: float = specs.leaf(1.0, minimum=0, maximum=1)

    def __post_init__(self):
        specs.check(self)

    def __call__(
        self, key: jax.Array, image: jax.Array, other: jax.Array
    ) -> tuple[jax.Array, jax.Array]:
        """Images [h, w, c] to one, and the share of the first; the key is consumed."""
        whether, share, place = jax.random.split(key, 3)
        kept = jax.random.beta(share, self.alpha, self.alpha)
        shape = jnp.array(image.shape[:2])
        half = jnp.sqrt(1 - kept) * shape / 2
        center = jax.random.uniform(place, (2,)) * shape
        low, high = jnp.round(center - half), jnp.round(center + half)
        rows, columns = (jnp.arange(size) for size in image.shape[:2])
        inside = _within(rows, low[0], high[0])[:, None]
        inside = inside & _within(columns, low[1], high[1])[None, :]
        inside = inside & jax.random.bernoulli(whether, self.probability)
        mixed = jnp.where(inside[..., None], other, image)
        return mixed, 1 - jnp.mean(inside)


@struct.dataclass
class MixUp:
    """The mean of two images, weighed by a share from Beta(alpha, alpha).

    Source: Zhang, Cisse, Dauphin and Lopez-Paz, "mixup: beyond empirical risk
    minimization", 2018.

    Attributes:
      alpha: of the Beta distribution.
      probability: how often images are mixed.
    """

    alpha: float = specs.leaf(0.2, minimum=1e-6)
    probability: float = specs.leaf(1.0, minimum=0, maximum=1)

    def __post_init__(self):
        specs.check(self)

    def __call__(
        self, key: jax.Array, image: jax.Array, other: jax.Array
    ) -> tuple[jax.Array, jax.Array]:
        """Images [h, w, c] to one, and the share of the first; the key is consumed."""
        whether, share = jax.random.split(key)
        kept = jax.random.beta(share, self.alpha, self.alpha)
        mixes = jax.random.bernoulli(whether, self.probability)
        kept = jnp.where(mixes, kept, 1.0)
        return jnp.clip(kept * image + (1 - kept) * other, 0.0, 1.0), kept


MIXINGS = Registry("mixings", {"cutmix": CutMix, "mixup": MixUp}, protocols.Mixing)


def soften(
    mixing: Any,
    smoothing: float,
    classes: int,
    key: jax.Array,
    batch: dict[str, jax.Array],
) -> dict[str, jax.Array]:
    """A batch whose images are mixed and whose labels are probabilities.

    Each image is mixed with the one before it on the same device, the first with the
    last; `label` is then the one that has the larger share, and what attacks are told.

    Args:
      mixing: of `MIXINGS`, or None.
      smoothing: the probability that all classes share evenly (Szegedy, Vanhoucke,
        Ioffe, Shlens and Wojna, "Rethinking the inception architecture for computer
        vision", 2016, section 7).
      classes: how many there are.
      key: of the epoch; an example's draws depend on it and on its id alone.
      batch: `image` [b, h, w, c] in [0, 1], `label` [b], `id` [b].

    Returns:
      The batch with `target` [b, classes], and with new images and labels.
    """
    images, labels = batch["image"], batch["label"]
    target = jax.nn.one_hot(labels, classes)
    if mixing is not None:
        keys = jax.vmap(jax.random.fold_in, (None, 0))(key, batch["id"])
        images, kept = jax.vmap(mixing)(keys, images, jnp.roll(images, 1, axis=0))
        before = jnp.roll(labels, 1)
        target = kept[:, None] * target
        target += (1 - kept[:, None]) * jax.nn.one_hot(before, classes)
        labels = jnp.where(kept >= 0.5, labels, before)
    target = (1 - smoothing) * target + smoothing / classes
    return {**batch, "image": images, "label": labels, "target": target}


def _within(places, low, high):
    return (places >= low) & (places < high)
