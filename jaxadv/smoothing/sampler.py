"""Votes of a network on noisy copies of an image, counted on all devices.

The noise of a draw depends on the run's key, the image's id and the number of the draw
alone. So the counts do not depend on the batch size, the devices or an interruption.
"""

from collections.abc import Iterator
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from jaxadv import parallel
from jaxadv.numerics import streams
from jaxadv.specs import UsageError


def noisy(key: jax.Array, image: jax.Array, sigma: Any) -> jax.Array:
    """The image with Gaussian noise of deviation `sigma`, not clipped."""
    return image + sigma * jax.random.normal(key, image.shape)


class Sampler:
    """The compiled count of one network's votes; make it once for many images.

    Attributes:
      model: a Classifier.
      sigma: the noise's deviation, in [0, 1] units.
      batch_size: draws at a time on each device; memory depends on nothing else.
    """

    def __init__(self, model: Any, sigma: float, batch_size: int = 1000):
        self.sigma, self.batch_size = sigma, batch_size
        self.model = parallel.replicate(model)
        self._count = parallel.mapped_rows(_count, whole=6)

    @property
    def block(self) -> int:
        """Draws of one call on all devices of this process."""
        return self.batch_size * jax.local_device_count()

    def counts(
        self,
        key: jax.Array,
        image: np.ndarray,
        example: int,
        ends: tuple[int, ...],
        first: int = 0,
    ) -> Iterator[tuple[int, np.ndarray]]:
        """Counts the votes of draws `first` to `ends[-1]`, block after block.

        Args:
          key: of the run.
          image: [h, w, c] in [0, 1].
          example: its id.
          ends: the draws are divided into samples, which end before these numbers.
          first: the draw to begin with; those before it were counted elsewhere.

        Yields:
          The number of the draw that is next, and int64 counts [samples, classes] of
          the block before it.

        Raises:
          UsageError: the logits of some draw are not numbers.
        """
        fixed = parallel.replicate(
            (
                jax.random.key_data(key),
                np.float32(self.sigma),
                np.asarray(image, np.float32),
                np.int32(example),
                np.asarray(ends, np.int32),
            )
        )
        ahead = None  # the devices count a block while the host reads the one before
        for begin in range(first, ends[-1], self.block):
            draws = np.arange(begin, begin + self.block, dtype=np.int32)
            votes = self._count(self.model, *fixed, parallel.shard(draws))
            if ahead is not None:
                yield begin, self._read(ahead, example)
            ahead = votes
        if ahead is not None:
            yield ends[-1], self._read(ahead, example)

    def _read(self, votes, example):
        found = np.asarray(jax.device_get(votes), np.int64).sum(axis=0)
        *counts, broken = found
        if np.any(broken):
            raise UsageError(
                f"model: its logits on {broken.sum()} noisy copies of image {example} "
                "are not numbers; nothing is reported"
            )
        return np.stack(counts)


def _count(model, key_data, sigma, image, example, ends, draws):
    """The votes [samples + 1, classes] of `draws` [b].

    The last row counts draws whose logits are not numbers; draws from the last end on
    count nowhere.
    """
    key = jax.random.fold_in(jax.random.wrap_key_data(key_data), example)

    def one(draw):
        own = jax.random.fold_in(key, draw)
        return model(noisy(own, image, sigma), streams.stream(own, "network"))

    logits = jax.vmap(one)(draws)
    voted, nan = jnp.argmax(logits, axis=-1), jnp.any(jnp.isnan(logits), axis=-1)
    sample = jnp.searchsorted(ends, draws, side="right")
    counted = sample < len(ends)
    sample, voted = jnp.where(nan, len(ends), sample), jnp.where(nan, 0, voted)
    votes = jnp.zeros((len(ends) + 1, logits.shape[-1]), jnp.int32)
    return votes.at[sample, voted].add(counted.astype(jnp.int32))
