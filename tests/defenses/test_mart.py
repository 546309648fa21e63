"""MART's loss against the formula in float64, and the defense around it."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxadv.attacks.gradient.ascent import Ascent
from jaxadv.attacks.gradient.fgsm import Fgsm
from jaxadv.defenses.base import cross_entropies
from jaxadv.defenses.mart import Mart, mart_loss
from jaxadv.objectives import Margin, kl_divergence
from jaxadv.specs import UsageError
from jaxadv.threats.lp import Linf
from tests.defenses.alone import evaluate, trained
from tests.defenses.test_defenses import (
    EPS,
    Normed,
    logits_of,
    one_linf_step,
    setup,
)
from tests.training.small import close

NATURAL = jnp.array([[2.0, 1.0, 0.0], [0.0, 1.0, -1.0]])
MOVED = jnp.array([[0.5, 1.0, 0.0], [0.0, 1.0, 2.0]])
LABELS = jnp.array([0, 1])


def pgd(**fields):
    given = {"steps": 1, "rel_step_size": 2.5, "keep": "last"}
    return Ascent(Linf(EPS), **(given | fields))


def reference(natural, moved, labels, lam):
    """One image and one class after the other."""
    total = 0.0
    for z, z_moved, y in zip(natural, moved, labels, strict=True):
        p, q = (np.exp(v - v.max()) / np.exp(v - v.max()).sum() for v in (z, z_moved))
        most = max(q[k] for k in range(len(q)) if k != y)
        boosted = -np.log(q[y]) - np.log(1.0001 - most + 1e-12)
        kl = sum(p[k] * (np.log(p[k]) - np.log(q[k] + 1e-12)) for k in range(len(q)))
        total += boosted + lam * kl * (1.0000001 - p[y])
    return total / len(labels)


@pytest.mark.parametrize(("lam", "expected"), [(5.0, 3.031216), (6.0, 3.198668)])
def test_numbers_worked_out_by_hand(lam, expected):
    found = jax.jit(mart_loss)(NATURAL, MOVED, LABELS, lam)
    np.testing.assert_allclose(found, expected, atol=2e-6)


def test_trades_of_the_same_numbers():
    divergence = jax.vmap(kl_divergence)(NATURAL, MOVED)
    found = jnp.mean(cross_entropies(NATURAL, LABELS)) + 6 * jnp.mean(divergence)
    np.testing.assert_allclose(found, 3.408906, atol=2e-6)


def test_loss_and_gradient_are_those_of_the_formula():
    """In float64; the gradient by both logits, so that nothing is held fixed."""
    rng = np.random.default_rng(0)
    points = [3 * rng.standard_normal((4, 5)) for _ in range(2)]
    labels = np.array([0, 4, 2, 2])
    with jax.enable_x64(True):
        loss, grads = jax.jit(jax.value_and_grad(mart_loss, (0, 1)))(
            points[0], points[1], labels, 5.0
        )
    expected = reference(points[0], points[1], labels, 5.0)
    np.testing.assert_allclose(loss, expected, rtol=1e-10)
    for which in (0, 1):
        for index in np.ndindex(points[which].shape):
            ends = []
            for step in (1e-6, -1e-6):
                moved = [p.copy() for p in points]
                moved[which][index] += step
                ends.append(reference(moved[0], moved[1], labels, 5.0))
            expected = (ends[0] - ends[1]) / 2e-6
            np.testing.assert_allclose(grads[which][index], expected, atol=1e-7)


def test_sure_networks_have_finite_losses_and_gradients():
    sure = jnp.array([[200.0, 0.0, -200.0], [-jnp.inf, 3.0, 0.0]])
    labels = jnp.array([0, 1])
    for moved in (sure, sure[:, ::-1].at[1, 2].set(-90.0), -MOVED):
        loss, grads = jax.jit(jax.value_and_grad(mart_loss, (0, 1)))(
            sure, moved, labels, 5.0
        )
        assert np.isfinite(loss) and all(np.isfinite(g).all() for g in grads)


def test_loss_is_that_of_the_corners_the_attack_reaches():
    """And its gradient, for which the attacked images are fixed."""
    params, state, batch = setup()
    defense = Mart((pgd(objective=Margin()),), lam=3.0)
    attacked = one_linf_step(params, batch)

    def expected(params):
        natural, moved = (logits_of(params, x) for x in (batch["image"], attacked))
        return mart_loss(natural, moved, batch["label"], 3.0)

    loss, out, grads = evaluate(defense, params, state, batch)
    np.testing.assert_allclose(loss, expected(params), rtol=1e-4)
    close(grads, jax.jit(jax.grad(expected))(params), 1e-3)
    for name, images in (("clean", batch["image"]), ("robust", attacked)):
        hits = np.argmax(logits_of(params, images), 1) == batch["label"]
        np.testing.assert_allclose(out.metrics[f"{name}_accuracy"], hits.mean())


def test_the_attack_starts_near_the_image():
    params, state, batch = setup()
    losses = [
        evaluate(Mart((pgd(steps=0),), start=start), params, state, batch)[0]
        for start in (1e-6, 0.05, None)
    ]
    logits = logits_of(params, batch["image"])
    still = mart_loss(logits, logits, batch["label"], 5.0)
    np.testing.assert_allclose(losses[0], still, rtol=1e-4)
    assert abs(losses[1] - still) > 1e-3 and losses[1] != losses[2]


def test_the_statistics_move_twice():
    params, state, batch = setup(Normed())
    attack = Ascent(Linf(0.0), steps=2, rel_step_size=1.0)
    out = evaluate(Mart((attack,)), params, state, batch)[1]
    mean = ((batch["image"] - 0.5) / 0.25).reshape(len(batch["image"]), -1).mean(0)
    moved = out.batch_stats["BatchNorm_0"]["mean"]
    np.testing.assert_allclose(moved, (0.1 + 0.9 * 0.1) * mean, atol=1e-5)


def test_training_reduces_the_loss():
    losses, _ = trained(Mart((pgd(steps=2, rel_step_size=0.5),)), 12)
    assert losses[-1] < losses[0] - 0.05


def test_mistakes_are_told():
    with pytest.raises(UsageError, match="Mart needs exactly one attack, not 0"):
        Mart(())
    with pytest.raises(UsageError, match="exactly one attack, not 2"):
        Mart((Fgsm(Linf(EPS)),) * 2)
    with pytest.raises(UsageError, match=r"Mart\.lam is -1; it must be >= 0"):
        Mart((pgd(),), lam=-1.0)
