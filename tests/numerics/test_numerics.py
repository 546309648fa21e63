"""numerics against closed forms and slow exact references."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from scipy import stats

from jaxadv import numerics
from jaxadv.specs import UsageError
from tests.oracles import projections as oracle

NORMS = ("l0", "l1", "l2", "linf")
CONVEX = ("l1", "l2", "linf")
ORDER = {"l0": 0, "l1": 1, "l2": 2, "linf": np.inf}
F32 = np.finfo(np.float32)

safe_norm = jax.jit(numerics.safe_norm, static_argnums=1)
safe_normalize = jax.jit(numerics.safe_normalize, static_argnums=1)
steepest = jax.jit(numerics.steepest, static_argnums=1)
add_toward = jax.jit(numerics.add_toward)
bisect = jax.jit(
    lambda b, steps: numerics.bisect(lambda v: v <= b, 0.0, 1.0, steps),
    static_argnums=1,
)
slow = settings(deadline=None, max_examples=30)


def length(x, norm):
    return np.linalg.norm(np.asarray(x, np.float64).ravel(), ORDER[norm])


# clip, norms


def test_clip_passes_the_gradient_at_its_limits():
    x = jnp.array([-0.5, 0.0, 0.25, 1.0, 1.5])
    inside = np.array([0.0, 1, 1, 1, 0])
    limited = lambda v: numerics.clip(v, 0.0, 1.0)  # noqa: E731
    np.testing.assert_array_equal(limited(x), jnp.clip(x, 0, 1))
    np.testing.assert_array_equal(jax.vmap(jax.grad(limited))(x), inside)
    np.testing.assert_array_equal(jax.jvp(limited, (x,), (x + 3,))[1], inside * (x + 3))
    np.testing.assert_array_equal(jax.vjp(limited, x)[1](x + 3)[0], inside * (x + 3))
    twice = jax.vmap(jax.grad(jax.grad(lambda v: limited(v) ** 2)))
    np.testing.assert_array_equal(twice(x), 2 * inside)
    np.testing.assert_array_equal(jax.jacobian(limited)(x), np.diag(inside))
    assert np.isnan(limited(jnp.nan))


def test_clip_gives_the_gradient_outside_to_the_limit():
    total = lambda x, low, high: numerics.clip(x, low, high).sum()  # noqa: E731
    grads = jax.grad(total, (1, 2))(jnp.array([-1.0, -2.0, 0.5, 3.0]), 0.0, 1.0)
    assert [float(g) for g in grads] == [2.0, 1.0]


@pytest.mark.parametrize("norm", CONVEX)
def test_safe_norm_is_the_norm(norm):
    x = np.random.default_rng(0).normal(size=(4, 5)).astype(np.float32)
    np.testing.assert_allclose(safe_norm(x, norm), length(x, norm), rtol=3e-7)
    with jax.enable_x64(True):
        assert safe_norm(jnp.float64(x), norm).dtype == np.float64
    assert np.isnan(safe_norm(x * np.nan, norm))
    assert np.isposinf(safe_norm(np.float32([1, np.inf]), norm))


@pytest.mark.parametrize("norm", CONVEX)
@pytest.mark.parametrize("size", [F32.tiny * 2, 1e-30, 1e-19, 1.0, 1e19, 4e37])
def test_norms_of_tiny_and_huge_vectors(norm, size):
    x = np.float32([3 * size, 0, -4 * size])
    np.testing.assert_allclose(safe_norm(x, norm), length(x, norm), rtol=3e-7)
    np.testing.assert_allclose(
        safe_normalize(x, norm), x / np.float64(length(x, norm)), rtol=3e-7
    )
    slope = jax.grad(numerics.safe_norm)(x, norm)
    expected = {"l1": [1, 0, -1], "l2": [0.6, 0, -0.8], "linf": [0, 0, -1]}[norm]
    np.testing.assert_allclose(slope, expected, rtol=3e-7)


def test_norms_near_the_largest_float():
    x = np.float32([3e38, -1e38])
    np.testing.assert_allclose(safe_norm(x, "l2"), length(x, "l2"), rtol=3e-7)
    np.testing.assert_allclose(safe_normalize(x), [0.9486833, -0.3162278], rtol=3e-7)


def test_safe_norm_of_one_entry_is_exact():
    x = np.random.default_rng(1).lognormal(0, 20, 1000).astype(np.float32)
    np.testing.assert_array_equal(jax.vmap(lambda v: safe_norm(v, "l2"))(x[:, None]), x)


@pytest.mark.parametrize("norm", CONVEX)
def test_derivatives_at_zero_are_zero(norm):
    zero = jnp.zeros(3)
    np.testing.assert_array_equal(jax.grad(numerics.safe_norm)(zero, norm), zero)
    np.testing.assert_array_equal(safe_normalize(zero, norm), zero)
    jacobian = jax.jacobian(lambda v: numerics.safe_normalize(v, norm))(zero)
    np.testing.assert_array_equal(jacobian, jnp.zeros((3, 3)))


def test_second_derivative_of_l2_norm():
    x = jnp.array([1.0, -2.0, 2.0])
    hessian = (jnp.eye(3) - jnp.outer(x, x) / 9) / 3
    for derivative in (
        jax.jacfwd(jax.grad(lambda v: numerics.safe_norm(v, "l2"))),
        jax.jacrev(numerics.safe_normalize),
    ):
        np.testing.assert_allclose(derivative(x), hessian, atol=1e-7)


def test_gradients_that_are_not_finite_count_as_zero():
    bad = np.float32([3, np.nan, np.inf, -4, -np.inf])
    expected = np.float32([0.6, 0, 0, -0.8, 0])
    np.testing.assert_allclose(safe_normalize(bad, "l2"), expected, rtol=1e-6)
    for norm in NORMS:
        good = np.where(np.isfinite(bad), bad, 0)
        np.testing.assert_array_equal(steepest(bad, norm), steepest(good, norm))


@pytest.mark.parametrize(
    "call",
    [
        lambda: numerics.safe_norm(jnp.ones(2), "l0"),
        lambda: numerics.safe_normalize(jnp.ones(2), "L2"),
        lambda: numerics.steepest(jnp.ones(2), "l3"),
        lambda: numerics.uniform_in_ball(jax.random.key(0), (2,), "inf", 1.0),
    ],
)
def test_unknown_norms_are_told(call):
    with pytest.raises(UsageError, match="norm is '.*'; allowed: .*'l1', 'l2', 'linf'"):
        call()


# Searches


@slow
@given(st.floats(-0.25, 1.25), st.sampled_from([1, 3, 12]))
def test_bisect_returns_its_last_feasible_end(boundary, steps):
    found = float(bisect(boundary, steps))
    if boundary >= 1:
        assert found == 1.0
    elif boundary <= 0:
        assert found == 0.0
    else:
        assert found <= np.float32(boundary) <= found + 2.0**-steps


def test_bisect_of_arrays_under_vmap():
    bounds = jnp.array([[0.1, 0.7], [2.0, 0.3]])
    run = jax.vmap(lambda b: numerics.bisect(lambda v: v <= b, jnp.zeros(2), 1.0, 20))
    np.testing.assert_allclose(run(bounds), jnp.minimum(bounds, 1), atol=2e-6)
    assert (run(bounds) <= bounds).all()


def test_rise_finds_a_level_and_keeps_one_that_is_right():
    slope, limit = jnp.array([4.0, 2.0, 1.0, 0.5]), jnp.array([1.0, 1.0, 1.0, 0.0])

    def solved(need, t):
        full = t * slope >= limit
        spare = need - jnp.sum(jnp.where(full, limit, 0.0))
        free = jnp.sum(jnp.where(full, 0.0, slope))
        return jnp.where(free > 0, spare / jnp.where(free > 0, free, 1.0), t)

    def level(need, start):
        return numerics.rise(lambda t: solved(need, t), start)

    needs = jnp.array([0.0, 1.4, 2.2, 2.9, 3.0])
    found = jax.vmap(lambda need: level(need, jnp.zeros(())))(needs)
    np.testing.assert_allclose(found, [0.0, 0.2, 0.4, 0.9, 1.0], rtol=1e-6)
    assert level(2.2, found[2]) == found[2]


def test_first_float_is_exact():
    rng = np.random.default_rng(2)
    switch = np.float32(np.r_[1.0, 3e38, F32.tiny, rng.lognormal(0, 20, 200)])
    run = jax.vmap(lambda s: numerics.first_float(lambda v: v >= s, jnp.float32(3e38)))
    before, first = run(switch)
    np.testing.assert_array_equal(first, switch)
    np.testing.assert_array_equal(before[3:], np.nextafter(switch, 0)[3:])
    always = numerics.first_float(lambda v: v >= 0, jnp.float32(1))
    assert [float(v) for v in always] == [0.0, 0.0]
    with jax.enable_x64(True):
        assert float(numerics.first_float(lambda v: v > 0.1, jnp.float64(9))[0]) == 0.1


@slow
@given(
    hnp.arrays(np.float32, 6, elements=st.sampled_from(np.float32([0, 0.5, 1, 2, 3]))),
    hnp.arrays(np.float32, 6, elements=st.sampled_from(np.float32([0, 0.25, 1, 1.5]))),
    st.sampled_from([0.0, 0.5, 1.0, 2.75, 4.0, 100.0]),
)
def test_take_largest_is_the_greedy_knapsack(score, weight, budget):
    expected, left = np.zeros(6), budget
    for i in sorted(range(6), key=lambda i: (-score[i], i)):
        expected[i] = min(weight[i], left)
        left -= expected[i]
    taken = jax.jit(numerics.take_largest)(score, weight, budget)
    np.testing.assert_array_equal(taken, expected)


@slow
@given(
    hnp.arrays(np.float64, 5, elements=st.sampled_from([0.0, 1.0]) | st.floats(-2, 2))
)
@example(np.array([1.0, 7.1114e-11, -1.0, 0.0, 0.0]))
def test_project_simplex_against_all_supports(w):
    with jax.enable_x64(True):
        found = jax.jit(numerics.project_simplex)(w)
    np.testing.assert_allclose(found, oracle.project_simplex(w), atol=1e-12)


def test_project_simplex_of_rows_and_large_values():
    w = np.float32([[[1e6, 1e6 + 1], [0.3, 0.7]], [[-5, -5], [0, 9]]])
    expected = [[[0, 1], [0.3, 0.7]], [[0.5, 0.5], [0, 1]]]
    np.testing.assert_allclose(numerics.project_simplex(w), expected, atol=1e-7)


# add_toward


def test_add_toward_never_lengthens_the_step():
    rng = np.random.default_rng(3)
    n = 200_000
    corners = np.float32([0, 1, 0.5, 0.25, 2**-10, 1 - 2**-24, 1e-8, 1e-33])
    image = np.where(rng.random(n) < 0.5, rng.choice(corners, n), rng.random(n))
    delta = rng.choice([-1, 1], n) * 10 ** rng.uniform(-12, 0.5, n)
    delta = np.where(rng.random(n) < 0.1, np.float32(8 / 255) * np.sign(delta), delta)
    image, delta = np.float32(image), np.float32(delta)
    moved = np.asarray(add_toward(image, delta))
    assert (np.abs(moved - image) <= np.abs(delta)).all()
    assert (np.abs(np.clip(moved, 0, 1) - image) <= np.abs(delta)).all()
    plain = image + delta
    assert (np.abs(plain - image) > np.abs(delta)).mean() > 0.1
    inward = np.nextafter(plain, image)
    assert ((moved == plain) | (moved == inward)).all()
    exact = np.abs(plain - image) <= np.abs(delta)
    np.testing.assert_array_equal(moved[exact], plain[exact])


def test_add_toward_is_straight_for_gradients():
    image, delta = jnp.array([0.1, 0.7, 1.0]), jnp.array([0.03, -1e-9, 0.2])
    for argument in (0, 1):
        jacobian = jax.jacobian(numerics.add_toward, argument)(image, delta)
        np.testing.assert_array_equal(jacobian, jnp.eye(3))
        tangent = jax.jacfwd(numerics.add_toward, argument)(image, delta)
        np.testing.assert_array_equal(tangent, jnp.eye(3))


# Directions and random starts


@pytest.mark.parametrize("norm", CONVEX)
def test_steepest_beats_random_directions(norm):
    rng = np.random.default_rng(4)
    grad = rng.normal(size=(3, 4)).astype(np.float32)
    best = np.asarray(steepest(grad, norm))
    assert abs(length(best, norm) - 1) < 1e-6
    others = np.concatenate(
        [rng.normal(size=(500, 12)), rng.laplace(size=(500, 12)) ** 3]
    )
    others /= np.linalg.norm(others, ORDER[norm], axis=1, keepdims=True)
    assert np.sum(grad * best) > (others @ grad.ravel()).max()
    dual = {"l1": "linf", "l2": "l2", "linf": "l1"}[norm]
    np.testing.assert_allclose(np.sum(grad * best), length(grad, dual), rtol=1e-6)


def test_steepest_l1_spreads_over_a_fraction():
    grad = jnp.array([1.0, -3.0, 2.0, -3.0, 0.5, 0.1, 0.0, 2.0, 0.2, 0.3])
    expected = {0.0: [1], 0.1: [1], 0.2: [1, 3], 0.3: [1, 2, 3], 1.0: list(range(10))}
    for fraction, chosen in expected.items():
        direction = np.zeros(10)
        direction[chosen] = np.sign(grad)[np.array(chosen)] / len(chosen)
        found = steepest(grad, "l1", fraction)
        np.testing.assert_allclose(found, direction, rtol=1e-6)
    np.testing.assert_array_equal(steepest(grad, "l0"), steepest(grad, "l2"))


@pytest.mark.parametrize("norm", CONVEX)
def test_uniform_in_ball_is_uniform(norm):
    keys = jax.random.split(jax.random.key(5), 4000)
    eps, d = np.float32(0.3), 3
    draw = jax.jit(
        jax.vmap(lambda k, e: numerics.uniform_in_ball(k, (d,), norm, e), (0, None))
    )
    points = np.asarray(draw(keys, eps), np.float64)
    radius = np.linalg.norm(points, ORDER[norm], axis=1) / eps
    assert radius.max() <= 1 + 1e-7
    assert stats.kstest(radius**d, "uniform").pvalue > 0.01
    cube = np.random.default_rng(6).uniform(-1, 1, (60_000, d))
    ball = cube[np.linalg.norm(cube, ORDER[norm], axis=1) <= 1] * eps
    for view in (lambda p: p[:, 1], lambda p: p @ [1.0, -2.0, 3.0]):
        assert stats.ks_2samp(view(points), view(ball)).pvalue > 0.01


def test_uniform_l0_chooses_entries_uniformly():
    keys = jax.random.split(jax.random.key(7), 4000)
    draw = jax.jit(jax.vmap(lambda k: numerics.uniform_in_ball(k, (2, 5), "l0", 3.7)))
    points = np.asarray(draw(keys)).reshape(4000, 10)
    assert ((points != 0).sum(1) == 3).all()
    assert stats.chisquare((points != 0).sum(0)).pvalue > 0.01
    assert stats.kstest(points[points != 0], "uniform", (-1, 2)).pvalue > 0.01


@pytest.mark.parametrize("norm", CONVEX)
def test_uniform_in_ball_stays_inside_in_float32(norm):
    keys = jax.random.split(jax.random.key(8), 100)
    draw = jax.jit(jax.vmap(lambda k, e: numerics.uniform_in_ball(k, (3072,), norm, e)))
    eps = np.float32(10 ** np.random.default_rng(9).uniform(-4, 3, 100))
    for point, radius in zip(np.asarray(draw(keys, eps)), eps, strict=True):
        assert length(point, norm) <= radius * (1 + 1e-6)
