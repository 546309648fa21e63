"""Auto-PGD for l1 in plain NumPy, box included.

Written from algorithm 1 and section 4.2 of Croce and Hein, "Mind the box: l1-APGD for
sparse adversarial attacks on image classifiers", 2021. Like the library it never
chooses the channels that the box holds at zero change.
"""

import math

import numpy as np

from tests.oracles.projections import project


def count(delta):
    return int(np.sum(delta != 0))


def climb(function, delta, image, eps, steps):
    """(points looked at, step lengths, best point) of one stage."""
    seen, found, lengths = [], [], []
    before, length = count(delta), eps
    moves = math.ceil(round(before / 1.5, 6))
    period = max(4 * steps // 100, 1)
    for k in range(steps):
        found.append(function(image + delta))
        seen.append(delta)
        best = int(np.argmax([value for value, _ in found]))
        grad = found[k][1]
        if k > 0 and k % period == 0:
            now = count(seen[best])
            if now < 0.95 * before - 1e-9:
                length, delta, grad = eps, seen[best], found[best][1]
            else:
                length = max(length / 1.5, eps / 10)
            before, moves = now, math.ceil(round(now / 1.5, 6))
        lengths.append(length)
        held = (image == 0) & (grad < 0) | (image == 1) & (grad > 0)
        score = np.where(held & (delta == 0), 0, np.abs(grad))
        kept = np.sort(score.ravel())[-max(moves, 1)]
        chosen = (score >= kept) & (score > 0)
        ahead = delta + length * np.sign(grad) * chosen / max(chosen.sum(), 1)
        delta = project(ahead, "l1", eps, -image, 1 - image)
    return seen, lengths, seen[best]


def run(function, start, image, eps, stages):
    """(points looked at, step lengths); `stages` are pairs of a multiple and steps."""
    points, lengths, delta = [], [], start
    for multiple, steps in stages:
        ball = multiple * eps
        delta = project(delta, "l1", ball, -image, 1 - image)
        seen, taken, delta = climb(function, delta, image, ball, steps)
        points += seen
        lengths += taken
    return np.array(points), np.array(lengths)
