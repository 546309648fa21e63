"""Fog, Gabor noise and snow."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxadv.attacks import Ascent
from jaxadv.threats import Fog, Gabor, Snow
from jaxadv.threats.base import convolve, rescaled
from jaxadv.threats.fog import plasma, side_for
from jaxadv.threats.gabor import drawn_kernel, kernel, leveled
from jaxadv.threats.snow import line_kernels, spread_out, thinned
from tests import nets
from tests.oracles import weather as oracle

SHAPE = (8, 8, 3)
IMAGE = nets.batch(1, SHAPE)[0][0]


def known_draws():
    """The draws of the published vector, level after level."""
    draws = []
    for j in range(9):
        y, x = np.meshgrid(*[np.arange(2 ** (j // 3))] * 2, indexing="ij")
        draws.append(((7 * j + 3 * y + 5 * x) % 11) / 10)
    return draws


def vector(draws):
    return jnp.array(np.concatenate([d.ravel() for d in draws]), jnp.float32)


def test_the_published_cloud():
    cloud = plasma(vector(known_draws()), 8, shift=2)
    assert np.isclose(cloud.min(), -100) and np.isclose(cloud.max(), 10.625)
    got = np.asarray(rescaled(cloud))
    assert np.isclose(got.sum(), 31.141243, atol=1e-4)
    row = [0.903955, 0.771186, 0.971751, 1, 0.813559, 0.437853, 0.158192, 0.638418]
    assert np.allclose(got[0], row, atol=1e-5)
    row = [0.090395, 0.217514, 0.474576, 0.446328, 0, 0.50565, 0.158192, 0.20904]
    assert np.allclose(got[4], row, atol=1e-5)


@pytest.mark.parametrize("shift", [1, 2])
def test_clouds_are_those_of_the_slow_reference(shift):
    want = oracle.plasma(known_draws(), shift)
    assert np.allclose(plasma(vector(known_draws()), 8, shift=shift), want, atol=1e-3)


def test_the_map_is_the_published_size():
    assert [side_for((n, n, 1)) for n in (1, 8, 32, 224)] == [2, 16, 64, 256]
    assert side_for((3, 5, 3)) == 8


def test_fog_thickens_toward_the_cloud():
    threat = Fog(2.0)
    params = threat.init(jax.random.key(0), IMAGE)
    cloud = np.asarray(rescaled(plasma(params["noise"], 16)))[4:12, 4:12]
    want = oracle.fog(IMAGE.astype(np.float64), cloud, 2.0)
    assert np.allclose(threat.apply(params, IMAGE), want, atol=1e-5)
    dark = threat.apply(params, jnp.zeros(SHAPE))
    assert np.all(dark == 0)


def test_a_cloud_without_contrast_is_no_cloud():
    """All draws at one half would divide zero by zero."""
    params = {"amount": jnp.array(0.5), "noise": jnp.full(16 * 16 - 1, 0.5)}

    def total(params):
        return jnp.sum(Fog(1.0).apply(params, IMAGE))

    grads = jax.grad(total)(params)
    assert np.isfinite(total(params)) and np.isfinite(grads["amount"])
    assert np.all(np.isfinite(grads["noise"]))


def test_the_published_gabor_kernel():
    got = np.asarray(kernel(3, 0.2, 4.0, 0.3))
    assert got.shape == (23, 23) and np.isclose(got[11, 11], 3)
    assert np.isclose(got[0, 0], -0.0020677, atol=1e-5)
    assert np.isclose(got[11, 0], -0.0484866, atol=1e-5)
    assert np.isclose(got.sum(), -0.1671618, atol=1e-3)


@pytest.mark.parametrize("sides", [1, 4, 10])
def test_gabor_kernels_are_those_of_the_slow_reference(sides):
    want = oracle.gabor_kernel(9, sides, 0.3, 3.5, 1.1)
    assert np.allclose(kernel(sides, 0.3, 3.5, 1.1, 9), want, atol=1e-4)


def test_drawn_kernels_span_the_published_ranges():
    for draws in (jnp.zeros(4), jnp.ones(4), jnp.full(4, -7.0), jnp.full(4, 1e4)):
        sides = 1 if draws[0] <= 0 else 10
        assert np.isclose(drawn_kernel(draws)[11, 11], sides, atol=1e-4)
    low, high = drawn_kernel(jnp.zeros(4)), drawn_kernel(jnp.ones(4))
    assert np.allclose(low, oracle.gabor_kernel(23, 1, 0.1, 3, 0), atol=1e-4)
    assert np.allclose(high, oracle.gabor_kernel(23, 10, 0.4, 5.75, np.pi), atol=1e-3)


@pytest.mark.parametrize("shape,count", [((8, 8), 23), ((5, 9), 3), ((1, 1), 5)])
def test_convolutions_sum_over_maps(shape, count):
    rng = np.random.default_rng(0)
    maps = rng.normal(size=(2, *shape)).astype(np.float32)
    kernels = rng.normal(size=(2, count, count)).astype(np.float32)
    want = sum(oracle.convolve(*pair) for pair in zip(maps, kernels, strict=True))
    assert np.allclose(convolve(maps, kernels), want, atol=1e-4)


def test_gabor_adds_leveled_noise_to_all_channels():
    threat = Gabor(0.3)
    image = nets.batch(1, (16, 16, 3))[0][0]
    params = threat.init(jax.random.key(0), image)
    shape = np.asarray(drawn_kernel(params["draws"]))
    noise = oracle.leveled(oracle.convolve(np.asarray(params["spots"]), shape))
    want = np.clip(image + 0.3 * noise[..., None], 0, 1)
    assert np.allclose(threat.apply(params, image), want, atol=2e-3)
    assert np.all(leveled(jnp.zeros((4, 4))) == 0)


def test_only_sites_have_spots():
    """The published mask is inverted: it clears the sites and moves all the rest."""
    threat = Gabor(0.3)
    image = jnp.zeros((64, 64, 1))
    params = threat.init(jax.random.key(0), image)
    share = np.mean(np.asarray(params["spots"]) != 0)
    assert abs(share - 1 / 14) < 0.015
    moved = {**params, "spots": params["spots"] + 5.0}
    spots = threat.project(moved, image)["spots"]
    assert np.array_equal(spots != 0, params["spots"] != 0) and np.max(spots) == 1


@pytest.mark.parametrize("threat", [Gabor(0.2), Snow(0.2)])
def test_what_is_drawn_stays_while_the_attack_runs(threat):
    shape = (8, 8, 1)
    model, (images, labels) = nets.linear(shape), nets.batch(1, shape)
    attack = Ascent(threat, steps=3, rel_step_size=0.1, keep="last")
    case = model, images[0], labels[0]
    first = state = attack.init(jax.random.key(3), *case)
    for _ in range(3):
        state = jax.jit(attack.step)(state, *case)
    moving = {"amount", "spots", "flakes"}
    for name, part in first.params.items():
        if name not in moving:
            assert np.array_equal(part, state.params[name])
        elif name != "amount":
            assert not np.array_equal(part, state.params[name])
    # Another key draws others.
    other = attack.init(jax.random.key(4), *case)
    assert not np.array_equal(other.params["draws"], first.params["draws"])


def test_lines_lean_and_widen_as_drawn():
    zero = np.asarray(line_kernels(jnp.zeros(29)))
    one = np.asarray(line_kernels(jnp.ones(29)))
    for kernels in (zero, one):
        assert kernels.shape == (7, 13, 13)
        assert np.all(kernels <= 1 + 1e-5) and np.all(kernels >= -1e-5)
        assert np.allclose(kernels, kernels[:, ::-1, ::-1], atol=1e-5)
    # The first from (-2, -2) to (2, 2), thin; the last wide, and leaning back.
    assert zero[0, 8, 8] > 0.5 * zero[0, 6, 6] and abs(zero[0, 4, 8]) < 0.05
    assert np.isclose(one[0, 6, 6], 1, atol=1e-3) and one[0, 2, 10] > 0.9
    assert abs(one[0, 2, 2]) < 0.05 and one[0].sum() > 3 * zero[0].sum()
    # A thin line of length n covers about n pixels, and blurring keeps the sum.
    assert 4 * 2**0.5 <= zero[0].sum() <= 4 * 2**0.5 + 2


def test_flakes_fall_on_seven_of_sixteen_places():
    flakes = jnp.arange(1.0, 8.0)[:, None, None] * jnp.ones((7, 2, 2))
    maps = np.asarray(spread_out(flakes, (7, 8)))
    assert maps.shape == (7, 7, 8)
    cell = maps.sum(0)[:4, :4]
    assert cell[0].tolist() == [1, 2, 3, 4] and cell[1:, 0].tolist() == [5, 6, 7]
    assert np.count_nonzero(cell) == 7 and np.array_equal(maps.sum(0)[:4, 4:], cell)


def test_thinning_lowers_the_mean_of_blocks():
    flakes = np.random.default_rng(0).uniform(size=(7, 8, 11)).astype(np.float32)
    flakes[:, :, 8:] *= 0.1
    got = np.asarray(thinned(flakes))
    assert np.allclose(got[:, :, :8].mean((1, 2)), 0.2, atol=1e-6)
    assert np.array_equal(got[:, :, 8:], flakes[:, :, 8:])


def test_snow_is_that_of_the_slow_reference():
    threat = Snow(0.7)
    params = threat.init(jax.random.key(0), IMAGE)
    kernels = np.asarray(line_kernels(params["draws"]))
    flakes = np.asarray(params["flakes"])
    want = oracle.snow(IMAGE.astype(np.float64), flakes, kernels, 0.7, 0.25)
    assert np.allclose(threat.apply(params, IMAGE), want, atol=1e-5)
    half = {**params, "amount": jnp.array(0.35)}
    want = oracle.snow(IMAGE.astype(np.float64), flakes, kernels, 0.35, 0.125)
    assert np.allclose(threat.apply(half, IMAGE), want, atol=1e-5)
