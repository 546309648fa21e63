"""The union of balls: its relative size, and the nearest of its parts."""

import jax
import numpy as np
import pytest

from jaxadv.specs import UsageError
from jaxadv.threats import L0, L1, L2, THREATS, Linf, Union
from tests import nets
from tests.oracles import projections

BALLS = (Linf(0.1), L2(0.5), L1(2.0))
GRAY = np.full(nets.SHAPE, 0.5, np.float32)


def drawn(seed, scale):
    return scale * np.random.default_rng(seed).normal(size=nets.SHAPE).astype("f4")


def test_size_is_the_smallest_share_of_a_ball():
    assert THREATS["union"] is Union
    threat = Union(BALLS)
    one = np.zeros(nets.SHAPE, np.float32)
    one[3, 3] = 0.4  # 4 of linf, 0.8 of l2, 0.2 of l1
    flat = np.full(nets.SHAPE, 0.05, np.float32)  # 0.5, 0.8, 1.6
    np.testing.assert_allclose(threat.size(one, GRAY), 0.2, rtol=1e-5)
    np.testing.assert_allclose(threat.size(flat, GRAY), 0.5, rtol=1e-5)
    np.testing.assert_allclose(threat.distance(GRAY, GRAY + flat), 0.5, rtol=1e-5)


def test_a_point_of_one_ball_stays_and_another_goes_to_the_nearest():
    threat, chosen = Union(BALLS), set()
    for seed in range(12):
        point = drawn(seed, 0.3 if seed % 2 else 0.12)
        if seed > 8:
            point = np.where(np.abs(point) > 0.25, 10 * point, 0.01 * point)
            point = np.float32(np.clip(point, -0.5, 0.5))
        got = np.asarray(threat.project(point, GRAY))
        parts = [np.asarray(ball.project(point, GRAY)) for ball in BALLS]
        away = [np.linalg.norm(part - point) for part in parts]
        chosen.add(int(np.argmin(away)))
        assert np.array_equal(got, parts[int(np.argmin(away))])
        assert np.array_equal(threat.project(got, GRAY), got)
    assert len(chosen) > 1
    inside = np.zeros(nets.SHAPE, np.float32)
    inside[0, 0] = 0.45  # of l2 and l1, not of linf
    assert np.array_equal(threat.project(inside, GRAY), inside)


def test_its_best_point_is_that_of_the_ball_that_reaches_furthest():
    for seed in range(4):
        image, g = nets.batch(1, seed=seed)[0][0], drawn(seed, 1.0)
        got = Union(BALLS, eps=0.7).maximize(g, image)
        want = max(
            np.sum(
                g
                * projections.maximize_linear(g, b.norm, 0.7 * b.eps, -image, 1 - image)
            )
            for b in BALLS
        )
        np.testing.assert_allclose(np.sum(g * np.asarray(got)), want, rtol=1e-4)


def test_a_step_of_length_one_reaches_the_surface_of_the_steepest_ball():
    g = drawn(0, 1.0)
    for balls, dual in (
        ((Linf(0.1), L2(0.1)), 0.1 * np.abs(g).sum()),
        ((Linf(0.01), L2(0.4)), 0.4 * np.linalg.norm(g)),
    ):
        move = np.asarray(Union(balls).direction(g, np.zeros_like(g), GRAY))
        np.testing.assert_allclose(np.sum(move * g), dual, rtol=1e-4)
        np.testing.assert_allclose(Union(balls).size(move, GRAY), 1, rtol=1e-5)


def test_starts_are_drawn_from_all_balls():
    keys = jax.random.split(jax.random.key(1), 60)
    starts = jax.vmap(lambda k: Union(BALLS).init(k, GRAY))(keys)
    l2 = np.linalg.norm(np.reshape(starts, (60, -1)), axis=1)
    linf = np.abs(np.reshape(starts, (60, -1))).max(1)
    assert 5 < np.sum((linf <= 0.1) & (l2 > 0.4)) < 40  # 0.46 is the typical one


def test_a_union_of_something_else_is_refused():
    with pytest.raises(UsageError, match="Union.parts has a L0; .* l1, l2, linf"):
        Union((Linf(0.1), L0(3.0)))
    with pytest.raises(UsageError, match="parts is \\(\\); it must be a list"):
        Union(())
