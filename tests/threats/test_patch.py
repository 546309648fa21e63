"""Patches against enumeration of all places."""

import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxadv.attacks import Ascent, Fgsm
from jaxadv.craft import craft
from jaxadv.objectives import Margin
from jaxadv.specs import UsageError
from jaxadv.threats import Patch
from tests import nets

SHAPE = (5, 6, 2)
IMAGES = nets.batch(12, SHAPE)[0]


def places(side, shape=SHAPE):
    """Boolean masks [h, w, 1] of all squares."""
    rows, columns = min(side, shape[0]), min(side, shape[1])
    for top, left in itertools.product(
        range(shape[0] - rows + 1), range(shape[1] - columns + 1)
    ):
        mask = np.zeros((*shape[:2], 1), bool)
        mask[top : top + rows, left : left + columns] = True
        yield mask


def fits(changed, side):
    """Whether [h, w] lies in one square."""
    return any(not np.any(changed & ~m[..., 0]) for m in places(side, changed.shape))


@pytest.mark.parametrize("side", [0, 1, 2, 3, 5, 9])
def test_the_projection_is_the_nearest_of_all_places(side):
    rng = np.random.default_rng(side)
    params = rng.normal(size=IMAGES.shape).astype(np.float32) * 0.7
    got = jax.jit(jax.vmap(Patch(float(side)).project))(params, IMAGES)
    for image, point, found in zip(IMAGES, params, np.asarray(got), strict=True):
        clipped = np.clip(np.float64(point), -image, 1 - image)
        options = [np.where(mask, clipped, 0) for mask in places(side)]
        distances = [np.linalg.norm(option - point) for option in options]
        nearest = options[int(np.argmin(distances))]
        np.testing.assert_allclose(found, nearest, atol=1e-6)
        assert fits(np.any(found != 0, axis=-1), side)


@pytest.mark.parametrize("side", [0, 1, 3, 9])
def test_the_maximizer_is_the_best_of_all_places(side):
    rng = np.random.default_rng(side)
    grads = rng.normal(size=IMAGES.shape).astype(np.float32)
    got = jax.jit(jax.vmap(Patch(float(side)).maximize))(grads, IMAGES)
    for image, grad, found in zip(IMAGES, grads, np.asarray(got), strict=True):
        best = np.maximum(np.float64(grad) * -image, np.float64(grad) * (1 - image))
        want = max(np.where(mask, best, 0).sum() for mask in places(side))
        np.testing.assert_allclose((grad * found).sum(), want, rtol=1e-5, atol=1e-6)
        assert fits(np.any(found != 0, axis=-1), side)


def test_a_point_that_fits_is_not_moved_by_rounding():
    """The smallest change counts beside the largest ones, wherever they lie."""
    image, threat = jnp.zeros((6, 6, 1)), Patch(3.0)
    params = jnp.zeros((6, 6, 1)).at[1, 1].set(1.0).at[3, 3].set(1e-6)
    np.testing.assert_array_equal(threat.project(params, image), params)
    edge = jnp.zeros((6, 6, 1)).at[5, 4].set(0.5).at[4, 5].set(1e-6)
    np.testing.assert_array_equal(threat.project(edge, image), edge)


def test_the_size_is_the_side_of_the_smallest_square():
    image = jnp.full((6, 7, 1), 0.5)
    size = jax.jit(Patch(9.0).size)
    assert size(jnp.zeros_like(image), image) == 0
    one = jnp.zeros_like(image).at[5, 6].set(0.1)
    assert size(one, image) == 1
    assert size(one.at[4, 3].set(-0.1), image) == 4
    assert size(one.at[0, 6].set(-0.1), image) == 6


def test_starts_reach_every_place_and_stay_inside():
    threat, image = Patch(2.0), jnp.full((4, 5, 1), 0.5)
    keys = jax.random.split(jax.random.key(0), 200)
    params = jax.jit(jax.vmap(lambda k: threat.init(k, image)))(keys)
    changed = np.any(np.asarray(params) != 0, axis=-1)
    corners = {tuple(np.argwhere(one)[0]) for one in changed}
    assert corners == set(itertools.product(range(3), range(4)))
    assert np.all(changed.sum((1, 2)) == 4)
    values = np.asarray(params)[changed[..., None]] + 0.5
    assert values.min() >= 0 and values.max() <= 1 and values.std() > 0.25


def best_margins(model, images, labels, side):
    """Of two classes, by enumeration."""
    w, b = (np.asarray(model.variables[name], np.float64) for name in "wb")
    found = []
    for image, label in zip(np.float64(images), labels, strict=True):
        grad = (w[1 - label] - w[label]).reshape(image.shape)
        clean = (grad * image).sum() + b[1 - label] - b[label]
        gain = np.maximum(grad * -image, grad * (1 - image))
        most = max((gain * mask).sum() for mask in places(side, image.shape))
        found.append((clean, clean + most))
    return np.array(found).T


def test_searches_by_gradient_reach_the_best_place_and_content():
    """One large step or many; from a start of its own PGD stays and fills its place."""
    model, (images, _) = nets.linear(classes=2), nets.batch(8)
    labels, threat, run = nets.predicted(model, images), Patch(3.0), jax.jit(craft)
    clean, want = best_margins(model, images, labels, 3)
    attacks = (
        Fgsm(threat, Margin()),
        Ascent(threat, Margin(), steps=10, step_size=1e5, random_start=False),
    )
    for attack in attacks:
        got = run(attack, model, jax.random.key(0), images, labels)
        np.testing.assert_allclose(got.margin, want, atol=1e-4)
        assert np.all(got.size <= 3)
    near = Ascent(threat, Margin(), steps=20, step_size=0.3)
    got = run(near, model, jax.random.key(0), images, labels)
    assert np.all(got.margin <= want + 1e-4)
    assert np.all(got.margin >= clean + 0.5 * (want - clean))


def test_sides_are_whole():
    with pytest.raises(UsageError, match="Patch.eps is 2.5; it must be a whole number"):
        Patch(2.5)
