"""The strongest possible attack on a linear classifier, known in closed form.

A margin between two classes is linear in the perturbation, so its maximum over
ball and box is one linear program; over several wrong classes it is the best of
them. No attack may exceed the value, and a good one must reach it.
"""

import numpy as np

from tests.oracles.projections import maximize_linear


def worst_margin(weights, bias, image, label, norm, eps, pixels=False):
    """The largest max_{j != y} z_j - z_y that a perturbation in [0, 1] can reach.

    Args:
      weights: [classes, *image.shape]; the logits are <weights[j], image> + bias[j].
      bias: [classes].
      image: any shape, in [0, 1].
      label: the class y.
      norm: "l0", "l1", "l2" or "linf".
      eps: radius of the ball (a count for "l0").
      pixels: for "l0": count positions, all channels of one together.

    Returns:
      (margin, delta): the image can be misclassified exactly if margin > 0.
    """
    weights, bias, image = (np.asarray(v, np.float64) for v in (weights, bias, image))
    best, strongest = -np.inf, None
    for other in range(len(bias)):
        if other == label:
            continue
        slope = weights[other] - weights[label]
        delta = maximize_linear(slope, norm, eps, -image, 1 - image, pixels)
        margin = np.sum(slope * (image + delta)) + bias[other] - bias[label]
        if margin > best:
            best, strongest = margin, delta
    return float(best), strongest


def worst_binary_margin(weight, bias, image, label, norm, eps, pixels=False):
    """`worst_margin` of the two classes with logits (0, <weight, image> + bias)."""
    weights = np.stack([np.zeros_like(weight), weight])
    return worst_margin(weights, [0.0, bias], image, label, norm, eps, pixels)


def smallest_norm(weights, bias, image, label, norm, pixels=False):
    """The norm of the smallest perturbation in [0, 1] that is misclassified.

    Args:
      weights, bias, image, label, norm, pixels: as for `worst_margin`.

    Returns:
      The norm, to 1e-9 (a count for "l0"); infinity where the box holds none.
    """
    image = np.asarray(image, np.float64)
    count = int(np.prod(image.shape[:-1])) if pixels else image.size

    def broken(eps):
        return worst_margin(weights, bias, image, label, norm, eps, pixels)[0] >= 0

    if norm == "l0":
        return next((k for k in range(count + 1) if broken(k)), np.inf)
    good, bad = float(image.size), 0.0
    if broken(bad) or not broken(good):
        return bad if broken(bad) else np.inf
    while good - bad > 1e-9:
        middle = (good + bad) / 2
        good, bad = (middle, bad) if broken(middle) else (good, middle)
    return good
