"""Looks at images again: what the network says, how large and how far the change is.

Nothing that an attack claims is used. Every network runs here in a compiled program
of its own, in float32 at the highest matrix-multiplication precision, and every image
sits at position id modulo batch size of its block, as in `craft_batches`: what is found
of an image does not depend on the others. On another number of devices XLA:CPU may
round a distance in a network differently, by about 1e-7 of it.
"""

import math
from collections.abc import Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from jaxadv import objectives, parallel, protocols
from jaxadv.craft import Adversarial
from jaxadv.perceptual.saliency import foreground_score

# Relative excess over the budget that rounding may cause; it is larger where the
# size is computed by a network.
SLACK = 1e-6
NETWORK_SLACK = 1e-5


class Judge:
    """Compiled programs that look at local images, block by block."""

    def __init__(self, model: Any, batch_size: int, draws: int = 1):
        """Of the attacked `model`; `batch_size` counts on each device.

        The model is a Classifier, or a tuple of them that is wrong where all are.

        A network that is random is judged by its mean prediction over `draws` keys.
        """
        self._model = parallel.replicate(protocols.full_precision(model))
        self._batch_size = batch_size
        self.draws = draws
        self._verdict = parallel.mapped_rows(_verdicts(draws), whole=2)
        self._between = parallel.mapped_rows(_between, whole=2)
        self._looks = parallel.mapped_rows(_looks, whole=1)

    def verdict(
        self, key: jax.Array, images: np.ndarray, labels: np.ndarray, ids: np.ndarray
    ) -> dict[str, np.ndarray]:
        """What the network says of images [n, h, w, c].

        Returns:
          `prediction` int32 [n], `margin` float32 [n] and whether an output is not a
          number, `nan` bool [n]; with several draws also how many of them alone say the
          label, `draws_right` int32 [n].
        """
        like: dict[str, Any] = {"prediction": np.int32, "margin": np.float32}
        like["nan"] = bool
        if self.draws > 1:
            like["draws_right"] = np.int32
        whole = self._model, parallel.replicate(jax.random.key_data(key))
        rows = images, labels, ids.astype(np.int32)
        return self._blocks(self._verdict, whole, rows, like)

    def distances(
        self,
        measures: Mapping[str, Any],
        images: np.ndarray,
        others: np.ndarray,
        labels: np.ndarray,
        ids: np.ndarray,
    ) -> dict[str, np.ndarray]:
        """Name -> float32 [n], the distances of two arrays of images [n, h, w, c].

        Args:
          measures: name -> distance (see `jaxadv.perceptual`) or threat with a
            method `distance`; one that needs the attacked network gets it.
        """
        like = dict.fromkeys(measures, np.float32)
        whole = parallel.replicate(dict(measures)), self._model
        rows = images, others, labels, ids.astype(np.int32)
        return self._blocks(self._between, whole, rows, like)

    def foreground(
        self, network: Any, images: np.ndarray, masks: np.ndarray, ids: np.ndarray
    ) -> np.ndarray:
        """Foreground scores float32 [n] of images [n, h, w, c].

        Args:
          network: a saliency network, see `jaxadv.perceptual.saliency`.
          masks: [n, h, w, 1], 1 on the foreground.
        """
        rows = images, np.asarray(masks, np.float32), ids.astype(np.int32)
        whole = (parallel.replicate(network),)
        return self._blocks(self._looks, whole, rows, {"score": np.float32})["score"]

    def size(
        self,
        threat: Any,
        images: np.ndarray,
        found: Adversarial,
        labels: np.ndarray,
        ids: np.ndarray,
    ) -> tuple[np.ndarray, float]:
        """Sizes [n] of the perturbations, and the excess that rounding may cause.

        See `measured`; what cannot be measured so has its own `size`, as the attack's
        last pass reported it.
        """
        sizes, slack = self.measured(threat, images, found.image, labels, ids)
        return np.asarray(found.size, np.float64) if sizes is None else sizes, slack

    def measured(
        self,
        threat: Any,
        images: np.ndarray,
        others: np.ndarray,
        labels: np.ndarray,
        ids: np.ndarray,
    ) -> tuple[np.ndarray | None, float]:
        """Sizes [n], of two images each, and the excess that rounding may cause.

        In double precision for lp threats, by `threat.distance` for those that have
        it; None for threats that have neither.
        """
        if protocols.norm(threat):
            return measure(threat, images, others), SLACK
        if protocols.has_distance(threat):
            got = self.distances({"size": threat}, images, others, labels, ids)
            return got["size"].astype(np.float64), NETWORK_SLACK
        return None, SLACK

    def _blocks(self, program, whole, rows, like):
        """Runs `program(*whole, *rows)` on rows [n, …], the ids being the last."""
        ids = rows[-1]
        result = {name: np.zeros(len(ids), kind) for name, kind in like.items()}
        for picked, lanes in _blocks(ids, self._batch_size):
            index = np.zeros(self._batch_size * jax.local_device_count(), int)
            index[:] = picked[0]
            index[lanes] = picked
            arrays = parallel.shard(tuple(row[index] for row in rows))
            got = parallel.unshard(program(*whole, *arrays))
            for name, column in result.items():
                column[picked] = got[name][lanes]
        return result


def _blocks(ids, batch_size):
    """Yields (rows, lanes): which rows of `ids` run together, and at which lanes."""
    slots = ids % batch_size
    order = np.argsort(slots, kind="stable")
    first = np.searchsorted(slots[order], slots[order])
    rank = np.empty(len(ids), int)
    rank[order] = np.arange(len(ids)) - first
    block, device = np.divmod(rank, jax.local_device_count())
    for number in range(block.max(initial=-1) + 1):
        rows = np.flatnonzero(block == number)
        yield rows, device[rows] * batch_size + slots[rows]


def _verdicts(draws):
    def verdicts(model, key, images, labels, ids):
        def one(image, label, example):
            own = jax.random.fold_in(key, example)
            with jax.default_matmul_precision("highest"):
                logits, right = _logits(model, image, label, own, draws)
            margin = objectives.margin(logits, label)
            found = {
                "prediction": jnp.argmax(logits).astype(jnp.int32),
                "margin": margin,
                "nan": jnp.any(jnp.isnan(logits)) | jnp.isnan(margin),
            }
            return found if draws == 1 else found | {"draws_right": right}

        return jax.vmap(one)(images, labels, ids)

    return verdicts


def _logits(model, image, label, key, draws):
    """Those of the mean prediction, and how many draws alone say the label.

    Of an ensemble those of the network that is nearest to being right.
    """
    if isinstance(model, tuple):
        each = [_logits(one, image, label, key, draws) for one in model]
        margins = jnp.stack([objectives.margin(logits, label) for logits, _ in each])
        found = jax.tree.map(lambda *own: jnp.stack(own), *each)
        return jax.tree.map(lambda own: own[jnp.argmin(margins)], found)
    if draws == 1:
        logits = model(image, key)
        return logits, objectives.margin(logits, label) < 0
    each = objectives.drawn(model, image, key, draws)
    right = jax.vmap(lambda logits: objectives.margin(logits, label) < 0)(each)
    return objectives.log_mean(each), jnp.sum(right).astype(jnp.int32)


def _between(measures, model, images, others, labels, ids):
    del ids  # they have chosen the positions

    def one(image, other, label):
        # The key that attacks bind with: a stochastic network measures as in them.
        key = jax.random.key_data(jax.random.key(0))
        bound = {
            name: protocols.bind(part, model, image, label, key)
            for name, part in measures.items()
        }
        return between(bound, image, other)

    return jax.vmap(one)(images, others, labels)


def _looks(network, images, masks, ids):
    del ids  # they have chosen the positions

    def one(image, mask):
        with jax.default_matmul_precision("highest"):
            return foreground_score(network(image), mask)

    return {"score": jax.vmap(one)(images, masks)}


def between(
    measures: Mapping[str, Any], image: jax.Array, other: jax.Array
) -> dict[str, jax.Array]:
    """Name -> scalar, distances of two images [h, w, c] at the highest precision."""
    with jax.default_matmul_precision("highest"):
        return {
            name: jnp.asarray(protocols.distance(part)(image, other))
            for name, part in measures.items()
        }


def measure(threat: Any, images: np.ndarray, others: np.ndarray) -> np.ndarray:
    """Sizes [n] in double precision of the changes of an lp threat."""
    sizes = np.zeros(len(images))
    for i, (image, other) in enumerate(zip(images, others, strict=True)):
        change = np.abs(other.astype(np.float64) - image.astype(np.float64))
        if threat.norm == "linf":
            sizes[i] = np.max(change)
        elif threat.norm == "l2":
            sizes[i] = math.sqrt(np.sum(change**2))
        elif threat.norm == "l1":
            sizes[i] = np.sum(change)
        elif protocols.counts_pixels(threat):
            sizes[i] = np.sum(np.any(change > 0, axis=-1))
        else:
            sizes[i] = np.sum(change > 0)
    return sizes
