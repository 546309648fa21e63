"""Rotations and translations, and the grid search over them."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.ndimage

from jaxadv.attacks import Grid
from jaxadv.classifier import Classifier
from jaxadv.craft import craft
from jaxadv.specs import UsageError
from jaxadv.threats import RotationTranslation
from tests import nets

IMAGE = nets.batch(1, (9, 9, 2))[0][0]


def moved(angle, rows, columns, **fields):
    threat = RotationTranslation(**fields)
    limits = jnp.array([threat.degrees, threat.pixels, threat.pixels])
    return threat.apply(jnp.array([angle, rows, columns]) / limits, IMAGE)


@pytest.mark.parametrize("turns", [1, 2, 3])
def test_quarter_turns_are_exact(turns):
    got = moved(90.0 * turns, 0, 0, degrees=360.0)
    assert np.allclose(got, np.rot90(IMAGE, turns), atol=1e-5)


@pytest.mark.parametrize("rows,columns", [(2, 0), (0, -1), (-3, 2)])
def test_whole_shifts_are_exact(rows, columns):
    want = np.zeros_like(IMAGE)
    padded = np.pad(IMAGE, ((4, 4), (4, 4), (0, 0)))
    want = padded[4 - rows : 13 - rows, 4 - columns : 13 - columns]
    assert np.allclose(moved(0, rows, columns), want, atol=1e-6)


def test_a_rotation_is_that_of_scipy():
    got = moved(20.0, 0, 0)
    want = scipy.ndimage.rotate(IMAGE, 20.0, reshape=False, order=1, cval=0.0)
    inner = (slice(2, 7), slice(2, 7))
    assert np.allclose(got[inner], want[inner], atol=1e-5)


def test_beyond_the_border_lies_black_or_the_nearest_pixel():
    assert np.all(moved(0, 2, 0)[:2] == 0)
    near = moved(0, 2, 0, border="nearest")
    assert np.allclose(near[:2], IMAGE[:1], atol=1e-6)


def _bright_corner(variables, image, key):
    """Class 1 where the first pixel is bright."""
    return jnp.array([0.0, image[0, 0, 0] - 0.5])


def test_the_grid_finds_the_one_shift_that_breaks():
    model = Classifier.from_function(_bright_corner, {})
    images = np.zeros((2, 5, 5, 1), np.float32)
    images[0, 2, 1] = images[1, 4, 4] = 1.0
    attack = Grid(RotationTranslation(pixels=2.0), points=(1, 5, 5))
    labels = np.zeros(2, np.int32)
    got = jax.jit(craft)(attack, model, jax.random.key(0), images, labels)
    assert got.success.tolist() == [True, False]
    assert got.image[0, 0, 0, 0] == 1
    # Row -2 is the first of five, column -1 the second; the last of 25 stays clean.
    assert got.steps_used.tolist() == [2, 25]


def test_grid_points():
    grid = RotationTranslation(0.5).grid((3, 2, 1))
    assert grid.shape == (6, 3)
    assert np.array_equal(np.unique(grid[:, 0]), [-0.5, 0, 0.5])
    assert np.all(grid[:, 2] == 0)
    with pytest.raises(UsageError, match="points"):
        Grid(RotationTranslation(), points=(3, 0, 1))
