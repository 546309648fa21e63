"""CIELUV and the recoloring table."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxadv.specs import UsageError
from jaxadv.threats import ReColor
from jaxadv.threats.recolor import from_luv, to_luv
from tests.oracles import colors as oracle

BASIC = np.array(np.meshgrid([0, 1], [0, 1], [0, 1])).reshape(3, 8).T


def image_of(colors):
    return jnp.array(colors, jnp.float32).reshape(1, -1, 3)


def random_colors(count=40, low=0.0, high=1.0):
    return np.random.default_rng(0).uniform(low, high, size=(count, 3))


def small_table(eps, seed=0):
    rng = np.random.default_rng(seed)
    return rng.uniform(-eps, eps, size=(4, 5, 3, 3)).astype(np.float32)


def test_published_colors_in_luv():
    known = {
        (0.2, 0.5, 0.8): (0.522548, 0.363502, 0.141318),
        (0.5, 0.5, 0.5): (0.53389, 0.500151, 0.500106),
        (1.0, 0.0, 0.0): (0.532329, 1.375403, 0.688878),
        (0.0, 0.0, 1.0): (0.323026, 0.453111, -0.151692),
    }
    got = np.asarray(to_luv(image_of(list(known))))[0]
    assert np.allclose(got, list(known.values()), atol=2e-6)
    assert np.allclose([oracle.to_luv(c) for c in known], got, atol=2e-6)


def test_there_and_back():
    colors = np.concatenate([random_colors(200), BASIC])
    again = from_luv(to_luv(image_of(colors)))[0]
    assert np.allclose(again, colors, atol=2e-5)
    grays = jnp.linspace(0, 1, 30).reshape(5, 6, 1)
    assert np.allclose(from_luv(to_luv(grays)), grays, atol=1e-5)


def test_the_oracle_is_the_published_attack():
    """Whose table of colors changes the saturated ones even where it is unmoved."""
    table = oracle.identity_table()
    known = {
        (0.2, 0.5, 0.8): (0.200141, 0.500002, 0.799965),
        (1.0, 0.0, 0.0): (0.833, 0.345, 0.188),
        (0.0, 0.0, 1.0): (0.159, 0.214, 0.775),
    }
    for color, want in known.items():
        got = oracle.published(table, color)
        assert np.allclose(got, want, atol=1e-6 if color[0] == 0.2 else 5e-4)


def test_inside_the_table_recoloring_is_the_published_one():
    colors = random_colors(low=0.3, high=0.7)
    offsets = small_table(0.03)
    table = oracle.identity_table(offsets.shape[:3]) + offsets
    want = [oracle.published(table, color) for color in colors]
    got = ReColor().apply(offsets, image_of(colors))[0]
    assert np.allclose(got, want, atol=1e-3)
    assert np.abs(got - colors).max() > 0.04


def test_recoloring_is_a_lookup_of_offsets():
    colors = np.concatenate([random_colors(), BASIC])
    offsets, back = small_table(0.1), np.linalg.inv(oracle.XYZ)
    want = []
    for color in colors:
        luv = oracle.to_luv(color)
        moved = oracle.from_luv(luv + oracle.lookup(offsets, luv), back)
        want.append(np.clip(color + moved - oracle.from_luv(luv, back), 0, 1))
    got = ReColor().apply(offsets, image_of(colors))[0]
    dark = colors.max(-1) < 0.05  # where L is near 0 the published form divides by it
    assert np.allclose(got[~dark], np.array(want)[~dark], atol=1e-4)


def test_no_offset_is_the_identity_also_for_saturated_colors():
    image = image_of(np.concatenate([random_colors(), BASIC]))
    zero = jnp.zeros((4, 5, 3, 3))
    assert np.array_equal(jax.jit(ReColor().apply)(zero, image), image)

    def total(table, image):
        return jnp.sum(ReColor().apply(table, image))

    slope = jax.grad(total)(zero, image)
    assert np.all(np.isfinite(slope))
    # Half of the saturated colors are clipped on one side of zero.
    inner, along = image_of(random_colors(low=0.2, high=0.8)), small_table(1.0)
    slope, step = jax.grad(total)(zero, inner), 2e-3
    gain = total(step * along, inner) - total(-step * along, inner)
    assert np.isclose(jnp.sum(slope * along), gain / (2 * step), rtol=0.03)


def test_gray_images_change_in_lightness_alone():
    grays = jnp.linspace(0, 1, 30).reshape(5, 6, 1)
    threat = ReColor(0.05)
    params = threat.init(jax.random.key(0), grays)
    assert params.shape == (16, 1)
    got = threat.apply(jnp.full((16, 1), 0.05), grays)
    lightness = np.array([100 * oracle.to_luv([g] * 3)[0] for g in np.ravel(grays)])
    y = np.where(
        lightness + 5 > 8,
        ((lightness + 21) / 116) ** 3,
        (lightness + 5) * (3 / 29) ** 3,
    )
    y = np.clip(y, 0, 1)
    want = np.where(y <= 0.0031308, 12.92 * y, 1.055 * y ** (1 / 2.4) - 0.055)
    assert np.allclose(np.ravel(got), want, atol=1e-4)


@pytest.mark.parametrize("scale", [0.0, 0.06, 1.0])
def test_gradients_are_finite_for_all_basic_colors(scale):
    image = image_of(np.concatenate([BASIC, BASIC / 255, [[1e-30, 0, 0]]]))
    table = small_table(1.0) * scale

    def total(table, image):
        return jnp.sum(ReColor(1.0).apply(table, image) ** 2)

    for grad in jax.jit(jax.grad(total, argnums=(0, 1)))(table, image):
        assert np.all(np.isfinite(grad))


def test_roughness_of_no_offset():
    got = ReColor().roughness(jnp.zeros((16, 32, 32, 3)))
    assert np.isclose(got, 0.98304, rtol=1e-5)


def test_wrong_channels_and_tables_are_refused():
    with pytest.raises(UsageError, match="2 channels; it needs 3"):
        ReColor().init(jax.random.key(0), jnp.zeros((4, 4, 2)))
    with pytest.raises(UsageError, match=r"ReColor.table is \(16, 32\)"):
        ReColor(table=(16, 32))
