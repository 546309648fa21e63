"""Perturbed JPEG coefficients against the standard's own formulas."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxadv.specs import UsageError
from jaxadv.threats import Jpeg
from jaxadv.threats.jpeg import decode, planes
from tests import nets
from tests.oracles import jpeg as oracle

SHAPE = (16, 32, 3)


def changes(shape, seed=0):
    """Random coefficients of luma, Cb and Cr, and the vector of all of them."""
    rng = np.random.default_rng(seed)
    sizes = [(shape[0] // n, shape[1] // n, 8, 8) for n in (8, 16, 16)]
    parts = [rng.normal(size=size) for size in sizes]
    return parts, jnp.array(np.concatenate([p.ravel() for p in parts]), jnp.float32)


def still(shape):
    return [np.zeros((shape[0] // n, shape[1] // n, 8, 8)) for n in (8, 16, 16)]


def wheel():
    """The image of the published vectors: (37 c + 11 h + 5 w) mod 256."""
    c, h, w = np.meshgrid(*(np.arange(n) for n in (3, 16, 16)), indexing="ij")
    return ((37 * c + 11 * h + 5 * w) % 256).transpose(1, 2, 0).astype(np.float64)


def test_the_oracle_is_the_published_attack():
    zero = still((16, 16, 3))
    out = np.clip(oracle.through(wheel(), zero), 0, 255)
    assert np.allclose(out[15, 12:, 2], [5.43197, 10.43197, 52.999958, 57.999958])
    assert np.isclose(out.sum(), 108291.56898)
    # All variables +1 with eps 0.25 move coefficients by an eighth of a step.
    out = np.clip(oracle.through(wheel(), [part + 0.125 for part in zero]), 0, 255)
    assert np.allclose(out[0, :2, 0], [130.920755, 68.226629])
    assert np.isclose(out.sum(), 108947.09748)


def test_one_luma_coefficient():
    """The published vector (there transposed): one variable at eps 0.25."""
    down, across = planes((16, 16, 3))[0]
    index = ((1 * across + 0) * 8 + 3) * 8 + 2
    params = jnp.zeros(64 * down * across + 128).at[index].set(0.25)
    image = jnp.full((16, 16, 3), 0.5)
    moved = 255 * np.asarray(Jpeg(0.25).apply(params, image) - image)
    assert np.all(moved[:8] == 0) and np.all(moved[8:, 8:] == 0)
    assert np.isclose(moved[8, 0, 0], 0.528122, atol=1e-4)
    assert np.isclose(moved.max(), 0.622963, atol=1e-4)


def test_decoding_is_that_of_the_standard():
    parts, vector = changes(SHAPE)
    image = 128 + 20 * np.random.default_rng(1).normal(size=SHAPE)
    want = oracle.through(image, parts) - oracle.through(image, still(SHAPE))
    assert np.allclose(decode(vector, SHAPE), want, atol=1e-3)


def test_applying_adds_what_the_published_attack_adds():
    parts, vector = changes(SHAPE)
    image = np.random.default_rng(1).uniform(size=SHAPE).astype(np.float32)
    halves = [part / 2 for part in parts]
    added = oracle.through(image, halves) - oracle.through(image, still(SHAPE))
    want = np.clip(image + added / 255, 0, 1)
    assert np.allclose(Jpeg(9.0).apply(vector, image), want, atol=1e-5)


def test_luma_keeps_lengths():
    """The cosines are orthonormal: weighted by the table, the norm is the pixels'."""
    rng = np.random.default_rng(0)
    blocks = rng.normal(size=(2, 1, 8, 8))
    moved = decode(jnp.array(blocks.ravel(), jnp.float32), (16, 8, 1))
    want = np.linalg.norm(blocks * np.array(oracle.LUMA))
    assert np.isclose(np.linalg.norm(moved), want, rtol=1e-5)


@pytest.mark.parametrize("channels", [1, 3])
def test_other_sides_are_the_cut_of_a_larger_image(channels):
    small, large = (9, 13, channels), (16, 16, channels)
    assert planes(small) == planes(large)
    count = sum(64 * a * b for a, b in planes(small))
    params = jax.random.normal(jax.random.key(0), (count,))
    assert np.allclose(decode(params, small), decode(params, large)[:9, :13], atol=1e-4)


def test_the_l1_ball_limits_each_coefficient():
    threat, image = Jpeg(5.0, ball="l1"), nets.batch(1)[0][0]
    params = threat.project(jnp.arange(64.0), image)
    assert np.isclose(jnp.sum(params), 5.0, atol=1e-4) and jnp.max(params) == 2.0
    grad = jnp.where(params == 2.0, 9.0, 1.0).at[5].set(3.0)
    direction = threat.direction(grad, params, image)
    assert np.flatnonzero(direction).tolist() == [5]
    back = threat.direction(-grad, params, image)
    assert np.all((back == 0) | (params == 2.0)) and np.any(back != 0)


@pytest.mark.parametrize("ball", ["linf", "l2", "l1"])
@pytest.mark.parametrize("shape", [(4, 4, 1), (3, 5, 3)])
def test_sizes_after_projection(ball, shape):
    image, threat = nets.batch(1, shape)[0][0], Jpeg(3.0, ball=ball)
    start = threat.init(jax.random.key(0), image)
    for params in (start, threat.project(50 * start + 1, image)):
        assert 0 < threat.size(params, image) <= 3.0 * (1 + 1e-6)


def test_two_channels_are_refused():
    with pytest.raises(UsageError, match="2 channels; it needs 3"):
        Jpeg(1.0).init(jax.random.key(0), jnp.zeros((8, 8, 2)))
