"""Alternating multi-step projected gradient ascent, for softmax regression."""

import numpy as np

from tests.oracles import projections


def search(
    kernel,
    bias,
    images,
    labels,
    weights,
    *,
    norms,
    radii,
    steps,
    step_size,
    weight_step,
    gamma,
    diversity,
    raw,
    shared,
):
    """Perturbed images [b, k, h, w, c] and weights [b, k], one example after another.

    Away from the box. All in float64; the gradient of the log-determinant is taken
    by central differences of its value.
    """
    n, k = len(images), len(norms)
    flat = images.reshape(n, -1)
    deltas = np.zeros((n, k, flat.shape[1]))
    weights = np.array(weights)
    for _ in range(steps):
        losses = np.zeros((n, k))
        moved = deltas.copy()
        for b in range(n):
            for i in range(k):
                losses[b, i], grad = _loss(
                    kernel, bias, flat[b] + deltas[b, i], labels[b]
                )
                grad = grad * (weights[b, i] if raw else 1 / k)
                if diversity:
                    grad = grad + diversity * _spread_gradient(
                        kernel, bias, flat[b] + deltas[b], labels[b], i
                    )
                if not raw and norms[i] == "linf":
                    grad = np.sign(grad)
                elif not raw:
                    grad = grad / np.linalg.norm(grad)
                moved[b, i] = deltas[b, i] + step_size * grad
                if norms[i] == "linf":
                    moved[b, i] = np.clip(moved[b, i], -radii[i], radii[i])
                else:
                    length = np.linalg.norm(moved[b, i])
                    moved[b, i] *= min(1.0, radii[i] / length)
        if shared:
            losses = np.broadcast_to(losses.mean(0), losses.shape)
        ascent = losses - gamma * (weights - 1 / k)
        weights = np.stack(
            [projections.project_simplex(row) for row in weights + weight_step * ascent]
        )
        deltas = moved
    return (flat[:, None] + deltas).reshape(n, k, *images.shape[1:]), weights


def _loss(kernel, bias, point, label):
    """Cross-entropy and its gradient by the pixels."""
    logits = point @ kernel + bias
    logits = logits - logits.max()
    p = np.exp(logits) / np.exp(logits).sum()
    return -np.log(p[label]), kernel @ (p - np.eye(len(p))[label])


def _spread(kernel, bias, points, label):
    columns = [_loss(kernel, bias, point, label)[1] for point in points]
    columns = np.stack([c / np.linalg.norm(c) for c in columns], axis=1)
    gram = columns.T @ columns + 1e-6 * np.eye(columns.shape[1])
    return np.log(np.linalg.det(gram))


def _spread_gradient(kernel, bias, points, label, which, step=1e-5):
    grad = np.zeros(points.shape[1])
    for j in range(len(grad)):
        ends = []
        for sign in (1, -1):
            moved = points.copy()
            moved[which, j] += sign * step
            ends.append(_spread(kernel, bias, moved, label))
        grad[j] = (ends[0] - ends[1]) / (2 * step)
    return grad
