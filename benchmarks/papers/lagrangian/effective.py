"""The effective lambda of section 4.6: how fast the adversarial loss grows with eps.

The paper defines it as the derivative of the adversarial loss with respect to the l2
budget and does not say how it is estimated, at which budget, of which loss, or on which
images. Here it is found in two ways that check each other, of the cross-entropy.
"""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from jaxadv import numerics
from jaxadv.attacks import Ascent
from jaxadv.craft import Crafter, craft_batches
from jaxadv.objectives import CrossEntropy
from jaxadv.threats import L2

EDGE = 1e-6  # nearer to 0 or 1 than this a channel counts as at its bound
CRAFTER = Crafter()


class Slopes(NamedTuple):
    """The derivative of the largest loss in an l2 ball, of each image.

    Attributes:
      envelope: [n] by the envelope theorem, from the channels that the box does not
        hold.
      plain: [n] the same from all channels, as if there were no box.
      quotient: [n] difference quotient of the largest losses.
      loss: [n] the largest loss that was found at eps itself.
      held: [n] the share of the channels that the box holds there.
    """

    envelope: np.ndarray
    plain: np.ndarray
    quotient: np.ndarray
    loss: np.ndarray
    held: np.ndarray


def effective_lambda(
    model: Any,
    images: np.ndarray,
    labels: np.ndarray,
    ids: np.ndarray,
    eps: float,
    *,
    objective: Any = None,
    steps: int = 40,
    restarts: int = 3,
    width: float = 0.1,
    seed: int = 0,
    batch_size: int = 100,
    crafter: Crafter | None = None,
) -> Slopes:
    """The effective lambda of every image, estimated twice (table 3).

    Where the search has found the best perturbation delta of the ball, the gradient of
    the loss is lambda delta / ||delta|| in each channel that the box leaves free, so
    that lambda = ||delta|| <gradient, delta> / <delta, delta> over those channels
    (Milgrom and Segal, "Envelope theorems for arbitrary choice sets", 2002). Over all
    channels it is <gradient, delta / ||delta||>, which is larger where the box holds
    some of them. The quotient needs no such theory, only three searches. Where a search
    stops before the gradient and delta are parallel, the envelope's is the lower one:
    more steps close the gap.

    Args:
      model: a classifier.
      images: [n, h, w, c] in [0, 1].
      labels: [n].
      ids: [n], which decide the random starts.
      eps: l2 radius, in [0, 1] units.
      objective: the loss; default the cross-entropy, in nats.
      steps: of PGD, which shrink linearly to zero.
      restarts: random starts; the largest loss is kept, not the first success.
      width: h of the quotient (L(eps + h) - L(eps - h)) / 2h, a fraction of eps.
      seed: of the random starts.
      batch_size: images at a time.
      crafter: of compiled programs; default one that all calls share.
    """
    search = _Search(
        model, images, labels, ids, objective or CrossEntropy(), steps, restarts,
        seed, batch_size, crafter or CRAFTER,
    )  # fmt: skip
    loss, found = search.largest(eps)
    high, _ = search.largest((1 + width) * eps)
    low, _ = search.largest((1 - width) * eps)
    gradient = search.looked(found)[1]
    delta = found.astype(np.float64) - images
    free = (found > EDGE) & (found < 1 - EDGE)
    envelope, plain = envelopes(gradient, delta, free)
    held = 1 - free.reshape(len(free), -1).mean(axis=1)
    return Slopes(envelope, plain, (high - low) / (2 * width * eps), loss, held)


def envelopes(
    gradient: np.ndarray, delta: np.ndarray, free: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """The slopes [n] over the free channels, and over all; 0 where nothing is left.

    Args:
      gradient: [n, h, w, c] of the loss, at the perturbed images.
      delta: [n, h, w, c] the perturbations.
      free: [n, h, w, c] whether the box lets a channel move both ways.
    """
    flat = [x.reshape(len(x), -1).astype(np.float64) for x in (gradient, delta, free)]
    gradient, delta, free = flat
    along, square = gradient * delta, delta * delta
    norm = np.sqrt(square.sum(axis=1))
    among = (free * square).sum(axis=1)
    inside = norm * _over((free * along).sum(axis=1), among)
    return inside, _over(along.sum(axis=1), norm)


def _over(a, b):
    return np.where(b > 0, a / np.where(b > 0, b, 1), 0.0)


class _Search(NamedTuple):
    model: Any
    images: np.ndarray
    labels: np.ndarray
    ids: np.ndarray
    objective: Any
    steps: int
    restarts: int
    seed: int
    batch_size: int
    crafter: Crafter

    def largest(self, eps):
        """The largest losses [n] that were found at `eps`, and where."""
        attack = Ascent(
            L2(float(eps)), self.objective, steps=self.steps, rel_step_size=0.5,
            schedule="linear", keep="last",
        )  # fmt: skip
        best, where = np.full(len(self.images), -np.inf), self.images.copy()
        for restart in range(self.restarts):
            # The same starts at every eps, but for its size.
            key = jax.random.fold_in(jax.random.key(self.seed), restart)
            found = craft_batches(
                attack, self.model, key, self.images, self.labels, ids=self.ids,
                batch_size=self.batch_size, crafter=self.crafter,
            ).image  # fmt: skip
            loss = self.looked(found)[0]
            better = loss > best
            best = np.where(better, loss, best)
            where[better] = found[better]
        return best, where

    def looked(self, images):
        """Losses [n] and their gradients at perturbed images."""
        found, size = [], self.batch_size
        for start in range(0, len(images), size):
            rows = np.arange(start, start + size) % len(images)
            found.append(
                _look(self.objective, self.model, images[rows], self.labels[rows])
            )
        loss, gradient = (
            np.concatenate(x)[: len(images)] for x in zip(*found, strict=True)
        )
        return loss.astype(np.float64), gradient


@jax.jit
def _look(objective, model, images, labels):
    def one(image, label):
        key = jax.random.key(0)
        with jax.default_matmul_precision("highest"):
            return jax.value_and_grad(lambda x: objective(model, x, label, key))(image)

    loss, gradient = jax.vmap(one)(images, labels)
    return loss, jnp.asarray(numerics.finite_or_zero(gradient))
