"""Steps along the scaled gradient itself: MPGD, against a count in closed form."""

import math

import jax
import numpy as np
import pytest

from jaxadv.attacks import Ascent
from jaxadv.craft import craft
from jaxadv.objectives import Margin
from jaxadv.specs import UsageError
from jaxadv.threats import L2, Linf
from tests import examples, nets

EPS, ALPHA = 0.1, 0.02
run = jax.jit(craft)


def problem():
    """A linear network of two classes whose slope has magnitudes from 1 to 3."""
    model = nets.linear(classes=2)
    w = np.random.default_rng(0).choice([-1.0, 1.0], nets.SHAPE)
    w *= np.linspace(1, 3, w.size).reshape(w.shape)
    rows = np.stack([0 * w.ravel(), w.ravel()]).astype(np.float32)
    variables = {**model.variables, "w": rows}
    return model.replace(variables=variables), w


def mpgd(steps, threat=None, **fields):
    fields = {"step_size": ALPHA, "random_start": False, "keep": "last", **fields}
    threat = Linf(EPS) if threat is None else threat
    return Ascent(threat, Margin(), steps=steps, direction="scaled", **fields)


def test_it_ends_where_pgd_ends_after_as_many_steps_as_the_flattest_channel_needs():
    model, w = problem()
    image, label = np.full((1, *nets.SHAPE), 0.5, np.float32), np.zeros(1, np.int32)
    needed = math.ceil(EPS * np.abs(w).max() / (ALPHA * np.abs(w).min()) - 1e-9)
    assert needed == 15
    for steps, there in ((needed - 1, False), (needed, True)):
        got = run(mpgd(steps), model, jax.random.key(0), image, label).image
        reached = np.abs(got - image - EPS * np.sign(w)) < 1e-6
        assert np.all(reached) == there and np.mean(reached) > 0.9
    pgd = mpgd(needed).replace(direction="steepest")
    same = run(pgd, model, jax.random.key(0), image, label).image
    np.testing.assert_allclose(got, same, atol=1e-6)


def test_a_step_is_the_gradient_over_its_largest_magnitude():
    model, w = problem()
    image, label = np.full((1, *nets.SHAPE), 0.5, np.float32), np.zeros(1, np.int32)
    for threat, eps in ((Linf(EPS), EPS), (L2(9.0), 9.0)):
        attack = mpgd(1, threat, step_size=None, rel_step_size=0.1 / eps)
        got = run(attack, model, jax.random.key(0), image, label).image - image
        np.testing.assert_allclose(got[0], 0.1 * w / 3, atol=1e-6)


@pytest.mark.parametrize("scale", [1e-37, 1e-30, 1e30])
def test_the_scale_of_the_gradient_does_not_matter(scale):
    model, w = problem()
    small = model.replace(
        variables={**model.variables, "w": model.variables["w"] * scale}
    )
    image, label = np.full((1, *nets.SHAPE), 0.5, np.float32), np.zeros(1, np.int32)
    got = run(mpgd(3), small, jax.random.key(0), image, label).image - image
    np.testing.assert_allclose(got[0], 0.06 * w / 3, rtol=1e-4, atol=1e-6)


def test_a_flat_network_moves_nothing_and_other_threats_take_it_too():
    images, labels = nets.batch(3)
    still = run(mpgd(3), nets.sick("constant"), jax.random.key(0), images, labels)
    assert np.array_equal(still.image, images)
    threat = examples.threat("stadv")
    attack = mpgd(3, threat, step_size=None, rel_step_size=0.5, random_start=True)
    got = run(attack, nets.conv(), jax.random.key(0), images, labels)
    assert np.all(got.size <= threat.eps * (1 + 1e-6)) and np.all(got.size > 0)


def test_another_direction_is_refused():
    with pytest.raises(UsageError, match="direction is 'max'; allowed: 'steepest'"):
        Ascent(Linf(0.1), step_size=0.1, direction="max")
