"""The alternating min-max attack as printed, in NumPy float64, two passes a step."""

import numpy as np

from tests.oracles import projections


def attack(losses_and_gradients, start, norm, eps, images, steps, alpha, beta, gamma):
    """(delta, weights [steps + 1, K]) after algorithm 1 of the paper.

    Args:
      losses_and_gradients: delta -> ([K] losses F, which are made smaller, and their
        gradients [K, *delta.shape]).
      start: the first delta.
      images: [n, *delta.shape] that must stay in [0, 1].
    """
    low, high = -images.min(0), 1 - images.max(0)
    delta = np.asarray(start, np.float64)
    count = len(losses_and_gradients(delta)[0])
    w = np.full(count, 1 / count)
    trajectory = [w]
    for _ in range(steps):
        _, gradients = losses_and_gradients(delta)
        moved = delta - alpha * np.tensordot(w, gradients, 1)
        delta = projections.project(moved, norm, eps, low, high)
        losses, _ = losses_and_gradients(delta)
        ahead = w + beta * (losses - gamma * (w - 1 / count))
        w = projections.project_simplex(ahead)
        trajectory.append(w)
    return delta, np.stack(trajectory)
