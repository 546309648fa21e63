"""Logits at another temperature: the same classes, and searches no weaker for it."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxadv import objectives
from jaxadv.attacks import Apgd, Ascent, Ddn, Fgsm, Pgd0, Square
from jaxadv.classifier import Classifier
from jaxadv.craft import Crafter, craft_batches
from jaxadv.objectives import DLR, CrossEntropy, LikelyTarget, TargetedCrossEntropy
from jaxadv.threats import L0, L2, Linf
from tests import nets

pytestmark = pytest.mark.filterwarnings("ignore:objective.target is the label")

IMAGES, _ = nets.batch(16)
Z = jnp.array([1.0, 3.0, 0.0, 2.0, -1.0])
CRAFTER = Crafter()


def _scaled(variables, image, key):
    return variables["scale"] * nets._dense(variables, image, key)


def scaled(scale):
    variables = {**nets.dense(seed=2).variables, "scale": jnp.float32(scale)}
    return Classifier.from_function(_scaled, variables)


LABELS = nets.predicted(scaled(1), IMAGES)


def reached(attack, scale):
    """Mean margin of the bare network where the attack on the scaled one ends."""
    found = craft_batches(
        attack, scaled(scale), jax.random.key(0), IMAGES, LABELS,
        batch_size=16, crafter=CRAFTER,
    )  # fmt: skip
    logits = jax.vmap(scaled(1))(found.image)
    return float(jnp.mean(jax.vmap(objectives.margin)(logits, LABELS)))


def test_the_soft_margin_is_the_cross_entropy_of_other_units():
    soft = jnp.array([objectives.soft_margin(Z, y) for y in range(5)])
    plain = jnp.array([objectives.cross_entropy(Z, y) for y in range(5)])
    np.testing.assert_allclose(jnp.log1p(4 * jnp.exp(soft)), plain, rtol=1e-5)
    masked = Z.at[4].set(-jnp.inf)
    slope = jax.grad(objectives.soft_margin)(masked, 1)
    np.testing.assert_array_equal(slope, jax.grad(objectives.cross_entropy)(masked, 1))
    assert np.isfinite(objectives.soft_margin(masked, 1))


@pytest.mark.parametrize("scale", [1e-9, 1e-4])
def test_the_soft_margin_of_small_logits_keeps_its_digits(scale):
    want = scale * float(jnp.mean(Z[jnp.array([0, 2, 3, 4])]) - Z[1])
    got = float(objectives.soft_margin(scale * Z, 1))
    assert got == pytest.approx(want, rel=1e-3)
    assert objectives.soft_margin(scale * Z.at[0].add(1e-3), 1) > got


def test_the_gradient_of_a_sure_label_is_that_of_the_logits():
    slope = jax.grad(objectives.soft_margin)(1e3 * Z, 1)
    np.testing.assert_allclose(slope, [0, -1, 0, 1, 0], atol=1e-6)


def test_dlr_ignores_any_scale():
    def relative(scale):
        return scale * jax.grad(objectives.dlr)(scale * Z, 1)

    np.testing.assert_allclose(relative(1e-15), relative(1.0), rtol=1e-4, atol=1e-6)


SEARCHES = {
    "pgd": Ascent(Linf(0.05), steps=8, rel_step_size=0.3),
    "pgd_l2": Ascent(L2(0.4), steps=8, rel_step_size=0.3),
    "momentum": Ascent(Linf(0.05), steps=8, rel_step_size=0.3, momentum=1.0),
    "fgsm": Fgsm(Linf(0.05)),
    "apgd": Apgd(Linf(0.05), CrossEntropy(), steps=20),
    "target": Apgd(Linf(0.05), TargetedCrossEntropy(1), steps=20),
    "likely": Apgd(Linf(0.05), LikelyTarget("cross_entropy"), steps=20),
    "square": Square(Linf(0.05), CrossEntropy(), steps=100),
}


@pytest.mark.parametrize("name", SEARCHES)
def test_huge_logits_hide_nothing_from_the_cross_entropy(name):
    """As strong as at scale 64, where one wrong class has all the weight already."""
    attack = SEARCHES[name]
    assert reached(attack, 2.0**20) == pytest.approx(reached(attack, 2.0**6), abs=0.03)


@pytest.mark.parametrize("name", SEARCHES)
def test_small_logits_lose_no_digits_of_the_cross_entropy(name):
    """As strong as at scale 1/1024, where all wrong classes weigh the same already."""
    attack = SEARCHES[name]
    assert reached(attack, 2.0**-40) == pytest.approx(
        reached(attack, 2.0**-10), abs=0.03
    )


def test_apgd_on_dlr_is_the_same_at_any_scale():
    attack = Apgd(Linf(0.05), DLR(), steps=20)
    want = reached(attack, 1.0)
    for power in (-45, -14, 14):
        assert reached(attack, 2.0**power) == pytest.approx(want, abs=1e-3)


@pytest.mark.parametrize("attack", [Ddn(L2(20.0)), Pgd0(L0(20.0), steps=40)])
def test_saturation_hides_no_smallest_perturbation(attack):
    """Of the cross-entropy, as at a scale where labels are not sure."""

    def sizes(scale):
        found = craft_batches(
            attack, scaled(scale), jax.random.key(0), IMAGES, LABELS, batch_size=16
        )
        assert np.all(found.success)
        return float(np.mean(found.size))

    assert sizes(2.0**14) <= 1.05 * sizes(2.0**3)
