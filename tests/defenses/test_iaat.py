"""Instance adaptive training against the rule worked out by hand and exact margins."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxadv import parallel
from jaxadv.attacks.gradient.ascent import Ascent
from jaxadv.attacks.gradient.fgsm import Fgsm
from jaxadv.defenses import base
from jaxadv.defenses.iaat import Iaat, candidate
from jaxadv.specs import UsageError
from jaxadv.threats.lp import L1, Linf
from jaxadv.training import state as train_state
from tests.defenses.alone import evaluate, trained
from tests.defenses.test_defenses import (
    BATCH,
    entropies,
    logits_of,
    setup,
)
from tests.training.small import make_batch, make_state

GAMMA, UNIT = 1.9 / 255, 1 / 255


def pgd(**fields):
    given = {"steps": 10, "rel_step_size": 0.2, "keep": "last"}
    return Ascent(Linf(8 / 255), **(given | fields))


def moved(eps, robust, beyond, right):
    """The new budgets in 1/255, of old ones in 1/255."""
    old = jnp.array([eps * UNIT])
    answers = (jnp.array([x]) for x in (robust, beyond, right))
    found = candidate(old, next(answers), next(answers), next(answers), GAMMA)
    return float((0.1 * found + 0.9 * old)[0]) / UNIT


# The rule ---------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("eps", "robust", "beyond", "right", "expected"),
    [
        (8.0, True, True, True, 8.19),
        (8.0, False, True, True, 8.19),  # robust further out is enough
        (8.0, True, False, True, 8.0),
        (8.0, False, False, True, 7.81),
        (8.0, True, True, False, 7.2),
        (8.0, False, False, False, 7.2),
        (0.0, True, True, False, 0.0),
        (0.0, False, False, True, 0.0),
        (1.0, False, False, True, 0.9),  # 1 - 1.9 counts as 0
    ],
)
def test_the_updates_worked_out_by_hand(eps, robust, beyond, right, expected):
    found = moved(eps, robust, beyond, right)
    np.testing.assert_allclose(found, expected, rtol=1e-5, atol=1e-6)


def test_budgets_grow_by_gamma_beta_a_visit_and_have_no_cap():
    eps = 8.0
    for _ in range(100):
        eps = moved(eps, True, True, True)
    np.testing.assert_allclose(eps, 27.0, rtol=1e-4)


# The defense ------------------------------------------------------------------------


def two_classes():
    """A linear network, and from where on in linf it no longer withstands, [b]."""
    params, state, batch = setup(classes=2)
    kernel = np.asarray(params["Dense_0"]["kernel"], np.float64) / 0.25
    logits = np.asarray(logits_of(params, batch["image"]), np.float64)
    own = logits[np.arange(BATCH), batch["label"]]
    gaps = own - logits[np.arange(BATCH), 1 - batch["label"]]
    return params, state, batch, gaps / np.abs(kernel[:, 0] - kernel[:, 1]).sum()


def test_memory_follows_what_the_network_withstands():
    """In linf PGD finds the corner that decides, so the margins are exact."""
    params, state, batch, margins = two_classes()
    right = margins > 0
    before = margins + np.resize([0.5, -0.5, -2.0], BATCH) * GAMMA
    before = np.where(right, before, 5 * UNIT).astype(np.float32)
    assert 3 <= right.sum() < BATCH and (before > 0).all()
    robust, beyond = before < margins, before + GAMMA < margins
    assert len({*zip(robust[right], beyond[right], strict=True)}) == 3
    found = np.where(beyond, before + GAMMA, np.where(robust, before, before - GAMMA))
    after = 0.1 * np.where(right, np.maximum(found, 0), 0) + 0.9 * before
    state.memory = {"eps": jnp.full(100, 0.5).at[batch["id"]].set(before)}
    defense = Iaat((pgd(),))
    loss, out, _ = evaluate(defense, params, state, batch)
    eps = out.memory["eps"]
    np.testing.assert_allclose(eps[batch["id"]], after, rtol=1e-4)
    others = np.setdiff1d(np.arange(100), batch["id"])
    np.testing.assert_array_equal(eps[others], 0.5)
    np.testing.assert_allclose(out.metrics["eps_mean"], after.mean(), rtol=1e-4)
    np.testing.assert_allclose(out.metrics["clean_accuracy"], right.mean())
    # It trains within the new budgets.
    scale = np.sum(np.abs(np.diff(np.asarray(params["Dense_0"]["kernel"]), axis=1)))
    expected = np.log1p(np.exp(-(margins - after) * scale / 0.25))
    np.testing.assert_allclose(loss, expected.mean(), rtol=1e-4)
    hits = margins > after
    np.testing.assert_allclose(out.metrics["robust_accuracy"], hits.mean())


def test_warm_up_gives_correct_images_one_budget_and_remembers_it():
    params, state, batch, margins = two_classes()
    defense = Iaat((pgd(),), warm_up=True)
    state.memory = {"eps": jnp.full(100, 0.5)}
    _, out, _ = evaluate(defense, params, state, batch)
    expected = np.full(100, 0.5)
    expected[batch["id"]] = 8 / 255 * (margins > 0)
    np.testing.assert_allclose(out.memory["eps"], expected, rtol=1e-6)


def test_within_a_budget_of_zero_nothing_moves():
    params, state, batch = setup()
    model = state.network.classifier(params, {})
    key, zero = jax.random.key(0), jnp.zeros(BATCH)
    attack = jax.jit(lambda eps: Iaat((pgd(),))._attacked(model, key, batch, eps))
    np.testing.assert_array_equal(attack(zero).image, batch["image"])
    assert np.abs(attack(zero + 0.01).image - batch["image"]).max() > 0.009
    state.memory = {"eps": zero}  # and then the loss is that of the clean images
    wrong = {**batch, "label": np.argmin(logits_of(params, batch["image"]), 1)}
    wrong["label"] = wrong["label"].astype(np.int32)
    loss, out, _ = evaluate(
        Iaat((pgd(),), warm_up=True), params, state, {**wrong, "id": np.arange(BATCH)}
    )
    expected = np.mean(entropies(params, batch["image"], wrong["label"]))
    np.testing.assert_allclose(loss, expected, rtol=1e-5)
    np.testing.assert_array_equal(out.memory["eps"], 0)


def test_a_step_is_a_share_of_the_budget_but_not_shorter_than_the_least():
    params, state, batch = setup()
    model = state.network.classifier(params, {})
    eps = UNIT * np.array([0, 1, 5, 9, 10, 11, 20, 50], np.float32)
    attack = pgd(steps=1, random_start=False)
    run = jax.jit(
        lambda e: Iaat((attack,))._attacked(model, jax.random.key(0), batch, e)
    )
    found = np.abs(np.asarray(run(eps).image) - batch["image"]).max((1, 2, 3))
    expected = np.minimum(np.maximum(0.2 * eps, 2 / 255), eps)
    np.testing.assert_allclose(found, expected, atol=1e-6)


# Training ---------------------------------------------------------------------------


@pytest.mark.parametrize("warm_up", [True, False])
def test_training_reduces_the_loss_and_moves_memory_alike_on_two_devices(warm_up):
    defense = Iaat((pgd(steps=3),), warm_up=warm_up)
    losses, state = trained(defense, 12)
    assert losses[-1] < losses[0] - 0.02
    eps, ids = state.memory["eps"], make_batch()["id"]
    assert eps.max() > 0 and not np.any(np.delete(eps, ids))
    other = trained(defense, 12, devices=2)[1]
    np.testing.assert_allclose(other.memory["eps"], eps, atol=1e-6)


def test_memory_is_equal_on_all_devices():
    defense = Iaat((pgd(steps=2),))
    state = parallel.replicate(make_state(defense=defense))
    step = parallel.mapped(train_state.make_step(seed=0))
    state, values = step(
        state, parallel.shard(make_batch()), parallel.replicate(defense)
    )
    parallel.assert_replicated((state, values))


def test_padding_is_not_remembered():
    def write(ids, rows):
        return base.remember(
            {"eps": jnp.zeros(4), "seen": jnp.ones((4, 2))},
            ids, {"eps": rows, "seen": jnp.stack([rows, rows], 1)},
        )  # fmt: skip

    mapped = jax.vmap(write, axis_name=parallel.AXIS)
    ids, rows = jnp.array([[2, -1], [-1, 0]]), jnp.array([[5.0, 6], [7, 8]])
    found = mapped(ids, rows)
    np.testing.assert_array_equal(found["eps"], [[8, 0, 5, 0]] * 2)
    np.testing.assert_array_equal(found["seen"][0], [[8, 8], [1, 1], [5, 5], [1, 1]])


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: Iaat(()), "Iaat needs exactly one attack, not 0"),
        (lambda: Iaat((Fgsm(Linf(0.1)),)), "must be 'pgd' with the threat 'linf'"),
        (
            lambda: Iaat((Ascent(L1(1.0), rel_step_size=0.2),)),
            "must be 'pgd' with the threat 'linf'",
        ),
        (
            lambda: Iaat((pgd(step_size=0.01, rel_step_size=None),)),
            "step_size is 0.01, one for all budgets; give rel_step_size",
        ),
        (lambda: Iaat((pgd(),), beta=2.0), r"Iaat\.beta is 2; it must be <= 1"),
    ],
)
def test_mistakes_are_told(make, message):
    with pytest.raises(UsageError, match=message) as error:
        make()
    assert "\n" not in str(error.value)
