"""What training needs of DDN and of C&W: norms by hand, and what failures return."""

import jax
import numpy as np
import pytest

from jaxadv.attacks import CarliniWagner, Ddn
from jaxadv.craft import craft
from jaxadv.specs import UsageError
from jaxadv.threats import L2
from tests import nets

KEY = jax.random.key(0)
IMAGE = np.full(nets.SHAPE, 0.5, np.float32)
run = jax.jit(craft)


def at_distance(distance):
    """Two classes, the boundary so far from the gray image; and the unit slope.

    All channels move by equal amounts, so that the box is far whatever the radius.
    """
    unit = np.random.default_rng(0).choice([-1.0, 1.0], IMAGE.size) / 8
    rows = np.stack([0 * unit, 10 * unit]).astype(np.float32)
    bias = np.float32([0.0, -10 * (unit.sum() / 2 + distance)])
    model = nets.linear(classes=2).replace(variables={"w": rows, "b": bias})
    return model, unit.reshape(nets.SHAPE)


def attacked(attack, model):
    return run(attack, model, KEY, IMAGE[None], np.zeros(1, np.int32))


def test_the_radius_shrinks_while_broken_and_grows_otherwise():
    model, unit = at_distance(0.9)
    attack = Ddn(L2(4.0), steps=100, search=0)
    state, norms = attack.init(KEY, model, IMAGE, 0), []
    step = jax.jit(attack.step)
    for _ in range(6):
        state = step(state, model, IMAGE, 0)
        norms.append(float(np.linalg.norm(state.params)))
        np.testing.assert_allclose(state.params, norms[-1] * unit, atol=1e-5)
    # The last test, of 0.85523, finds it unbroken.
    want = [1.05, 0.9975, 0.947625, 0.90024375, 0.8552315625, 0.89799314]
    np.testing.assert_allclose(norms, want, rtol=1e-5)


@pytest.mark.parametrize(
    ("distance", "steps", "ratio"),
    [(0.9, 20, 1.00027), (0.3, 20, 1.3903), (0.3, 100, 1.00043), (2.5, 100, 1.00071)],
)
def test_the_best_norm_after_some_steps(distance, steps, ratio):
    model, _ = at_distance(distance)
    got = attacked(Ddn(L2(4.0), steps=steps, search=0), model)
    np.testing.assert_allclose(got.size[0] / distance, ratio, atol=6e-5)
    assert got.success[0]


@pytest.mark.parametrize("unbroken", ["last", "clean"])
def test_a_perturbation_longer_than_the_budget_is_scaled_down_to_it(unbroken):
    """So it is in DDN's training, whichever way failures go: this is none."""
    model, unit = at_distance(0.9)
    got = attacked(Ddn(L2(0.5), steps=20, search=0, unbroken=unbroken), model)
    np.testing.assert_allclose(got.image[0] - IMAGE, 0.5 * unit, atol=1e-5)
    assert got.size[0] <= 0.5 * (1 + 1e-6) and not got.success[0]


DDN = Ddn(L2(1.0), steps=12, search=0)
CW = CarliniWagner(
    L2(1.0), rounds=2, round_steps=4, search=0, first_constant=1e-3, step_size=0.05
)


def test_where_nothing_is_broken_the_image_enters_clean():
    far, _ = at_distance(3.9)
    last = attacked(DDN, far)
    clean = attacked(DDN.replace(unbroken="clean"), far)
    assert not last.success[0] and last.size[0] > 1e-3
    assert np.array_equal(clean.image[0], IMAGE) and clean.size[0] == 0
    with pytest.raises(
        UsageError, match="unbroken is 'none'; allowed: 'last', 'clean'"
    ):
        DDN.replace(unbroken="none")
    # C&W ends each round at the image.
    carlini = attacked(CW, far)
    assert np.array_equal(carlini.image[0], IMAGE) and not carlini.success[0]


def test_a_success_is_the_same_whatever_failures_return():
    near, _ = at_distance(0.05)
    last = attacked(DDN, near)
    clean = attacked(DDN.replace(unbroken="clean"), near)
    assert last.success[0] and np.array_equal(last.image, clean.image)
