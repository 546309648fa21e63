"""Square against slow references of its parts, and against random noise."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxadv.attacks import Square, UniformNoise
from jaxadv.attacks.sampling import square
from jaxadv.craft import craft
from jaxadv.specs import UsageError
from jaxadv.threats import L1, L2, Linf
from tests import nets

run = jax.jit(craft)
KEY = jax.random.key(3)


def pyramid(height, width):
    """A rectangle's bump: rings 1, 1/4, 1/9 … added up, l2 norm 1."""
    bump = np.zeros((height, width))
    row, column = height // 2, width // 2
    for ring in range(max(row, column) + 1):
        rows = slice(max(row - ring, 0), row + ring + 1)
        columns = slice(max(column - ring, 0), column + ring + 1)
        bump[rows, columns] += 1 / (ring + 1) ** 2
    return bump / np.linalg.norm(bump)


@pytest.mark.parametrize("side", [2, 3, 5, 6, 9])
def test_the_l2_pattern_is_a_pyramid_beside_its_negative(side):
    upper = side // 2
    want = np.concatenate([pyramid(upper, side), -pyramid(side - upper, side)])
    want /= np.linalg.norm(want)
    rows, columns = jnp.arange(10)[:, None] - 1, jnp.arange(10) - 0
    upright, turned = square._pyramids(rows, columns, jnp.float32(side), 10)
    assert np.allclose(upright[1 : side + 1, :side], want, atol=1e-6)
    assert np.isclose(jnp.sum(upright**2), 1) and np.isclose(jnp.sum(turned**2), 1)
    upright, turned = square._pyramids(rows, columns + 0 * side, jnp.float32(side), 10)
    assert np.allclose(turned[1 : side + 1, :side], want.T, atol=1e-6)


def test_squares_shrink_on_the_published_schedule():
    attack = Square(Linf(0.1), steps=10_000)
    shape = (32, 32, 3)
    shares = [(1, 0.8), (10, 0.8), (11, 0.4), (51, 0.2), (201, 0.1), (501, 0.05)]
    shares += [(1001, 0.025), (2001, 0.0125), (4001, 0.00625), (8001, 0.8 / 2**9)]
    for query, share in shares:
        state = attack.init(KEY, None, jnp.zeros(shape), 0)
        state = state.replace(count=jnp.array(query - 1))
        want = max(round((share * 32 * 32) ** 0.5), 1)
        assert attack._side(state, shape) == want
    half = Square(Linf(0.1), steps=5_000)
    state = state.replace(count=jnp.array(5))
    assert half._side(state, shape) == round((0.4 * 32 * 32) ** 0.5)
    whole = half.replace(rescale=False)
    assert whole._side(state, shape) == round((0.8 * 32 * 32) ** 0.5)


def test_an_linf_change_is_one_square_of_corners():
    delta = jnp.zeros((9, 7, 2))
    seen = set()
    for seed in range(40):
        got = np.asarray(square._linf_change(jax.random.key(seed), delta, 0.1, 3.0))
        changed = np.argwhere(np.any(got != 0, axis=-1))
        top, left = changed.min(0)
        assert len(changed) == 9 and np.all(changed.max(0) == (top + 2, left + 2))
        inside = got[top : top + 3, left : left + 3]
        assert np.all(np.abs(inside) == np.float32(0.1))
        assert np.all(inside == inside[0, 0])
        seen |= {("row", top), ("column", left)}
    assert {("row", 0), ("row", 6), ("column", 0), ("column", 4)} <= seen


@pytest.mark.parametrize("side", [3.0, 4.0, 8.0])
def test_an_l2_change_spends_the_whole_budget(side):
    rng = np.random.default_rng(0)
    delta = jnp.array(rng.normal(size=(8, 8, 2)), jnp.float32)
    delta = 0.3 * delta / jnp.linalg.norm(delta)
    change = jax.jit(square._l2_change)
    for seed in range(10):
        got = change(jax.random.key(seed), delta, 0.5, side)
        assert np.isclose(jnp.linalg.norm(got), 0.5, atol=1e-6)
    start = square._tiles(KEY, (11, 10, 2))
    assert np.isclose(jnp.linalg.norm(start), 1) and np.all(start[-1] == 0)


@pytest.mark.parametrize("threat", [Linf(0.06), L2(0.5)])
def test_beats_random_noise_and_never_loses_ground(threat):
    model, (images, _) = nets.dense(), nets.batch(48)
    labels = nets.predicted(model, images)
    noise = UniformNoise(threat, steps=100)
    weaker = int(run(noise, model, KEY, images, labels).success.sum())
    counts, margins = [], []
    for steps in (10, 100):
        attack = Square(threat, steps=steps)
        got = run(attack, model, KEY, images, labels)
        assert np.all(got.size <= threat.eps * (1 + 1e-6))
        counts.append(int(got.success.sum()))
        margins.append(float(got.margin.mean()))
    assert weaker < counts[1] and counts[0] <= counts[1] and margins[0] < margins[1]


def test_other_threats_are_refused():
    with pytest.raises(UsageError, match="searches a Linf or L2"):
        Square(L1(1.0))
