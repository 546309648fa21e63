"""Classes that cannot win change nothing: a logit of -inf, or far below the others."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxadv import objectives, protocols
from jaxadv.attacks import (
    Ascent,
    CarliniWagner,
    Ddn,
    DeepFool,
    ElasticNet,
    Fab,
    Fmn,
    Pgd0,
)
from jaxadv.classifier import Classifier
from jaxadv.craft import craft
from jaxadv.objectives import DLR, KL, LikelyTarget, RandomTarget, TargetedMargin
from jaxadv.threats import L0, L1, L2, Linf
from tests import nets

run = jax.jit(craft)
LINEAR = nets.linear(classes=3, seed=3)


def _beside(variables, image, key):
    logits = variables["w"] @ image.reshape(-1) + variables["b"]
    return jnp.concatenate([logits, variables["beside"]])


def net(*beside):
    """A network of three classes, and more logits that are the same for all images."""
    more = {"beside": jnp.array(beside, jnp.float32)}
    return Classifier.from_function(_beside, {**LINEAR.variables, **more})


IMAGES, _ = nets.batch(6)
LABELS = nets.predicted(LINEAR, IMAGES)
BOUNDARY = {
    "deepfool": DeepFool(L2(8.0), steps=20),
    "fab": Fab(Linf(1.0), round_steps=10),
}
ROUNDS = {"rounds": 4, "round_steps": 30}
OTHERS = {
    "carlini_wagner": CarliniWagner(
        L2(8.0), first_constant=1.0, step_size=0.03, **ROUNDS
    ),
    "ddn": Ddn(L2(8.0), steps=60),
    "elastic_net": ElasticNet(L1(64.0), first_constant=0.1, **ROUNDS),
    "fmn": Fmn(Linf(0.3), steps=60),
    "fmn_target": Fmn(L2(8.0), TargetedMargin(2), steps=60),
    "pgd0": Pgd0(L0(20.0), steps=60),
}
TARGETS = {"fab_targets": Fab(Linf(1.0), targets=3, starts=2, round_steps=5)}


def sizes(attack, model, images=IMAGES, labels=LABELS):
    got = run(attack, model, jax.random.key(0), images, labels)
    assert np.all(got.success)
    return np.asarray(got.size)


@pytest.mark.parametrize("name", [*BOUNDARY, *OTHERS, *TARGETS])
def test_a_masked_class_changes_no_smallest_perturbation(name):
    attack = {**BOUNDARY, **OTHERS, **TARGETS}[name]
    want = sizes(attack, net())
    others = [(-np.inf,), (-np.inf, -np.inf)]
    if name not in TARGETS:  # a low logit is a target like any other
        others += [(-1e9,), (-1e4,), (-np.inf, -1e9)]
    for beside in others:
        np.testing.assert_allclose(sizes(attack, net(*beside)), want, rtol=2e-3)


@pytest.mark.parametrize("name", [*BOUNDARY, *OTHERS, *TARGETS])
def test_a_logit_that_is_not_a_number_is_told_and_feasible(name):
    attack = {**BOUNDARY, **OTHERS, **TARGETS}[name]
    got = run(attack, net(np.nan), jax.random.key(0), IMAGES, LABELS)
    assert np.all(np.isnan(got.margin)) and not np.any(got.success)
    assert np.all((got.image >= 0) & (got.image <= 1))
    assert np.all(got.size <= float(attack.threat.eps) * (1 + 1e-6))


LOSSES = {
    "cross_entropy": objectives.cross_entropy,
    "dlr": objectives.dlr,
    "margin": objectives.margin,
    "kl": lambda z, y: objectives.kl_divergence(_back(z), z),
    "targeted_dlr": lambda z, y: objectives.targeted_dlr(z, y, 0),
}


def _back(z):
    """The first three logits in reverse, the others as they are."""
    return jnp.concatenate([z[2::-1], z[3:]])


@pytest.mark.parametrize("name", LOSSES)
@pytest.mark.parametrize("count", [1, 2])
def test_losses_and_gradients_are_those_without_the_masked_classes(name, count):
    logits = jnp.array([0.3, -1.2, 2.0])
    value = jax.value_and_grad(LOSSES[name])
    want, slope = value(logits, 1)
    masked = jnp.concatenate([logits, jnp.full((count,), -jnp.inf)])
    got, found = value(masked, 1)
    np.testing.assert_allclose(got, want, rtol=1e-6)
    np.testing.assert_allclose(found[:3], slope, rtol=1e-6)
    assert not np.any(found[3:])


def test_two_classes_that_can_win_have_the_margin_for_a_ratio():
    for beside in ([], [-jnp.inf], [-jnp.inf] * 2):
        logits = jnp.array([0.5, 2.0, *beside])
        assert objectives.dlr(logits, 1) == -1.5
        assert objectives.targeted_dlr(logits, 1, 0) == -1.5


@pytest.mark.parametrize("kind", [LikelyTarget, RandomTarget])
def test_no_masked_class_is_a_target(kind):
    """Each restart aims where it would without the masked classes."""
    image, key = IMAGES[0], jax.random.key(0)

    def target(model, restart):
        own = protocols.restarted(kind(), restart)
        own_key = jax.random.fold_in(key, restart)
        return int(own.bind(model, image, LABELS[0], own_key).target)

    wanted = [target(net(), r) for r in range(6)]
    assert len(set(wanted)) == 2 and LABELS[0] not in wanted
    for beside in ((-np.inf,), (-np.inf, -np.inf)):
        assert [target(net(*beside), r) for r in range(6)] == wanted


@pytest.mark.parametrize("objective", [KL(), DLR()], ids=["kl", "dlr"])
def test_gradients_lead_where_they_lead_without_the_masked_classes(objective):
    attack = Ascent(Linf(0.05), objective, steps=5, step_size=0.02)
    want = run(attack, net(), jax.random.key(0), IMAGES, LABELS)
    for beside in ((-np.inf,), (-np.inf, -np.inf)):
        got = run(attack, net(*beside), jax.random.key(0), IMAGES, LABELS)
        np.testing.assert_allclose(got.margin, want.margin, rtol=1e-5, atol=1e-5)
