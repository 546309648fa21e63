"""Slow references in NumPy float64 for the maps onto lp ball and box.

Each takes one array of any shape and shares no method with the library: scalar
root finding on the dual, a linear-programming solver, or trying all subsets.
"""

import itertools
from fractions import Fraction

import numpy as np
from scipy import optimize


def project(delta, norm, eps, low, high, pixels=False):
    """The point of {norm <= eps} and {low <= point <= high} nearest to `delta`."""
    delta, low, high = _doubles(delta, low, high)
    if norm == "l0":
        return _best_subset(
            delta.shape,
            eps,
            pixels,
            lambda keep: np.where(keep, np.clip(delta, low, high), 0.0),
            lambda point: -np.sum((point - delta) ** 2),
        )
    if norm == "linf":
        return np.minimum(
            np.maximum(delta, np.maximum(low, -eps)), np.minimum(high, eps)
        )
    order = {"l1": 1, "l2": 2}[norm]

    def candidate(multiplier):
        if norm == "l2":
            return np.clip(delta / (1 + multiplier), low, high)
        soft = np.sign(delta) * np.maximum(np.abs(delta) - multiplier, 0)
        return np.clip(soft, low, high)

    def excess(multiplier):
        return np.linalg.norm(candidate(multiplier).ravel(), order) - eps

    if excess(0.0) <= 0:
        return candidate(0.0)
    if eps == 0:
        return np.zeros_like(delta)
    most = np.linalg.norm(delta.ravel()) / eps if norm == "l2" else np.abs(delta).max()
    return candidate(_root(excess, 0.0, most))


def maximize_linear(grad, norm, eps, low, high, pixels=False):
    """A point of the ball and the box with the largest inner product with `grad`."""
    grad, low, high = _doubles(grad, low, high)
    corner = np.where(grad > 0, high, np.where(grad < 0, low, 0.0))
    if norm == "l0":
        return _best_subset(
            grad.shape,
            eps,
            pixels,
            lambda keep: np.where(keep, corner, 0.0),
            lambda point: np.sum(grad * point),
        )
    if norm == "linf":
        return np.clip(np.sign(grad) * eps, low, high)
    if norm == "l1":
        split = np.concatenate([grad.ravel(), -grad.ravel()])
        bounds = np.stack([0 * split, np.concatenate([high.ravel(), -low.ravel()])], 1)
        found = optimize.linprog(-split, np.ones((1, split.size)), [eps], bounds=bounds)
        up, down = np.split(found.x, 2)
        return (up - down).reshape(grad.shape)
    if np.linalg.norm(corner) <= eps:
        return corner
    moves = grad != 0
    most = np.max(np.abs(corner[moves]) / np.abs(grad[moves]))
    scale = _root(
        lambda t: np.linalg.norm(np.clip(t * grad, low, high)) - eps, 0.0, most
    )
    return np.clip(scale * grad, low, high)


def general_solver(delta, norm, eps, low, high):
    """The l1 or l2 projection of a flat vector by sequential quadratic programming.

    Accurate to about 1e-5; it checks `project`, which is accurate enough to check
    the library.
    """
    delta, low, high = _doubles(delta, low, high)
    parts = np.hstack([np.eye(delta.size), -np.eye(delta.size)])
    budget = {
        "l1": {"fun": lambda z: eps - z.sum(), "jac": lambda z: -np.ones_like(z)},
        "l2": {
            "fun": lambda z: eps**2 - np.sum((parts @ z) ** 2),
            "jac": lambda z: -2 * parts.T @ parts @ z,
        },
    }[norm]
    found = optimize.minimize(
        lambda z: np.sum((parts @ z - delta) ** 2),
        np.full(2 * delta.size, 1e-3),
        jac=lambda z: 2 * parts.T @ (parts @ z - delta),
        bounds=[(0, limit) for limit in np.concatenate([high, -low])],
        constraints={"type": "ineq", **budget},
        method="SLSQP",
        options={"maxiter": 500, "ftol": 1e-14},
    )
    return parts @ found.x


def project_simplex(w):
    """The nearest probability vector: the best over all supports, in exact numbers.

    Two supports may be nearly as near as one another, which floats do not tell.
    """
    w = list(map(Fraction, np.asarray(w, np.float64).tolist()))
    best, nearest = np.inf, None
    for size in range(1, len(w) + 1):
        for support in itertools.combinations(range(len(w)), size):
            shift = (1 - sum(w[i] for i in support)) / size
            point = [
                w[i] + shift if i in support else Fraction(0) for i in range(len(w))
            ]
            distance = sum((p - own) ** 2 for p, own in zip(point, w, strict=True))
            if min(point) >= 0 and distance < best:
                best, nearest = distance, point
    return np.array(list(map(float, nearest)))


def _best_subset(shape, count, pixels, point_of, gain):
    """The point of largest gain over all choices of at most `count` positions."""
    places = list(np.ndindex(shape[:-1] if pixels else shape))
    best, chosen = -np.inf, None
    for subset in itertools.combinations(places, min(int(count), len(places))):
        keep = np.zeros(shape, bool)
        for place in subset:
            keep[place] = True
        point = point_of(keep)
        if gain(point) > best:
            best, chosen = gain(point), point
    return chosen


def _root(excess, start, end):
    return optimize.brentq(excess, start, end, xtol=1e-300, rtol=1e-15, maxiter=2000)


def _doubles(array, low, high):
    array = np.asarray(array, np.float64)
    limits = (
        np.broadcast_to(np.asarray(v, np.float64), array.shape) for v in (low, high)
    )
    return array, *limits


def project_group(delta, norm, eps, images):
    """The point nearest to `delta` in the ball with every `images[k] + point` valid.

    By sequential quadratic programming with each image's own bounds as constraints
    (accurate to about 1e-5), for "l0" by all subsets of the entries.
    """
    delta = np.asarray(delta, np.float64)
    flat = np.asarray(images, np.float64).reshape(len(images), -1)
    if norm == "l0":
        choices = itertools.combinations(range(delta.size), min(int(eps), delta.size))
        points = [_bounded(delta, flat, np.inf, subset) for subset in choices]
    elif norm == "linf":
        points = [_bounded(delta, flat, eps, range(delta.size))]
    else:
        points = [_solved(delta, norm, eps, flat)]
    return min(points, key=lambda point: np.sum((point - delta) ** 2))


def _bounded(delta, images, eps, free):
    """Entry by entry: each is moved by one image after the other into its bounds."""
    point = np.zeros_like(delta)
    for entry in free:
        value = np.clip(delta.ravel()[entry], -eps, eps)
        for image in images:
            value = np.clip(value, -image[entry], 1 - image[entry])
        point.ravel()[entry] = value
    return point


def _solved(delta, norm, eps, images):
    size = delta.size
    parts = np.hstack([np.eye(size), -np.eye(size)])
    ball = {
        "l1": {"fun": lambda z: eps - z.sum(), "jac": lambda z: -np.ones_like(z)},
        "l2": {
            "fun": lambda z: eps**2 - np.sum((parts @ z) ** 2),
            "jac": lambda z: -2 * parts.T @ parts @ z,
        },
    }[norm]
    every = np.vstack([parts] * len(images))
    bounds = images.ravel()
    valid = [
        {"type": "ineq", "fun": lambda z: bounds + every @ z, "jac": lambda z: every},
        {
            "type": "ineq",
            "fun": lambda z: 1 - bounds - every @ z,
            "jac": lambda z: -every,
        },
    ]
    found = optimize.minimize(
        lambda z: np.sum((parts @ z - delta.ravel()) ** 2),
        np.full(2 * size, 1e-3),
        jac=lambda z: 2 * parts.T @ (parts @ z - delta.ravel()),
        bounds=[(0, 1)] * (2 * size),
        constraints=[{"type": "ineq", **ball}, *valid],
        method="SLSQP",
        options={"maxiter": 500, "ftol": 1e-14},
    )
    return (parts @ found.x).reshape(delta.shape)
