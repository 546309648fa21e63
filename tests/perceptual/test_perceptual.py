"""LPIPS, SSIM, Jacobian products and projections against slow exact references."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.ndimage
from hypothesis import given, settings
from hypothesis import strategies as st

from jaxadv import specs
from jaxadv.classifier import Classifier
from jaxadv.models import MODELS
from jaxadv.perceptual import (
    DISTANCES,
    NETWORKS,
    L2Distance,
    LinfDistance,
    Lpips,
    Ssim,
    jacobian,
    projection,
)
from jaxadv.perceptual.lpips import embed
from jaxadv.specs import UsageError
from tests import nets

RNG = np.random.default_rng(0)
SHAPE = (5, 5, 2)


def _conv(x, kernel):
    return jax.lax.conv_general_dilated(
        x[None], kernel, (1, 1), "SAME", dimension_numbers=("NHWC", "HWIO", "NHWC")
    )[0]


def _taps(variables, image, key):
    first = jax.nn.relu(_conv(image, variables["first"]))
    return first, jax.nn.relu(_conv(first, variables["second"]))


def _logits(variables, image, key):
    return jnp.sum(_taps(variables, image, key)[1], (0, 1))


def network(dtype=np.float32, seed=0):
    rng = np.random.default_rng(seed)
    variables = {
        "first": rng.normal(size=(3, 3, 2, 4)).astype(dtype),
        "second": rng.normal(size=(3, 3, 4, 3)).astype(dtype),
    }
    return Classifier.from_function(_logits, variables, features=_taps)


def formula(taps, others, linear=None):
    """The distance as the paper writes it, tap by tap, in float64."""
    total = 0.0
    for i, (a, b) in enumerate(zip(taps, others, strict=True)):
        a, b = np.asarray(a, np.float64), np.asarray(b, np.float64)
        for row in range(a.shape[0]):
            for column in range(a.shape[1]):
                u, v = a[row, column], b[row, column]
                gap = u / (np.linalg.norm(u) + 1e-10) - v / (np.linalg.norm(v) + 1e-10)
                weight = 1.0 if linear is None else np.asarray(linear[i], np.float64)
                total += np.sum(weight * gap**2) / (a.shape[0] * a.shape[1])
    return total


@pytest.mark.parametrize("weighted", [False, True])
def test_lpips_is_the_formula(weighted):
    model = network()
    linear = (RNG.uniform(size=4), RNG.uniform(size=3)) if weighted else None
    a, b = RNG.uniform(size=(2, *SHAPE)).astype(np.float32)
    want = formula(model.features(a), model.features(b), linear)
    assert np.isclose(Lpips(model, linear)(a, b), np.sqrt(want), rtol=1e-5)
    assert np.isclose(Lpips(model, linear, squared=True)(a, b), want, rtol=1e-5)


def test_lpips_never_passes_its_largest_value():
    """Features are not negative, so each tap adds at most 2 to the square."""
    a, b = (np.abs(RNG.normal(size=(2, 3, 3, 50))) for _ in range(2))
    a[..., ::2], b[..., 1::2] = 0, 0
    phi = embed(jnp.asarray(a)), embed(jnp.asarray(b))
    assert np.isclose(np.linalg.norm(phi[0] - phi[1]), np.sqrt(2 * 2), atol=1e-5)


def test_equal_images_and_dead_pixels_have_gradient_zero():
    model, image = network(), jnp.asarray(RNG.uniform(size=SHAPE), jnp.float32)
    phi = Lpips(model).embed(image)
    value, grad = jax.value_and_grad(lambda x: Lpips(model).between(x, phi))(phi)
    assert value == 0 and np.all(grad == 0)
    value, grad = jax.value_and_grad(lambda x: Lpips(model)(x, image))(image)
    assert value < 1e-6 and np.all(np.isfinite(grad))
    black = jnp.zeros(SHAPE)
    value, grad = jax.value_and_grad(lambda x: Lpips(model)(x, image))(black)
    assert np.isfinite(value) and np.all(np.isfinite(grad))
    tiny = embed((jnp.full((2, 2, 3), 1e-30),))
    assert np.all(tiny == 0)


def test_activations_are_embedded_in_float32_at_least():
    taps = (jnp.asarray(RNG.uniform(size=(3, 3, 2)), jnp.bfloat16),)
    assert embed(taps).dtype == jnp.float32
    module = MODELS["lenet_v2"](compute_dtype="bfloat16")
    variables = module.init(jax.random.key(0), jnp.zeros((1, 8, 8, 1)))
    model = Classifier.from_linen(module, variables)
    image = jnp.asarray(RNG.uniform(size=(8, 8, 1)), jnp.float32)
    exact = Classifier.from_linen(MODELS["lenet_v2"](), variables)
    assert model.features(image)[0].dtype == jnp.bfloat16
    assert np.array_equal(Lpips(model).embed(image), Lpips(exact).embed(image))


def test_a_distance_without_a_network_says_so():
    image = jnp.zeros(SHAPE)
    with pytest.raises(UsageError, match="network is None"):
        Lpips()(image, image)
    bare = Classifier.from_function(lambda v, x, key: jnp.ones(3), {})
    with pytest.raises(UsageError, match="no feature taps"):
        Lpips(bare)(image, image)
    bound = Lpips().bind(network(), image, 0, None)
    assert bound(image, image) == 0


def test_distances_are_built_by_name():
    assert specs.build({"name": "ssim", "window": 7}, DISTANCES, "d") == Ssim(7)
    with pytest.raises(UsageError, match="window is 4"):
        specs.build({"name": "ssim", "window": 4}, DISTANCES, "d")
    with pytest.raises(UsageError, match="there is no 'nowhere'; train"):
        specs.build({"name": "run", "path": "nowhere"}, NETWORKS, "d.network")
    with pytest.raises(UsageError, match="alexnet"):
        missing = {"name": "alexnet", "path": "nowhere.pth"}
        specs.build({"name": "lpips", "network": missing}, DISTANCES, "d")


def test_pixel_distances():
    a, b = jnp.zeros(SHAPE), jnp.zeros(SHAPE).at[0, 0].set(jnp.array([0.3, 0.4]))
    assert np.isclose(L2Distance()(a, b), 0.5) and np.isclose(LinfDistance()(a, b), 0.4)


@pytest.mark.parametrize("shape", [(16, 13, 3), (5, 6, 1)])
def test_ssim_is_that_of_scipy_windows(shape):
    a, b = RNG.uniform(size=(2, *shape))

    def blur(x):
        return scipy.ndimage.gaussian_filter(
            x, 1.5, radius=5, mode="constant", axes=(0, 1)
        )

    mean_a, mean_b = blur(a), blur(b)
    var_a, var_b = blur(a * a) - mean_a**2, blur(b * b) - mean_b**2
    both = blur(a * b) - mean_a * mean_b
    c1, c2 = 1e-4, 9e-4
    top = (2 * mean_a * mean_b + c1) * (2 * both + c2)
    want = 1 - np.mean(top / ((mean_a**2 + mean_b**2 + c1) * (var_a + var_b + c2)))
    a, b = a.astype(np.float32), b.astype(np.float32)
    assert np.isclose(Ssim()(a, b), want, atol=1e-5)
    assert np.isclose(Ssim()(a, a), 0, atol=1e-6)


@pytest.mark.parametrize("dtype,tolerance", [(np.float64, 1e-10), (np.float32, 1e-4)])
def test_jacobian_products_are_those_of_the_dense_matrix(dtype, tolerance):
    with jax.enable_x64(dtype == np.float64):
        model = network(dtype)
        point = jnp.asarray(RNG.uniform(size=SHAPE), dtype)
        phi = Lpips(model).embed
        near = jacobian.linearize(phi, point)
        dense = np.asarray(jax.jacobian(phi)(point)).reshape(near.value.size, -1)
        v = RNG.normal(size=SHAPE).astype(dtype)
        u = RNG.normal(size=near.value.shape).astype(dtype)
        assert near.value.dtype == dtype
        flat = dense @ v.reshape(-1)
        for got, want in (
            (near.push(v), flat),
            (near.pull(u), u @ dense),
            (near.gram(v), dense.T @ flat),
        ):
            got = np.asarray(got).reshape(-1)
            assert np.max(np.abs(got - want)) <= tolerance * np.max(np.abs(want))


def test_the_secant_is_the_difference_quotient():
    phi, point = Lpips(network()).embed, jnp.asarray(RNG.uniform(size=SHAPE))
    v = jnp.asarray(RNG.normal(size=SHAPE))
    near = jacobian.linearize(phi, point, "secant", 0.05)
    assert np.allclose(
        near.push(v), (phi(point + 0.05 * v) - phi(point)) / 0.05, atol=1e-4
    )
    exact = jacobian.linearize(phi, point)
    assert np.allclose(near.pull(near.value), exact.pull(near.value), atol=1e-5)
    assert not np.allclose(near.push(v), exact.push(v), atol=1e-3)


@pytest.mark.parametrize("size", [1, 4, 7])
def test_conjugate_gradient_solves_dense_systems(size):
    with jax.enable_x64(True):
        root = RNG.normal(size=(size + 2, size))
        matrix, target = root.T @ root + np.eye(size), RNG.normal(size=size)
        got = jacobian.conjugate_gradient(
            lambda v: jnp.asarray(matrix) @ v, jnp.asarray(target), size
        )
        assert np.allclose(got, np.linalg.solve(matrix, target), rtol=1e-8)


def test_conjugate_gradient_is_finite_on_every_matrix():
    """Singular, zero, huge, and with more steps than the residual lasts."""
    singular = np.diag([1.0, 0.0, 0.0]).astype(np.float32)
    for matrix in (singular, 0 * singular, 1e30 * singular, np.eye(3, dtype="f4")):
        for target in ([1.0, 2.0, 0.0], [0.0, 0.0, 0.0], [1e-25, 0.0, 0.0]):
            got = jacobian.conjugate_gradient(
                lambda v, m=matrix: jnp.asarray(m) @ v, jnp.array(target), 5
            )
            assert np.all(np.isfinite(got))
            assert np.any(target) or np.all(got == 0)


def test_the_steepest_direction_beats_brute_force():
    """Lemma 1: of all d with ||J d|| = 1 it has the largest <grad, d>."""
    matrix = RNG.normal(size=(6, 4)).astype(np.float32)
    grad = RNG.normal(size=4).astype(np.float32)
    near = jacobian.linearize(lambda x: jnp.asarray(matrix) @ x, jnp.zeros(4))
    steepest = np.asarray(jacobian.steepest(near, jnp.asarray(grad), 4))

    def gain(d):
        return grad @ d / np.linalg.norm(matrix @ d, axis=0)

    others = RNG.normal(size=(4, 20000))
    near_by = steepest[:, None] + 0.05 * RNG.normal(size=(4, 20000))
    best = max(np.max(gain(others)), np.max(gain(near_by)))
    assert gain(steepest) >= best * (1 - 1e-6) and best > 0.9 * gain(steepest)
    exact = np.linalg.solve(matrix.T @ matrix, grad)
    want = grad @ exact / np.linalg.norm(matrix @ exact)
    assert np.isclose(gain(steepest), want, rtol=1e-5)


def test_the_direction_ignores_the_scale_of_the_gradient():
    near = jacobian.linearize(
        Lpips(network()).embed, jnp.asarray(RNG.uniform(size=SHAPE))
    )
    grad = jnp.asarray(RNG.normal(size=SHAPE), jnp.float32)
    one = jacobian.steepest(near, grad, 5)
    for scale in (1e-30, 1e-10, 1e10):
        assert np.allclose(jacobian.steepest(near, scale * grad, 5), one, atol=2e-2)
    assert np.all(jacobian.steepest(near, 0 * grad, 5) == 0)


def ball(center):
    return lambda x: jnp.sqrt(jnp.sum((x - center) ** 2) + 1e-12) ** 1.5


@settings(max_examples=25, deadline=None)
@given(st.integers(0, 2**31), st.floats(0.01, 3.0))
def test_projections_end_feasible_and_close(seed, bound):
    rng = np.random.default_rng(seed)
    center, point = (jnp.asarray(rng.uniform(size=(3, 3, 1)), "f4") for _ in range(2))
    distance = ball(center)
    exact = min(1.0, bound ** (2 / 3) / float(jnp.linalg.norm(point - center)))
    line = projection.bisection(distance, center, point, bound, 12)
    share = float(jnp.linalg.norm(line - center) / jnp.linalg.norm(point - center))
    assert distance(line) <= bound * (1 + 1e-5)
    assert exact - 2**-11 <= share <= exact + 1e-5
    moved = projection.newton(distance, point, bound, 8, 0.01 * bound)
    assert distance(moved) <= bound * (1 + 1e-5)
    if distance(point) <= bound:
        assert np.array_equal(moved, point)


def test_newton_stays_put_where_there_is_no_gradient():
    point = jnp.full((2, 2, 1), 0.5)
    moved = projection.newton(lambda x: 1.0 + 0 * jnp.sum(x), point, 0.5, 4, 0.1)
    assert np.array_equal(moved, point)


def test_features_of_a_function():
    model = nets.linear()
    image = nets.batch(1)[0][0]
    assert len(model.features(image)) == 2
