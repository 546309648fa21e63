"""Attacks on foreground and background, where the optimum is known exactly."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxadv.attacks import Ascent
from jaxadv.classifier import Classifier
from jaxadv.craft import craft
from jaxadv.objectives import Margin
from jaxadv.specs import UsageError
from jaxadv.threats import L2, Linf, Masked
from tests import nets

KEY = jax.random.key(0)


def linear(weights, image, key):
    value = jnp.sum(weights * image)
    return jnp.stack([-value, value]) / 2


def reached(gradient, mask, threat, image=None, steps=200):
    """How far PGD raises the margin of a network whose margin is `gradient` . image."""
    image = np.full(gradient.shape, 0.5, np.float32) if image is None else image
    model = Classifier.from_function(linear, jnp.asarray(gradient, jnp.float32))
    attack = Ascent(threat, Margin(), steps=steps, rel_step_size=0.1, keep="last")
    found = craft(
        attack, model, KEY, jnp.asarray(image)[None], jnp.array([0]),
        per_image={"threat.mask": jnp.asarray(mask, jnp.float32)[None]},
    )  # fmt: skip
    return float(np.sum(gradient * (np.asarray(found.image)[0] - image)))


GRADIENT = np.array([3.0, 4.0, 1.0, 2.0]).reshape(1, 4, 1)
MASK = np.array([1.0, 1.0, 0.0, 0.0]).reshape(1, 4, 1)


@pytest.mark.parametrize(
    "ball, budgets, optimum",
    [
        # A tenth of the budgets 0.5 and 2.5, so that no pixel meets the box.
        (L2, (0.05, 0.25), 0.8090170),
        (Linf, (0.1, 0.5), 2.2),
    ],
)
def test_the_optimum_of_a_linear_network_is_reached(ball, budgets, optimum):
    found = reached(GRADIENT, MASK, Masked(ball(budgets[0]), ball(budgets[1])))
    assert found == pytest.approx(optimum, rel=1e-4)


def exact(gradient, room_down, room_up, eps):
    """The largest gradient . delta in an l2 ball and a box, by bisection."""
    low, high = 0.0, 1e6
    for _ in range(200):
        scale = (low + high) / 2
        delta = np.clip(scale * gradient, -room_down, room_up)
        low, high = (scale, high) if np.linalg.norm(delta) <= eps else (low, scale)
    return float(np.sum(gradient * np.clip(low * gradient, -room_down, room_up)))


@pytest.mark.parametrize("seed", range(4))
def test_with_saturated_pixels_it_is_that_of_a_slow_exact_solver(seed):
    rng = np.random.default_rng(seed)
    gradient = rng.normal(size=(3, 4, 1))
    image = rng.choice([0.0, 0.05, 0.5, 1.0], size=gradient.shape).astype(np.float32)
    mask = (rng.random(gradient.shape) < 0.5).astype(float)
    eps = (0.3, 0.8)
    optimum = sum(
        exact(gradient * region, image * region, (1 - image) * region, budget)
        for region, budget in zip((mask, 1 - mask), eps, strict=True)
    )
    found = reached(gradient, mask, Masked(L2(eps[0]), L2(eps[1])), image, steps=400)
    assert found <= optimum + 1e-5
    assert found == pytest.approx(optimum, rel=0.01)


def test_a_wider_background_never_helps_the_defender():
    model = nets.dense()
    images, _ = nets.batch(40)
    labels = nets.predicted(model, images)
    mask = np.zeros((40, *images.shape[1:3], 1), np.float32)
    mask[:, 1:3, 1:3] = 1

    def accuracy(threat, **given):
        attack = Ascent(threat, steps=30, rel_step_size=0.15)
        found = craft(attack, model, KEY, images, labels, **given)
        return float(np.mean(~np.asarray(found.success)))

    given = {"features": {"mask": mask}}
    inner = accuracy(Linf(0.02))
    dual = accuracy(Masked(Linf(0.02), Linf(0.1), mask="dataset"), **given)
    assert dual <= inner and inner < 1


def test_a_mask_of_the_data_set_that_does_not_come_is_no_central_one():
    threat = Masked(L2(0.1), L2(0.2), mask="dataset")
    image = jnp.zeros((4, 4, 1))
    with pytest.raises(UsageError, match="is the data set's, which does not come here"):
        threat.bind(None, image, 0)
    assert threat.replace(where="central").bind(None, image, 0).mask.sum() == 4
