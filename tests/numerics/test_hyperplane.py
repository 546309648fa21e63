"""The shortest step onto a hyperplane, against linear programs and all active sets."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxadv.numerics.hyperplane import NORMS, step_onto
from jaxadv.specs import UsageError
from tests.oracles.hyperplane import shortest_step

ORDER = {"l1": 1, "l2": 2, "linf": np.inf}
COUNT, SIZE = 200, 5
step = jax.jit(step_onto, static_argnums=2)


def cases(count=COUNT, seed=0):
    """(gap, normal, image): ties, zero entries and normals, saturated pixels."""
    rng = np.random.default_rng(seed)
    normals = rng.normal(size=(count, SIZE)) * 10 ** rng.uniform(-3, 3, (count, 1))
    normals[: count // 4] = np.round(normals[: count // 4])
    normals[rng.random((count, SIZE)) < 0.2] = 0
    normals[:3] = 0
    images = np.clip(rng.uniform(-0.3, 1.3, (count, SIZE)), 0, 1)
    # The reach of the box, and gaps on both sides of it, some of them none.
    room = np.maximum(np.abs(normals * images), np.abs(normals * (1 - images)))
    gaps = rng.uniform(-1.1, 1.1, count) * room.sum(1)
    gaps[::7] = 0
    gaps[1] = 1.0
    return gaps, normals, images


@pytest.mark.parametrize("norm", NORMS)
def test_no_shorter_step_reaches_the_hyperplane(norm):
    missed = 0
    for gap, normal, image in zip(*cases(), strict=True):
        with jax.enable_x64(True):
            found = step(gap, normal, norm, -image, 1 - image)
        delta = np.asarray(found.delta)
        best = shortest_step(gap, normal, norm, -image, 1 - image)
        assert (delta >= -image).all() and (delta <= 1 - image).all()
        assert (delta[normal == 0] == 0).all()
        assert bool(found.reached) == (best is not None)
        rest = gap + np.sum(normal * delta)
        if best is None:
            missed += 1
            corner = np.where(-gap * normal > 0, 1 - image, -image)
            nearest = np.where(normal != 0, corner, 0.0)
            np.testing.assert_array_equal(delta, nearest)
            assert np.sign(rest) == np.sign(gap)
        else:
            assert abs(rest) <= 1e-12 * max(1.0, np.abs(normal).sum())
            lengths = (np.linalg.norm(d, ORDER[norm]) for d in (delta, best))
            np.testing.assert_allclose(*lengths, rtol=1e-9, atol=1e-12)
    assert 20 < missed < COUNT / 2


@pytest.mark.parametrize("norm", NORMS)
@pytest.mark.parametrize("size", [1, 3072])
def test_float32_steps_end_on_the_hyperplane(norm, size):
    """Also for gradients of the size of 1e-30 and of 1e34."""
    rng = np.random.default_rng(1)
    image = np.clip(rng.integers(-50, 306, size) / 255, 0, 1).astype(np.float32)
    for scale in (1e-30, 1e-20, 1.0, 1e20, 1e34):
        normal = np.float32(rng.normal(size=size) * scale)
        room = np.where(normal < 0, 1 - image, image)  # for a positive gap
        reach = np.sum(np.abs(np.float64(normal)) * room)
        for share in (1e-6, 0.01, 0.3, 0.999):
            gap = np.float32(share * reach)
            delta, reached = step(gap, normal, norm, -image, 1 - image)
            delta = np.asarray(delta, np.float64)
            assert reached and (delta >= -image).all() and (delta <= 1 - image).all()
            assert abs(np.sum(delta * normal) + gap) <= 2e-6 * gap
        delta, reached = step(np.float32(1.01 * reach), normal, norm, -image, 1 - image)
        assert not reached
        np.testing.assert_array_equal(delta, np.sign(-normal) * room)


@pytest.mark.parametrize("norm", NORMS)
def test_sick_gradients_give_finite_steps(norm):
    image = np.float32([0, 0.2, 0.5, 1])
    bad = np.float32([np.nan, np.inf, -np.inf, 2])
    for gap in (0.0, 1.0, -1.0, np.inf, -np.inf, np.nan):
        for normal in (bad, 0 * image, np.full(4, np.nan, np.float32)):
            delta, reached = step(jnp.float32(gap), normal, norm, -image, 1 - image)
            assert np.isfinite(delta).all()
            assert (delta >= -image).all() and (delta <= 1 - image).all()
            assert reached or gap != 0
            assert not (reached and np.isinf(gap))
    with pytest.raises(UsageError, match="norm is 'l0'; allowed: 'l1', 'l2', 'linf'"):
        step(1.0, bad, "l0", -image, 1 - image)
