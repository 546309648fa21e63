"""Properties of every registered threat."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxadv import protocols
from jaxadv.protocols import bind
from jaxadv.threats import L0, L1, L2, THREATS, Linf, Masked, Shared
from tests import examples, nets

SHAPES = [(8, 8, 1), (1, 1, 1), (5, 3, 3)]
every_threat = pytest.mark.parametrize("name", THREATS)


def bound(name, image):
    return bind(examples.threat(name), nets.linear(image.shape), image, 0, None)


def points(name, shape, count=40, scale=1.0):
    """Images, the threat bound to them, and projected random parameters."""
    images, _ = nets.batch(count, shape)
    keys = jax.random.split(jax.random.key(1), count)

    def one(key, image):
        threat = bound(name, image)
        start = threat.init(key, image)
        noise = jax.tree.map(
            lambda p: p + scale * jax.random.normal(key, p.shape), start
        )
        return threat.project(noise, image)

    return images, jax.jit(jax.vmap(one))(keys, images)


def sizes(name, images, params):
    def one(image, params):
        threat = bound(name, image)
        perturbed = threat.apply(params, image)
        return threat.size(params, image), perturbed

    return jax.vmap(one)(images, params)


@every_threat
@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("scale", [0.01, 1.0, 1e4])
def test_projected_points_are_feasible(name, shape, scale):
    images, params = points(name, shape, scale=scale)
    size, perturbed = sizes(name, images, params)
    assert np.all(size <= examples.threat(name).eps * (1 + 1e-6))
    assert np.all((perturbed >= 0) & (perturbed <= 1) & np.isfinite(perturbed))


@every_threat
def test_random_starts_are_feasible_and_differ(name):
    images, _ = nets.batch(40)
    keys = jax.random.split(jax.random.key(0), 40)
    params = jax.vmap(lambda k, x: bound(name, x).init(k, x))(keys, images)
    size, _ = sizes(name, images, params)
    assert np.all(size <= examples.threat(name).eps * (1 + 1e-6))
    assert np.all(size > 0)
    flat = np.concatenate([np.reshape(p, (40, -1)) for p in jax.tree.leaves(params)], 1)
    assert len(np.unique(flat, axis=0)) == 40


@every_threat
def test_projection_is_idempotent(name):
    images, params = points(name, (8, 8, 1))
    again = jax.vmap(lambda p, x: bound(name, x).project(p, x))(params, images)
    for a, b in zip(jax.tree.leaves(params), jax.tree.leaves(again), strict=True):
        assert np.allclose(a, b, atol=1e-6)


@every_threat
def test_zero_parameters_change_nothing(name):
    images, params = points(name, (8, 8, 1))
    zero = jax.tree.map(jnp.zeros_like, params)
    size, perturbed = sizes(name, images, zero)
    assert np.array_equal(perturbed, images)
    assert np.all(size == 0)


def random_gradients(params):
    leaves, treedef = jax.tree.flatten(params)
    keys = jax.random.split(jax.random.key(3), len(leaves))
    drawn = [
        jax.random.normal(key, leaf.shape)
        for key, leaf in zip(keys, leaves, strict=True)
    ]
    return jax.tree.unflatten(treedef, drawn)


def dot(a, b):
    """Inner products [n] of two batches of parameters."""
    pairs = zip(jax.tree.leaves(a), jax.tree.leaves(b), strict=True)
    return sum(np.sum(np.reshape(x * y, (len(x), -1)), 1) for x, y in pairs)


@every_threat
def test_the_direction_climbs(name):
    """A small step along it gains, and a zero or broken gradient moves nothing."""
    images, params = points(name, (8, 8, 1))
    grads = random_gradients(params)

    def direction(grad, params, image):
        return bound(name, image).direction(grad, params, image)

    moves = jax.vmap(direction)(grads, params, images)
    assert np.all(dot(moves, grads) > 0)
    zero = jax.tree.map(lambda p: jnp.zeros_like(p[0]), params)
    for broken in (0.0, jnp.nan, jnp.inf):
        grad = jax.tree.map(lambda p, b=broken: jnp.full_like(p, b), zero)
        moved = direction(grad, zero, images[0])
        assert all(np.all(leaf == 0) for leaf in jax.tree.leaves(moved))


@every_threat
def test_maximize_beats_every_point_of_the_threat(name):
    images, params = points(name, (8, 8, 1))
    if not hasattr(examples.threat(name), "maximize"):
        return
    grads = random_gradients(params)
    best = jax.vmap(lambda g, x: bound(name, x).maximize(g, x))(grads, images)
    size, _ = sizes(name, images, best)
    assert np.all(size <= examples.threat(name).eps * (1 + 1e-6))
    assert np.all(dot(best, grads) >= dot(params, grads) - 1e-5)


@every_threat
def test_eps_zero_is_the_image(name):
    threat = examples.threat(name)
    if protocols.unbounded(threat):
        return  # it has none
    if isinstance(threat, Masked):
        threat = Masked(L2(0.0), Linf(0.0))
    elif isinstance(threat, Shared):
        threat = Shared(L2(0.0))
    else:
        threat = threat.replace(eps=0.0)
    image = nets.batch(1)[0][0]
    threat = bind(threat, nets.linear(), image, 0, None)
    params = threat.init(jax.random.key(0), image)
    moved = threat.project(jax.tree.map(lambda p: p + 1.0, params), image)
    assert np.array_equal(threat.apply(moved, image), image)
    assert threat.size(moved, image) == 0


@pytest.mark.parametrize("name", ["l0", "l1", "l2", "linf", "masked"])
def test_the_gradient_reaches_saturated_pixels(name):
    image = nets.batch(1)[0][0]
    threat = bound(name, image)
    params = jax.tree.map(jnp.zeros_like, threat.init(jax.random.key(0), image))
    grad = jax.grad(lambda p: threat.apply(p, image).sum())(params)
    assert all(np.all(leaf == 1) for leaf in jax.tree.leaves(grad))


@pytest.mark.parametrize("ball", [L1, L2, Linf])
@pytest.mark.parametrize("eps", [1e-6, 1e-4, 2 / 255, 0.5, 100.0])
def test_no_rounding_leaves_the_ball(ball, eps):
    """Also where float32 rounding of the image is as large as eps."""
    images, _ = nets.batch(50, (5, 5, 3))
    keys = jax.random.split(jax.random.key(2), 50)

    def one(key, image):
        noise = jax.random.normal(key, image.shape)
        params = ball(eps).project(eps * 10 * noise, image)
        return ball(eps).size(params, image)

    assert np.max(jax.vmap(one)(keys, images)) <= eps * (1 + 1e-6)


def test_pixels_count_once():
    image = nets.batch(1, (5, 3, 3))[0][0]
    threat = L0(3.0, pixels=True)
    params = threat.project(jnp.full(image.shape, 0.7) - image, image)
    changed = np.any(threat.apply(params, image) != image, axis=-1)
    assert changed.sum() == 3 and threat.size(params, image) == 3


def test_masked_regions_keep_their_own_budgets():
    _, params = points("masked", (8, 8, 1), scale=10.0)
    delta = np.asarray(params)
    inside = np.zeros((8, 8, 1), bool)
    inside[2:6, 2:6] = True
    fore = np.sqrt(np.sum(np.where(inside, delta, 0) ** 2, (1, 2, 3)))
    back = np.max(np.abs(np.where(inside, 0, delta)), (1, 2, 3))
    assert np.allclose(fore, 0.3, atol=1e-5) and np.allclose(back, 0.2, atol=1e-5)
