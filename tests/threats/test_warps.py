"""StAdv and Elastic: pixels read from elsewhere."""

import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.ndimage

from jaxadv.attacks import Ascent
from jaxadv.craft import craft
from jaxadv.threats import Elastic, StAdv
from jaxadv.threats.base import blur, gaussian, roughness
from tests import nets

SHAPE = (6, 5, 2)
IMAGE = nets.batch(1, SHAPE)[0][0]


def read(image, rows, columns):
    """Bilinear, black beyond the border, float64, pixel by pixel."""
    height, width = image.shape[:2]
    out = np.zeros((*rows.shape, image.shape[2]))
    for place in np.ndindex(*rows.shape):
        top, left = int(np.floor(rows[place])), int(np.floor(columns[place]))
        for i in (top, top + 1):
            for j in (left, left + 1):
                if 0 <= i < height and 0 <= j < width:
                    weight = 1 - abs(rows[place] - i), 1 - abs(columns[place] - j)
                    out[place] += weight[0] * weight[1] * image[i, j]
    return out


def places(shape):
    return np.meshgrid(np.arange(shape[0]), np.arange(shape[1]), indexing="ij")


def random_flow(scale, seed=0):
    rng = np.random.default_rng(seed)
    return rng.uniform(-scale, scale, (*SHAPE[:2], 2)).astype(np.float32)


def test_stadv_reads_half_a_side_per_unit():
    flow = random_flow(0.9)
    rows, columns = places(SHAPE)
    want = read(
        IMAGE, rows + flow[..., 0] * SHAPE[0] / 2, columns + flow[..., 1] * SHAPE[1] / 2
    )
    assert np.allclose(StAdv().apply(flow, IMAGE), want, atol=1e-5)


def test_stadv_shifts_whole_pixels_exactly():
    flow = np.zeros((*SHAPE[:2], 2), np.float32)
    flow[..., 0], flow[..., 1] = 2 / SHAPE[0], -2 / SHAPE[1]
    moved = np.asarray(StAdv().apply(flow, IMAGE))
    assert np.allclose(moved[:-1, 1:], IMAGE[1:, :-1], atol=1e-6)
    assert np.all(moved[-1] == 0) and np.all(moved[:, 0] == 0)


@pytest.mark.parametrize("eps", [0.05, 0.7])
def test_stadv_projects_onto_bound_and_image(eps):
    flow = random_flow(1.5)
    got = np.asarray(StAdv(eps).project(flow, IMAGE), np.float64)
    axes = [(np.arange(n) + 0.5) * 2 / n - 1 for n in SHAPE[:2]]
    own = np.stack(np.meshgrid(*axes, indexing="ij"), -1)
    inside = np.clip(own + flow, -1, 1) - own
    assert np.allclose(got, np.clip(inside, -eps, eps), atol=1e-6)
    assert np.abs(got).max() <= eps + 1e-7 and np.abs(own + got).max() <= 1 + 1e-6


def test_roughness_of_known_flows():
    """Each pair has 1e-10 under the root, and edge nodes are their own neighbors."""
    flow = np.zeros((32, 32, 2), np.float32)
    assert np.isclose(StAdv().roughness(flow), 0.04096, rtol=1e-5)
    flow[7, 9, 1] = 0.05
    assert np.isclose(StAdv().roughness(flow), 0.440880, rtol=1e-5)
    assert np.isclose(roughness(jnp.zeros((224, 224, 2))), 2.00704, rtol=1e-5)
    assert np.all(jax.grad(roughness)(jnp.full((4, 3, 2), 0.3)) == 0)


def test_roughness_is_the_sum_over_both_neighbors():
    field = random_flow(1.0)
    want = 0.0
    for i, j in np.ndindex(*SHAPE[:2]):
        for di, dj in ((0, 1), (0, -1), (1, 0), (-1, 0)):
            a, b = min(max(i + di, 0), SHAPE[0] - 1), min(max(j + dj, 0), SHAPE[1] - 1)
            want += np.sqrt(np.sum((field[i, j] - field[a, b]) ** 2.0) + 1e-10)
    assert np.isclose(roughness(jnp.array(field)), want, rtol=1e-5)


def test_smoothness_makes_attacks_smooth():
    model, (images, labels) = nets.linear(SHAPE), nets.batch(6, SHAPE)
    rough = []
    for weight in (0.0, 3.0):
        threat = StAdv(0.2, smooth=weight)
        attack = Ascent(threat, steps=12, rel_step_size=0.2, keep="last")
        params = jax.vmap(lambda k, x, y, a=attack: _last(a, k, model, x, y))(
            jax.random.split(jax.random.key(0), 6), images, labels
        )
        rough.append(np.mean(jax.vmap(roughness)(params)))
    assert rough[1] < 0.5 * rough[0]


def _last(attack, key, model, image, label):
    state = attack.init(key, model, image, label)
    for _ in range(attack.steps):
        state = attack.step(state, model, image, label)
    return attack.finish(state, model, image, label)


@pytest.mark.parametrize("threat", [StAdv(0.3), Elastic(1.0)])
def test_the_gradient_is_that_of_interpolation(threat):
    params = threat.init(jax.random.key(1), IMAGE)
    weights, move = random_flow(1.0, 1)[..., :1], random_flow(1.0, 2)

    def value(p):
        return jnp.sum(weights * threat.apply(p, IMAGE))

    slope = np.sum(np.asarray(jax.grad(value)(params)) * move)
    step = 1e-3
    secant = (value(params + step * move) - value(params - step * move)) / (2 * step)
    assert np.isclose(slope, secant, rtol=0.02, atol=0.02)


def test_the_published_kernel():
    weights = np.array(gaussian(3 / 224 * 32, 2))
    kernel = weights[:, None] * weights
    assert kernel.shape == (5, 5)
    assert np.allclose(kernel[2, 1:3], [0.051339, 0.781079], atol=1e-6)
    assert np.isclose(kernel[1, 1], 0.003374, atol=1e-6)


@pytest.mark.parametrize("border,mode", [("reflect", "mirror"), ("constant",) * 2])
@pytest.mark.parametrize("width", [0.4286, 1.3])
def test_the_blur_is_that_of_scipy(width, border, mode):
    field, radius = random_flow(1.0), 5
    want = [
        scipy.ndimage.gaussian_filter(
            field[..., k].astype(np.float64), width, mode=mode, radius=radius
        )
        for k in range(2)
    ]  # fmt: skip
    got = blur(jnp.array(field), gaussian(width, radius), border)
    assert np.allclose(got, np.stack(want, -1), atol=1e-6)


def test_elastic_moves_by_blurred_pixels():
    threat = Elastic(2.0, width=0.1)
    params = threat.init(jax.random.key(0), IMAGE)
    width = 0.1 * SHAPE[0]
    weights = gaussian(width, math.ceil(4 * width))
    flow = np.asarray(blur(params, weights, "reflect"))
    rows, columns = places(SHAPE)
    want = read(IMAGE, rows + flow[..., 0], columns + flow[..., 1])
    assert np.allclose(threat.apply(params, IMAGE), want, atol=1e-5)
    assert np.abs(flow).max() <= 2.0


def test_no_displacement_keeps_a_constant_image():
    """With corners aligned to edges when sampling alone, the border would darken."""
    image = np.full((32, 32, 1), 200 / 255, np.float32)
    zero = np.zeros((32, 32, 2), np.float32)
    assert np.array_equal(Elastic(0.5).apply(zero, image), image)
    unaligned = (np.linspace(-1, 1, 32) + 1) * 16 - 0.5
    darkened = 255 * read(image, *np.meshgrid(unaligned, unaligned, indexing="ij"))
    assert np.isclose(darkened[0, 0, 0], 50, atol=1e-3)
    assert np.isclose(darkened[0, 16, 0], 100, atol=1e-3)
    assert np.isclose(darkened.mean(), 187.7, atol=0.1)


def test_one_pixel_and_attacks_on_it():
    model, (images, labels) = nets.linear((1, 1, 1)), nets.batch(6, (1, 1, 1))
    for threat in (StAdv(0.5), Elastic(1.0)):
        attack = Ascent(threat, steps=2, rel_step_size=0.5)
        got = craft(attack, model, jax.random.key(0), images, labels)
        assert np.all(np.isfinite(got.image)) and np.all(got.image <= images)
