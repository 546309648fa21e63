"""Training whose budgets follow the clean probability, against closed forms."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxadv.attacks.gradient.ascent import Ascent
from jaxadv.attacks.gradient.fgsm import Fgsm
from jaxadv.defenses.threshold import Threshold
from jaxadv.specs import UsageError
from jaxadv.threats.lp import L2, Linf
from jaxadv.threats.masked import Masked
from tests.defenses.alone import evaluate, trained
from tests.defenses.test_defenses import (
    EPS,
    Normed,
    ascents,
    entropies,
    logits_of,
    setup,
)

FRACTIONS = (0.03, 0.3, 0.55, 1.0)


def pgd(threat=None, **fields):
    given = {"steps": 1, "rel_step_size": 0.5, "keep": "last", "random_start": False}
    return Ascent(threat or Linf(EPS), **(given | fields))


def spread():
    """A network that is sure of some labels and of other classes elsewhere."""
    params, state, batch = setup()
    params = jax.tree.map(lambda x: 2.5 * x, params)
    p = np.exp(-np.asarray(entropies(params, batch["image"], batch["label"])))
    eps = EPS * np.select([p < 0.1, p < 0.25, p < 0.5], FRACTIONS[:3], 1.0)
    assert len(np.unique(eps)) == 4
    return params, state, batch, eps


def test_the_four_intervals():
    defense = Threshold((pgd(),))
    found = defense.fraction(jnp.array([0.05, 0.2, 0.4, 0.9]))
    np.testing.assert_allclose(found, FRACTIONS, rtol=1e-6)


def test_a_threshold_belongs_to_the_interval_above():
    bounds = jnp.array([0.0, 0.1, 0.25, 0.5, 1.0])
    found = Threshold((pgd(),)).fraction(bounds)
    np.testing.assert_allclose(found, (0.03, 0.3, 0.55, 1.0, 1.0), rtol=1e-6)


@pytest.mark.parametrize("norm", ["linf", "l2"])
@pytest.mark.parametrize("step", [0.5, 1.5])
def test_steps_and_balls_follow_each_images_budget(norm, step):
    """One step from the image goes that share of its own budget, once at most."""
    params, state, batch, eps = spread()
    grad = ascents(params, batch)
    if norm == "linf":
        direction = np.sign(grad)
    else:
        direction = grad / np.sqrt(np.sum(grad**2, (1, 2, 3), keepdims=True))
    moved = batch["image"] + min(step, 1) * eps[:, None, None, None] * direction
    threat = {"linf": Linf, "l2": L2}[norm](EPS)
    defense = Threshold((pgd(threat, rel_step_size=step),))
    loss, out, _ = evaluate(defense, params, state, batch)
    expected = entropies(params, moved, batch["label"])
    np.testing.assert_allclose(loss, np.mean(expected), rtol=1e-4)
    np.testing.assert_allclose(out.metrics["eps_mean"], eps.mean(), rtol=1e-5)
    hits = np.argmax(logits_of(params, moved), 1) == batch["label"]
    np.testing.assert_allclose(out.metrics["robust_accuracy"], hits.mean())
    hits = np.argmax(logits_of(params, batch["image"]), 1) == batch["label"]
    np.testing.assert_allclose(out.metrics["clean_accuracy"], hits.mean())


def test_any_attack_with_a_budget_will_do():
    params, state, batch, eps = spread()
    moved = batch["image"] + eps[:, None, None, None] * np.sign(ascents(params, batch))
    loss = evaluate(Threshold((Fgsm(Linf(EPS)),)), params, state, batch)[0]
    expected = np.mean(entropies(params, moved, batch["label"]))
    np.testing.assert_allclose(loss, expected, rtol=1e-4)


def test_equal_fractions_are_adversarial_training():
    params, state, batch, _ = spread()
    defense = Threshold((Fgsm(Linf(EPS)),), thresholds=(), fractions=(1.0,))
    loss = evaluate(defense, params, state, batch)[0]
    moved = batch["image"] + EPS * np.sign(ascents(params, batch))
    expected = np.mean(entropies(params, moved, batch["label"]))
    np.testing.assert_allclose(loss, expected, rtol=1e-4)


def test_the_probability_is_that_of_the_evaluation_mode():
    params, state, batch = setup(Normed())
    params = jax.tree.map(lambda x: 5 * x, params)
    stats = state.batch_stats["BatchNorm_0"]
    shifted = {"mean": stats["mean"] + 1.0, "var": 0.01 * stats["var"]}
    state.batch_stats = {"BatchNorm_0": shifted}
    means = {}
    for train in (False, True):
        logits = state.network.module.apply(
            {"params": params, "batch_stats": state.batch_stats},
            (batch["image"] - 0.5) / 0.25, train=train, mutable=["batch_stats"],
        )[0]  # fmt: skip
        p = np.asarray(jax.nn.softmax(logits))[np.arange(8), batch["label"]]
        found = np.select([p < 0.1, p < 0.25, p < 0.5], FRACTIONS[:3], 1.0)
        means[train] = EPS * found.mean()
    assert means[True] != means[False]
    out = evaluate(Threshold((pgd(),)), params, state, batch)[1]
    np.testing.assert_allclose(out.metrics["eps_mean"], means[False], rtol=1e-5)


def test_training_reduces_the_loss():
    losses, state = trained(Threshold((pgd(random_start=True, steps=2),)), 12)
    assert losses[-1] < losses[0] - 0.02 and state.memory == ()


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: Threshold(()), "Threshold needs exactly one attack, not 0"),
        (
            lambda: Threshold((pgd(Masked(L2(1.0), L2(0.1))),)),
            "the threat Masked has no eps",
        ),
        (lambda: Threshold((pgd(),), thresholds=(0.5, 0.1, 0.2)), "in rising order"),
        (
            lambda: Threshold((pgd(),), fractions=(1.0, 1.0)),
            "2 entries .* give 4",
        ),
        (lambda: Threshold((pgd(),), thresholds=(0.1, 0.2, 1.5)), "1.5 at 2; .* <= 1"),
    ],
)
def test_mistakes_are_told(make, message):
    with pytest.raises(UsageError, match=message) as error:
        make()
    assert "\n" not in str(error.value)
