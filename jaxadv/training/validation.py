"""Clean and robust accuracy on held-out training images, once per image."""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from jaxadv import parallel
from jaxadv.craft import craft
from jaxadv.craft.features import features_of
from jaxadv.data import batches
from jaxadv.defenses import base, inner
from jaxadv.numerics import streams


class Validator:
    """Counts correct images with the network in evaluation mode.

    The compiled function is kept from epoch to epoch. Every image is seen exactly
    once: each process takes its part, and the last batches are padded and masked.

    Attributes:
      network: the network to evaluate.
      attacks: robust is what withstands all of them; () for clean accuracy alone.
      source: the held-out images, or None.
      seed: of the attacks, which draw the same numbers in every epoch.
      batch_size: images of one step, over all devices.
    """

    def __init__(self, network, attacks, source, seed: int, batch_size: int):
        self._source, processes = source, jax.process_count()
        self._names = ("image", "label", "id", "valid", *features_of(attacks))
        self._total = 0 if source is None else len(source)
        every = processes * jax.local_device_count()
        self._batch = -(-min(batch_size, max(self._total, 1)) // every) * every
        count = _counter(network, seed)
        self._count = parallel.mapped(count, donate=False)
        # An argument of the compiled function: attacks may hold whole networks.
        self._attacks = parallel.replicate(tuple(attacks))

    def __call__(
        self, params: Any, batch_stats: Any, look: Callable[[], Any] = lambda: None
    ) -> dict[str, float]:
        """Accuracies `clean` and, with attacks, `robust`; {} without images.

        `look` is called behind each batch, by all processes as often.
        """
        totals: dict[str, int] = {"seen": 0}
        for batch in self._batches():
            counts = self._count(
                (params, batch_stats), parallel.shard(batch), self._attacks
            )
            for name, value in jax.device_get(counts).items():
                totals[name] = totals.get(name, 0) + int(value)
            look()
        seen = totals.pop("seen")
        if seen != self._total:
            raise AssertionError(f"{seen} images seen of {self._total}")
        return {name: value / seen for name, value in totals.items()}

    def _batches(self):
        if not self._total:
            return
        found = batches.eval_batches(
            self._source,
            np.arange(self._total),
            self._batch,
            process_index=jax.process_index(),
            process_count=jax.process_count(),
        )
        for batch in found:
            yield {name: batch[name] for name in self._names}


def _counter(network, seed):
    def count(weights, batch, attacks):
        model = network.classifier(*weights, shared=True)
        images, labels = batches.to_float(batch["image"]), batch["label"]
        valid = batch["valid"]
        key = streams.stream(jax.random.key(seed), "validation")
        logits = inner.clean_logits(model, key, images, batch["id"])
        clean = base.correct(logits, labels) & valid
        counts = {"seen": jnp.sum(valid), "clean": jnp.sum(clean)}
        robust = clean
        for i, attack in enumerate(attacks):
            own = jax.random.fold_in(key, i)
            found = craft(
                attack, model, own, images, labels, ids=batch["id"],
                features=base.features(batch),
            )  # fmt: skip
            # Not `~success`, which would count a margin that is NaN as robust.
            robust = robust & (found.margin < 0)
        if attacks:
            counts["robust"] = jnp.sum(robust)
        return jax.lax.psum(counts, parallel.AXIS)

    return count
