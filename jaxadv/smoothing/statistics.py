"""What counted votes say of a smoothed classifier, in float64 on the host.

Everything is vectorized over images. Source: Cohen, Rosenfeld and Kolter, "Certified
adversarial robustness via randomized smoothing", 2019, section 3.2 and algorithm of
section 3.2.2.
"""

from typing import Any

import numpy as np
from scipy import special

from jaxadv.specs import UsageError

ABSTAIN = -1


def clopper_pearson(successes: Any, draws: Any, alpha: float) -> np.ndarray:
    """The lower bound of a probability, one-sided and exact, at confidence 1 - alpha.

    Args:
      successes: [...] of `draws` independent trials.
      draws: [...] their number.
      alpha: the probability that the bound is above the truth, at most.

    Raises:
      UsageError: alpha is not between 0 and 1, or there are more successes than draws.

    Example:
      >>> round(float(clopper_pearson(990, 1000, 0.001)), 6)
      0.976036
    """
    successes, draws = _checked(successes, draws, alpha)
    with np.errstate(invalid="ignore"):  # a beta distribution has no parameter 0
        found = special.betaincinv(successes, draws - successes + 1, alpha)
    return np.where(successes > 0, found, 0.0)


def certified_radius(lower: Any, sigma: float) -> np.ndarray:
    """[...] the l2 radius in which the top class stays: sigma times a normal quantile.

    0 where the lower bound of the top class's probability is at most 1/2: nothing is
    certified there. Source: theorem 1 with the bound 1 - `lower` for the second class.

    Args:
      lower: [...] of the probability of the top class under noise.
      sigma: the noise's deviation, in [0, 1] units as the radius.
    """
    lower = np.asarray(lower, np.float64)
    return sigma * special.ndtri(np.maximum(lower, 0.5))


def certify(
    selection: np.ndarray, counts: np.ndarray, draws: int, alpha: float, sigma: float
) -> dict[str, np.ndarray]:
    """The certificate of each image, of two samples that share no draw.

    Args:
      selection: [n, classes] votes of the first sample, which choose the class.
      counts: [n, classes] votes of the second one.
      draws: its size; draws that were not made count as votes for other classes.
      alpha: the probability that a certificate is wrong, at most.
      sigma: of the noise, in [0, 1] units.

    Returns:
      `selected`: [n] the class that is asked about, the first of equals; `votes` and
      `draws`: [n] of it in the second sample, and how many were made; `lower`: [n]
      float64; `radius`: [n] float64; `prediction`: [n] the class, `ABSTAIN` where
      `lower` is at most 1/2.
    """
    selected = np.argmax(selection, axis=-1).astype(np.int32)
    votes = np.take_along_axis(counts, selected[:, None], axis=-1)[:, 0]
    lower = clopper_pearson(votes, draws, alpha)
    return {
        "selected": selected,
        "votes": votes,
        "draws": counts.sum(axis=-1),
        "lower": lower,
        "radius": certified_radius(lower, sigma),
        "prediction": np.where(lower > 0.5, selected, ABSTAIN).astype(np.int32),
    }


def predict(counts: np.ndarray, alpha: float) -> np.ndarray:
    """[n] the class of the smoothed network, `ABSTAIN` where two are too close.

    The two classes with most votes are compared by an exact two-sided binomial test;
    a class that is returned is the wrong one with a probability of at most alpha.

    Args:
      counts: [n, classes] votes.
      alpha: see above.
    """
    order = np.argsort(-counts, axis=-1, kind="stable")[:, :2]
    first, second = np.take_along_axis(counts, order, axis=-1).T
    answered = two_sided(first, first + second) <= alpha
    return np.where(answered, order[:, 0], ABSTAIN).astype(np.int32)


def two_sided(successes: Any, draws: Any) -> np.ndarray:
    """The p-value of an exact two-sided test that a coin is fair; 1 of no draws."""
    successes, draws = np.asarray(successes, float), np.asarray(draws, float)
    most = np.maximum(successes, draws - successes)
    # P(X >= most) of a fair coin, by the regularized incomplete beta function.
    tail = special.betainc(np.maximum(most, 1), draws - most + 1, 0.5)
    return np.where(most > 0, np.minimum(2 * tail, 1.0), 1.0)


def abstains_for_sure(votes: Any, left: Any, draws: Any, alpha: float) -> np.ndarray:
    """Whether even if all draws that are left fell to it, nothing would be certified.

    To stop there changes no certificate: alpha is spent on the bound that all `draws`
    would have given, and is the same.

    Args:
      votes: [...] of the selected class so far.
      left: [...] draws that are not made yet.
      draws: of the whole sample.
      alpha: see `certify`.
    """
    return clopper_pearson(np.asarray(votes) + left, draws, alpha) <= 0.5


def _checked(successes, draws, alpha):
    if not 0 < alpha < 1:
        raise UsageError(f"alpha is {alpha}; it must be between 0 and 1")
    successes = np.asarray(successes, np.float64)
    draws = np.asarray(draws, np.float64)
    if np.any(successes > draws) or np.any(successes < 0):
        raise UsageError("there are fewer than 0 successes, or more than draws")
    return successes, draws
