"""projections against root finding, linear programming and all subsets."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from jaxadv import numerics
from jaxadv.numerics import projections
from jaxadv.specs import UsageError
from tests.oracles import linear
from tests.oracles import projections as oracle

NORMS = ("l0", "l1", "l2", "linf")
CONVEX = ("l1", "l2", "linf")
ORDER = {"l0": 0, "l1": 1, "l2": 2, "linf": np.inf}
SHAPES = ((1,), (2, 2, 2))

project = {norm: jax.jit(getattr(projections, f"project_{norm}")) for norm in NORMS}
project["pixels"] = jax.jit(lambda *a: projections.project_l0(*a, pixels=True))
maximize_linear = jax.jit(projections.maximize_linear, static_argnums=(1, 5))
safe_norm = jax.jit(numerics.safe_norm, static_argnums=1)
slow = settings(deadline=None, max_examples=30)


def decimals(low, high):
    """Floats with six decimals: no subnormal numbers, which XLA reads as zero."""
    return st.integers(low * 10**6, high * 10**6).map(lambda i: i / 10**6)


@st.composite
def problems(draw, count=1):
    """(points, image, eps): ties, saturated pixels, radii from 0 to huge."""
    shape = draw(st.sampled_from(SHAPES))
    values = st.sampled_from([0.0, 0.5, -0.5, 1.0, 20.0]) | decimals(-3, 3)
    pixels = st.sampled_from([0.0, 1.0, 0.5]) | decimals(0, 1)
    points = [
        draw(hnp.arrays(np.float64, shape, elements=values)) for _ in range(count)
    ]
    image = draw(hnp.arrays(np.float64, shape, elements=pixels))
    eps = draw(st.sampled_from([0.0, 1e-4, 0.3, 1.0, 2.0, 1e3]) | decimals(0, 4))
    return *points, image, eps


def length(x, norm):
    return np.linalg.norm(np.asarray(x, np.float64).ravel(), ORDER[norm])


def images(rng, d):
    """An 8-bit image, a third of whose pixels is saturated."""
    return np.clip(rng.integers(-50, 306, d) / 255, 0, 1).astype(np.float32)


@pytest.mark.parametrize("norm", CONVEX)
@slow
@given(problems())
def test_projection_is_the_nearest_point(norm, problem):
    delta, image, eps = problem
    with jax.enable_x64(True):
        found = np.asarray(project[norm](delta, eps, -image, 1 - image))
    assert found.dtype == np.float64
    expected = oracle.project(delta, norm, eps, -image, 1 - image)
    np.testing.assert_allclose(found, expected, rtol=1e-6, atol=1e-9)


@pytest.mark.parametrize("kind", ["l0", "pixels"])
@slow
@given(problems())
def test_l0_projection_is_a_nearest_point(kind, problem):
    delta, image, k = problem
    with jax.enable_x64(True):
        found = np.asarray(project[kind](delta, k, -image, 1 - image))
    best = oracle.project(delta, "l0", k, -image, 1 - image, kind == "pixels")
    np.testing.assert_allclose(
        np.sum((found - delta) ** 2), np.sum((best - delta) ** 2), rtol=1e-12
    )
    used = (found != 0).any(-1) if kind == "pixels" else found != 0
    assert used.sum() <= int(k)
    clipped = np.clip(delta, -image, 1 - image)
    assert ((found == clipped) | (found == 0)).all()


def test_l0_projection_breaks_ties_by_index():
    delta, low, high = jnp.float32([1, -2, 2, 2, 0]), -jnp.ones(5) * 3, jnp.ones(5) * 3
    for k, kept in ((0, []), (1, [1]), (2.9, [1, 2]), (3, [1, 2, 3]), (9, range(5))):
        expected = np.where(np.isin(np.arange(5), list(kept)), delta, 0)
        np.testing.assert_array_equal(project["l0"](delta, k, low, high), expected)


@pytest.mark.parametrize("norm", ["l1", "l2"])
@settings(deadline=None, max_examples=10)
@given(problems())
def test_oracle_agrees_with_a_general_solver(norm, problem):
    delta, image, eps = (np.ravel(v) for v in problem)
    delta, eps = np.clip(delta, -3, 3), float(np.clip(eps[0], 0.1, 4))
    args = delta, norm, eps, -image, 1 - image
    found, checked = oracle.project(*args), oracle.general_solver(*args)
    assert length(found, norm) <= eps * (1 + 1e-9)
    loss, reference = (np.sum((v - delta) ** 2) for v in (found, checked))
    assert loss <= reference + 1e-5


@pytest.mark.parametrize("norm", ["l0", "pixels", *CONVEX])
@slow
@given(problems())
def test_projection_is_idempotent_and_keeps_inner_points(norm, problem):
    delta, image, eps = (np.float32(v) for v in problem)
    low, high = -image, 1 - image
    once = project[norm](delta, eps, low, high)
    assert (once >= low).all() and (once <= high).all()
    np.testing.assert_array_equal(project[norm](once, eps, low, high), once)
    inner = np.clip(delta, low, high)
    radius = np.float32(length(inner, "l0" if norm == "pixels" else norm) * (1 + 1e-6))
    kept = np.asarray(project[norm](inner, radius, low, high))
    np.testing.assert_array_equal(kept.view(np.int32), inner.view(np.int32))


@pytest.mark.parametrize("norm", CONVEX)
@slow
@given(problems(count=2))
def test_projection_is_non_expansive(norm, problem):
    a, b, image, eps = problem
    with jax.enable_x64(True):
        first, second = (project[norm](v, eps, -image, 1 - image) for v in (a, b))
    assert length(first - second, "l2") <= length(a - b, "l2") * (1 + 1e-9) + 1e-12


def test_l2_projection_of_one_large_and_one_tiny_entry():
    low, high = -np.ones(2, np.float32), np.ones(2, np.float32)
    found = project["l2"](np.float32([1, 1e-5]), 0.5, low, high)
    np.testing.assert_allclose(found, [0.5, 5e-6], rtol=2e-6)


def test_l2_projection_whose_entries_reach_the_box_one_by_one():
    delta = np.float32(0.5 ** np.arange(60) * 1e6)
    high = np.full(60, 0.13, np.float32)
    for eps in np.float32([0.2, 0.6, 0.9]):
        found = project["l2"](delta, eps, -high, high)
        expected = oracle.project(delta, "l2", float(eps), -high, high)
        np.testing.assert_allclose(found, expected, rtol=3e-6)


def points(rng, d):
    """Points that strain float32: ties, clusters, 13 decades."""
    yield rng.normal(size=d)
    yield np.sign(rng.normal(size=d)) * 0.7
    yield np.full(d, 1.0)
    yield 1 + 1e-6 * rng.normal(size=d)
    yield np.where(rng.random(d) < 0.01, 10, 1 + 0.3 * rng.normal(size=d))
    yield rng.normal(size=d) * 10 ** rng.uniform(-10, 3, d)


@pytest.mark.parametrize("norm", CONVEX)
@pytest.mark.parametrize("d", [1, 50, 3072])
def test_float32_projection_is_feasible_and_accurate(norm, d):
    rng = np.random.default_rng(10)
    for delta in map(np.float32, points(rng, d)):
        image = images(rng, d)
        low, high = -image, 1 - image
        for eps in np.float32([1e-4, 0.01, 0.3, 3, 30, 1e3]):
            found = np.asarray(project[norm](delta, eps, low, high))
            assert length(found, norm) <= eps * (1 + 1e-6)
            assert float(safe_norm(found, norm)) <= eps * (1 + 3e-7)
            assert (found >= low).all() and (found <= high).all()
            expected = oracle.project(delta, norm, float(eps), low, high)
            error = length(found - expected, "l2") / max(length(expected, "l2"), 1e-30)
            assert error <= 2e-6


@pytest.mark.parametrize("norm", NORMS)
def test_float32_linear_maximum_is_feasible_and_accurate(norm):
    rng = np.random.default_rng(11)
    for grad in map(np.float32, points(rng, 50)):
        image = images(rng, 50)
        low, high = -image, 1 - image
        for eps in np.float32([1, 2] if norm == "l0" else [1e-3, 0.3, 3, 1e3]):
            found = np.asarray(maximize_linear(grad, norm, eps, low, high))
            assert length(found, norm) <= eps * (1 + 1e-6)
            assert (found >= low).all() and (found <= high).all()
            best = oracle.maximize_linear(grad, norm, float(eps), low, high)
            gain, most = (np.sum(np.float64(grad) * v) for v in (found, best))
            np.testing.assert_allclose(gain, most, rtol=2e-6)


@pytest.mark.parametrize("norm", NORMS)
@pytest.mark.parametrize("pixels", [False, True])
@slow
@given(problems())
def test_linear_maximum_is_exact(norm, pixels, problem):
    grad, image, eps = problem
    args = grad, norm, eps, -image, 1 - image, pixels
    with jax.enable_x64(True):
        found = np.asarray(maximize_linear(*args))
    best = oracle.maximize_linear(*args)
    np.testing.assert_allclose(np.sum(grad * found), np.sum(grad * best), rtol=1e-6)
    assert length(found, norm) <= eps * (1 + 1e-12) or pixels
    assert (found >= -image).all() and (found <= 1 - image).all()
    assert (found[grad == 0] == 0).all()


def test_linear_maximum_of_gradients_that_are_not_finite():
    bad = np.float32([3, np.nan, np.inf, -4, -np.inf])
    limits = -np.ones(5, np.float32), np.ones(5, np.float32)
    for norm in NORMS:
        found, expected = (
            maximize_linear(g, norm, 1.0, *limits)
            for g in (bad, np.where(np.isfinite(bad), bad, 0))
        )
        np.testing.assert_array_equal(found, expected)
    with pytest.raises(UsageError, match="norm is 'L2'; allowed: 'l0', 'l1', 'l2'"):
        maximize_linear(bad, "L2", 1.0, *limits)


def test_projections_of_points_that_are_not_finite_are_feasible():
    bad = np.float32([np.nan, np.inf, -np.inf, 3e38, 0.2])
    low, high = np.float32([-0.5] * 5), np.float32([0.5] * 5)
    for norm in NORMS:
        found = project[norm](bad, 1.0, low, high)
        assert np.isfinite(found).all() and length(found, norm) <= 1 + 1e-6
        assert found[0] == 0


def test_radii_are_traced_and_may_differ_per_image():
    rng = np.random.default_rng(12)
    delta, image = rng.normal(size=(4, 6)), images(rng, (4, 6))
    delta, radii = np.float32(delta), np.float32([0, 0.5, 2, 1e3])
    for norm in ("l0", *CONVEX):
        run = jax.jit(jax.vmap(getattr(projections, f"project_{norm}")))
        together = run(delta, radii, -image, 1 - image)
        run(delta, radii + 1, -image, 1 - image)
        assert run._cache_size() == 1
        for row in zip(together, delta, radii, -image, 1 - image, strict=True):
            np.testing.assert_allclose(row[0], project[norm](*row[1:]), atol=1e-7)


def test_projections_differentiate_without_nan():
    delta, low, high = jnp.float32([2, -1, 0, 0.3]), -jnp.ones(4), jnp.ones(4)
    radii = jnp.array([0.0, 1.0, 1e3])
    for norm in NORMS:
        slope = jax.grad(lambda d, e, n=norm: project[n](d, e, low, high).sum())
        assert np.isfinite(jax.jit(jax.vmap(slope, (None, 0)))(delta, radii)).all()
    inner = jax.jacobian(lambda d: project["l2"](d, 9.0, low, high))(delta / 3)
    np.testing.assert_array_equal(inner, jnp.eye(4))


# The linear classifier


@pytest.mark.parametrize("norm", NORMS)
def test_worst_margin_is_attained_and_never_exceeded(norm):
    rng = np.random.default_rng(13)
    weights, bias = rng.normal(size=(3, 2, 2, 2)), rng.normal(size=3)
    image = np.float64(images(rng, (2, 2, 2)))
    eps = 2.0 if norm == "l0" else 0.6
    margin, delta = linear.worst_margin(weights, bias, image, 1, norm, eps)

    def margin_at(change):
        z = weights.reshape(3, 8) @ (image + change).ravel() + bias
        return max(z[0], z[2]) - z[1]

    assert length(delta, norm) <= eps + 1e-9
    assert abs(margin_at(delta) - margin) < 1e-9
    for _ in range(300):
        change = rng.normal(size=(2, 2, 2)) * 5
        change = oracle.project(change, norm, eps, -image, 1 - image)
        assert margin_at(change) <= margin + 1e-9
    for other in (0, 2):
        found = maximize_linear(
            np.float32(weights[other] - weights[1]),
            norm,
            eps,
            np.float32(-image),
            np.float32(1 - image),
        )
        assert margin_at(np.asarray(found)) <= margin + 1e-5
    binary, _ = linear.worst_binary_margin(weights[0], 0.5, image, 0, norm, eps)
    two = np.stack([0 * weights[0], weights[0]])
    assert binary == linear.worst_margin(two, [0, 0.5], image, 0, norm, eps)[0]
