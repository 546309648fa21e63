"""Auto-PGD in plain NumPy, for l-infinity and l2 without an active box.

Written from algorithm 1 of Croce and Hein, "Reliable evaluation of adversarial
robustness with an ensemble of diverse parameter-free attacks", 2020.
"""

import math

import numpy as np


def project(x, center, norm, eps):
    delta = x - center
    if norm == "linf":
        return center + np.clip(delta, -eps, eps)
    length = np.linalg.norm(delta)
    return center + delta * min(1.0, eps / length) if length > 0 else x


def ascent(grad, norm):
    return np.sign(grad) if norm == "linf" else grad / np.linalg.norm(grad)


def marks(steps):
    p = [0.0, 0.22]
    while p[-1] < 1:
        p.append(p[-1] + max(p[-1] - p[-2] - 0.03, 0.06))
    return [math.ceil(round(share * steps, 6)) for share in p if share < 1]


def run(function, start, center, norm, eps, steps, rho=0.75, alpha=0.75):
    """(iterates [steps + 1, …], step sizes [steps]) of the search for a maximum.

    `function(x) -> (value, gradient)`.
    """
    at = marks(steps)
    x = [start]
    values, grads, seen = [], [], []
    eta, etas = 2 * eps, []
    eta_at, best_at = [], []
    for k in range(steps):
        value, grad = function(x[k])
        values.append(value)
        grads.append(grad)
        point = x[k]
        seen.append(point)
        best = int(np.argmax(values))
        if k in at:
            j = at.index(k)
            if j > 0:
                period = range(at[j - 1] + 1, k + 1)
                rises = sum(values[i] > values[i - 1] for i in period)
                few = rises < rho * len(period)
                # The first period has no earlier end to compare with.
                stuck = j > 1 and eta_at[-1] == eta_at[-2] == eta
                stuck = stuck and best_at[-1] == values[best]
                if few or stuck:
                    eta /= 2
                    point = seen[best]
                    x[k], grad = point, grads[best]
            eta_at.append(eta)
            best_at.append(values[best])
        etas.append(eta)
        ahead = project(point + eta * ascent(grad, norm), center, norm, eps)
        if k > 0:
            ahead = point + alpha * (ahead - point) + (1 - alpha) * (point - x[k - 1])
            ahead = project(ahead, center, norm, eps)
        x.append(ahead)
    return np.array([*seen, x[-1]]), np.array(etas)
