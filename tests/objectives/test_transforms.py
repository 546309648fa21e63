"""Transformations against NumPy and SciPy, and what their random parts draw."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.ndimage

from jaxadv import specs
from jaxadv.objectives import transforms
from tests import nets

KEY = jax.random.PRNGKey(0)
IMAGE = nets.batch(1, (9, 11, 2))[0][0]


def cropped(image, share):
    """Bilinear, corner on corner, by SciPy."""
    lines = [
        np.linspace(0.5 - share / 2, 0.5 + share / 2, n) * (n - 1)
        for n in image.shape[:2]
    ]
    places = np.meshgrid(*lines, indexing="ij")
    channels = [
        scipy.ndimage.map_coordinates(c, places, order=1)
        for c in image.T.swapaxes(1, 2)
    ]
    return np.stack(channels, axis=-1)


REFERENCES = [
    (transforms.Identity(), IMAGE),
    (transforms.FlipLeftRight(), np.fliplr(IMAGE)),
    (transforms.FlipUpDown(), np.flipud(IMAGE)),
    (transforms.Brightness(), IMAGE + np.float32(0.1)),
    (transforms.Gamma(), IMAGE**1.3),
    (transforms.Gamma(0.7), IMAGE**0.7),
    (transforms.CropResize(), cropped(IMAGE, 0.8)),
    (transforms.CropResize(0.6, 0.6), cropped(IMAGE, 0.6)),
]


@pytest.mark.parametrize("transform,want", REFERENCES)
def test_references(transform, want):
    np.testing.assert_allclose(transform(IMAGE, KEY), want, atol=1e-5)
    np.testing.assert_allclose(transform(IMAGE, None), want, atol=1e-5)


def test_a_gamma_that_lightens_has_a_finite_slope_at_black():
    """That of the first level; any other slope is the power's own."""
    slope = jax.vmap(jax.grad(lambda x, gamma: transforms.Gamma(gamma)(x)), (0, None))
    values = np.array([0.0, 1e-4, 1 / 255, 0.5, 1.0], np.float32)
    want = 0.5 * np.maximum(values, 1 / 255) ** -0.5
    np.testing.assert_allclose(slope(values, 0.5), want, rtol=1e-5)
    np.testing.assert_allclose(slope(values, 1.3), 1.3 * values**0.3, rtol=1e-5)


def test_rotation_is_clockwise_by_thirty_degrees():
    got = transforms.Rotation()(IMAGE, KEY)
    want = scipy.ndimage.rotate(IMAGE, -30.0, reshape=False, order=1, cval=0.0)
    inner = (slice(3, 6), slice(3, 8))  # at the border SciPy does not interpolate
    np.testing.assert_allclose(got[inner], want[inner], atol=1e-5)
    quarter = transforms.Rotation(90.0, 90.0)(IMAGE[:, :9], KEY)
    np.testing.assert_allclose(quarter, np.rot90(IMAGE[:, :9]), atol=1e-5)


def test_the_sets_are_those_of_the_tables():
    names = {kind: name for name, kind in transforms.TRANSFORMS.items()}
    assert [names[type(t)] for t in transforms.deterministic(7)] == [
        "identity", "flip_left_right", "flip_up_down", "brightness", "gamma",
        "crop_resize", "rotation",
    ]  # fmt: skip
    assert len(transforms.deterministic()) == 6
    *some, crop, turn = transforms.stochastic()
    assert some == [
        transforms.Identity(),
        *map(transforms.Sometimes, transforms.deterministic()[1:4]),
    ]
    assert crop == transforms.CropResize(0.6, 1.0)
    assert turn == transforms.Rotation(-10.0, 10.0)


def test_sometimes_tosses_one_coin_for_an_image():
    flip = transforms.Sometimes(transforms.FlipUpDown())
    keys = jax.random.split(KEY, 2000)
    drawn = np.asarray(jax.vmap(lambda k: flip(IMAGE, k))(keys))
    flipped = (drawn == np.flipud(IMAGE)).all((1, 2, 3))
    assert np.all(flipped | (drawn == IMAGE).all((1, 2, 3)))
    assert abs(flipped.mean() - 0.8) < 0.03


def test_random_angles_and_crops_differ_and_keep_their_range():
    ramp = jnp.linspace(0, 1, 21)[:, None, None] * jnp.ones((21, 21, 1))
    keys = jax.random.split(KEY, 500)
    crops = jax.vmap(lambda k: transforms.CropResize(0.6, 1.0)(ramp, k))(keys)
    shares = np.asarray(crops[:, -1, 0, 0] - crops[:, 0, 0, 0])  # the ramp's rise
    assert 0.6 <= shares.min() < 0.62 and 0.98 < shares.max() <= 1 + 1e-6
    turns = jax.vmap(lambda k: transforms.Rotation(-10.0, 10.0)(ramp, k))(keys)
    tilt = np.asarray(turns[:, 10, 15, 0] - turns[:, 10, 5, 0]) * 2  # sin of the angle
    angles = np.rad2deg(np.arcsin(tilt))
    assert -10 - 1e-3 <= angles.min() < -9 and 9 < angles.max() <= 10 + 1e-3


def test_gradients_are_finite_at_black_and_white():
    for transform in (*transforms.deterministic(7), *transforms.stochastic()):
        for value in (0.0, 1.0):
            grad = jax.grad(lambda x, t=transform: t(x, KEY).sum())
            assert np.all(np.isfinite(grad(jnp.full((5, 5, 1), value))))


def test_built_from_a_config():
    spec = {"name": "sometimes", "transform": "gamma", "probability": 0.5}
    built = specs.build(spec, transforms.TRANSFORMS, "t")
    assert built == transforms.Sometimes(transforms.Gamma(), 0.5)
