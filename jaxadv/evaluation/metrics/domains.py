"""Numbers of attacks on several domains at once; NumPy functions of who is broken.

Source: Wang, Zhang, Liu, Chen, Xu, Fardad and Li, "Adversarial Attack Generation
Empowered by Min-Max Optimization", 2021, section 4.1. All examples count, those that
are wrong without an attack included.
"""

from collections.abc import Callable
from typing import Any

import jax
import numpy as np

from jaxadv.craft import Crafter, craft_batches
from jaxadv.numerics import streams


def broken(
    objective: Any,
    model: Any,
    key: jax.Array,
    images: np.ndarray,
    labels: np.ndarray,
    batch_size: int = 128,
) -> np.ndarray:
    """Whether each example is misclassified in each domain, which a NaN is.

    Args:
      objective: a `domains.Weighted`.
      model: what the objective takes.
      key: of what the network or the transformations draw.
      images: [n, h, w, c], or [n, K, h, w, c] for groups.
      labels: [n] or [n, K].
      batch_size: examples at a time.

    Returns:
      [n, K] bools.
    """
    keys = jax.random.split(streams.stream(key, "judgement"), len(images))
    found = []
    for start in range(0, len(images), batch_size):
        rows = np.arange(start, start + batch_size) % len(images)
        found.append(_goals(objective, model, images[rows], labels[rows], keys[rows]))
    return ~(np.concatenate(found)[: len(images)] < 0)


@jax.jit
def _goals(objective, model, images, labels, keys):
    return jax.vmap(objective.goals, (None, 0, 0, 0))(model, images, labels, keys)


def accuracies(broken: np.ndarray) -> np.ndarray:
    """[K] accuracy in each domain, of [n, K] whether an example is misclassified."""
    return 1 - np.mean(broken, axis=0)


def asr_all(broken: np.ndarray) -> float:
    """The share of the [n, K] examples that are misclassified in every domain.

    The source calls it ASR_all where domains are models, and ASR_gp where they are
    the images of a group or transformations.
    """
    return float(np.mean(np.all(broken, axis=1)))


def asr_avg(broken: np.ndarray) -> float:
    """The share of all [n, K] pairs of example and domain that are misclassified."""
    return float(np.mean(broken))


def lift(rate: float, reference: float) -> float:
    """By which share of itself `reference` is exceeded: 0.1 for 0.55 against 0.5.

    NaN or infinite where the reference is 0.
    """
    with np.errstate(divide="ignore", invalid="ignore"):
        return float(np.divide(rate - reference, reference))


def smallest(
    succeeds: Callable[[np.ndarray], np.ndarray], high: np.ndarray, halvings: int = 10
) -> np.ndarray:
    """The smallest budget found for each example by halving its interval [0, high].

    Args:
      succeeds: budgets [n] -> [n] whether the attack breaks each example.
      high: [n] largest budgets.
      halvings: the result is at most `high / 2**halvings` above one that fails.

    Returns:
      [n] the smallest budget that was tried and succeeded, inf where none did.
    """
    bad, good = np.zeros_like(high, dtype=float), np.asarray(high, float)
    found = np.where(succeeds(good), good, np.inf)
    for _ in range(halvings):
        middle = (bad + good) / 2
        broken = succeeds(middle)
        found = np.where(broken, np.minimum(found, middle), found)
        good, bad = np.where(broken, middle, good), np.where(broken, bad, middle)
    return found


def smallest_eps(
    attack: Any,
    model: Any,
    key: jax.Array,
    images: np.ndarray,
    labels: np.ndarray,
    high: float,
    halvings: int = 10,
    batch_size: int = 128,
) -> np.ndarray:
    """The smallest eps at which an attack breaks each image; see `smallest`.

    The l_inf column of the source's tables A9 and A10. One program for all budgets.
    """
    crafter = Crafter()

    def succeeds(eps):
        fields = {"threat.eps": eps.astype(np.float32)}
        found = craft_batches(
            attack, model, key, images, labels, per_image=fields,
            batch_size=batch_size, crafter=crafter,
        )  # fmt: skip
        return found.success

    return smallest(succeeds, np.full(len(images), high), halvings)
