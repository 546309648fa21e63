"""Attacks on foreground and background, and what networks and looks make of them.

Source: Tong et al., "Towards robustness against unsuspicious adversarial examples",
appendix. A step is 2.5 budgets over the number of steps on each side of the mask; the
paper does not print its own.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import jax
import numpy as np

from jaxadv.attacks import Ascent
from jaxadv.craft import Adversarial, Crafter, craft_batches
from jaxadv.objectives import CrossEntropy, Noised, Salient
from jaxadv.perceptual.saliency import Saliency, foreground_score
from jaxadv.smoothing import predict
from jaxadv.smoothing.statistics import ABSTAIN
from jaxadv.threats import L2, Linf, Masked

BALLS = {"l2": L2, "linf": Linf}
CRAFTER = Crafter()


def pgd(norm: str, eps: float, steps: int = 20) -> Ascent:
    """PGD in the ball of the foreground's budget."""
    return Ascent(BALLS[norm](eps), steps=steps, rel_step_size=2.5 / steps)


def dual(
    norm: str,
    eps: tuple[float, float],
    steps: int = 20,
    lam: float = 0.0,
    network: Saliency | None = None,
    noise: tuple[float, int] | None = None,
) -> Ascent:
    """The dual-perturbation attack, eqs. 1 to 4, and against smoothing eqs. 5 and 6.

    Args:
      norm: of both balls.
      eps: of foreground and background.
      steps: of the attack.
      lam: weight of the saliency term.
      network: of that term.
      noise: deviation and draws of a step against a smoothed network.
    """
    threat = Masked(*(BALLS[norm](e) for e in eps), mask="dataset")
    objective: Any = CrossEntropy()
    if lam:
        objective = Salient(objective, network=network, lam=lam)
    if noise:
        objective = Noised(objective, sigma=noise[0], samples=noise[1])
    return Ascent(threat, objective, steps=steps, rel_step_size=2.5 / steps)


def attacked(
    attack: Any, model: Any, data: Any, seed: int = 0, batch_size: int = 100
) -> Adversarial:
    """What an attack returns of all images, with their masks."""
    return craft_batches(
        attack, model, jax.random.key(seed), data.images, data.labels, ids=data.ids,
        features={"mask": data.mask}, batch_size=batch_size, crafter=CRAFTER,
    )  # fmt: skip


def scores(network: Saliency, images: np.ndarray, masks: np.ndarray) -> np.ndarray:
    """[n] foreground scores of images."""

    def one(network, image, mask):
        return foreground_score(network(image), mask)

    mapped = jax.jit(jax.vmap(one, (None, 0, 0)))
    return np.asarray(mapped(network, images, masks.astype(np.float32)))


def answers(
    model: Any, images: np.ndarray, data: Any, sigma: float, draws: int, seed: int = 1
) -> Mapping[str, float]:
    """Shares of right, abstained and wrong answers of the smoothed network."""
    found = predict(
        model, jax.random.key(seed), images, ids=data.ids, sigma=sigma, draws=draws
    )
    right, none = found == data.labels, found == ABSTAIN
    return {
        "right": float(np.mean(right)),
        "abstained": float(np.mean(none)),
        "wrong": float(np.mean(~right & ~none)),
    }


def over(
    model: Any, data: Any, attacks: Sequence[Any], seed: int = 0, batch_size: int = 100
) -> list[float]:
    """The accuracy that is left by each of several attacks."""
    return [
        float(np.mean(~attacked(one, model, data, seed, batch_size).success))
        for one in attacks
    ]


def clean(model: Any, data: Any) -> float:
    """The accuracy without an attack."""
    logits = jax.jit(jax.vmap(model))(data.images)
    return float(np.mean(np.argmax(logits, axis=-1) == data.labels))
