"""MMA training against linear boundaries, hand traces and a plain reference."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxadv import parallel
from jaxadv.attacks.gradient.ascent import Ascent
from jaxadv.attacks.gradient.fgsm import Fgsm
from jaxadv.classifier import Classifier
from jaxadv.defenses import mma
from jaxadv.defenses.mma import Mma, straddle
from jaxadv.objectives import CrossEntropy, log_odds, score
from jaxadv.specs import UsageError
from jaxadv.threats.lp import L2, Linf
from jaxadv.training import state as train_state
from tests.defenses.alone import evaluate, trained
from tests.defenses.test_defenses import (
    BATCH,
    SHAPE,
    Normed,
    entropies,
    logits_of,
    setup,
)
from tests.training.small import close, make_batch, make_state

HALVINGS = 10


def pgd(threat=None, **fields):
    given = {"steps": 10, "rel_step_size": 0.25, "keep": "last", "random_start": False}
    return Ascent(threat or L2(0.5), **(given | fields))


# Log odds ---------------------------------------------------------------------------


def test_log_odds_worked_out_by_hand():
    z = jnp.array([2.0, 1.0, 1.5])
    np.testing.assert_allclose(log_odds(z, 0), -0.025923, atol=1e-6)
    np.testing.assert_allclose(jax.nn.softmax(z)[0], 0.50648, atol=1e-5)
    # The likeliest class, and yet less than half of the probability.
    tied = jnp.array([2.0, 1.6, 1.6])
    assert jnp.argmax(tied) == 0 and log_odds(tied, 0) > 0


def test_log_odds_are_those_of_the_probability_and_keep_digits():
    z = np.random.default_rng(0).standard_normal((6, 5))
    p = np.exp(z) / np.exp(z).sum(1, keepdims=True)
    for logits, probability in zip(z, p[:, 2], strict=True):
        expected = np.log1p(-probability) - np.log(probability)
        np.testing.assert_allclose(log_odds(jnp.array(logits), 2), expected, rtol=1e-5)
    large = log_odds(jnp.array([1e4 + 1, 1e4, 1e4]), 0)
    np.testing.assert_allclose(large, np.log(2) - 1, rtol=1e-5)
    slope = jax.grad(log_odds)(jnp.array([0.0, -jnp.inf, 1.0]), 0)
    np.testing.assert_allclose(slope, [-1, 0, 1], atol=1e-6)


def test_the_attack_climbs_the_log_odds():
    """By the cross-entropy's score, whose direction is theirs."""
    weights = np.random.default_rng(1).standard_normal((4, 9)).astype(np.float32)
    model = Classifier.from_function(lambda w, x, key: w @ x.ravel(), weights)
    image = jnp.full(SHAPE, 0.5)
    ours = jax.grad(lambda x: log_odds(model(x), 1))(image).ravel()
    key = jax.random.key(0)
    theirs = jax.grad(lambda x: score(CrossEntropy(), model, x, 1, key))(image).ravel()
    cosine = ours @ theirs / jnp.linalg.norm(ours) / jnp.linalg.norm(theirs)
    np.testing.assert_allclose(cosine, 1, rtol=1e-5)


# The search along a ray -------------------------------------------------------------


def ends_of(boundary, start, halvings, most=1.05):
    def run(start):
        return straddle(lambda lengths: lengths >= boundary, start, most, halvings)

    low, high = jax.jit(run)(jnp.array([start], jnp.float32))
    return float(low[0]), float(high[0])


@pytest.mark.parametrize(
    ("boundary", "start", "expected"),
    [
        (0.2, 0.5, 0.199707),
        (0.2, 1.05, 0.199951),
        (0.7, 0.5, 0.700342),
        (2.0, 0.5, 1.049463),
        (2.0, 1.05, 1.05),
    ],
)
def test_the_middle_after_one_halving_less_is_the_authors(boundary, start, expected):
    low, high = ends_of(boundary, start, HALVINGS - 1)
    np.testing.assert_allclose((low + high) / 2, expected, atol=1e-6)


@pytest.mark.parametrize("start", [0.05, 0.3, 1.05, 7.0])
@pytest.mark.parametrize("boundary", [0.0, 0.013, 0.2, 0.7, 1.049])
def test_the_upper_end_is_beyond_the_boundary_and_close_to_it(boundary, start):
    low, high = ends_of(boundary, start, HALVINGS)
    assert low <= boundary <= high
    assert high - low <= 1.05 / 2**HALVINGS * (1 + 1e-3)


@pytest.mark.parametrize("start", [0.05, 0.5, 1.05])
def test_a_boundary_that_is_not_met_leaves_the_end_itself(start):
    assert ends_of(2.0, start, HALVINGS)[1] == np.float32(1.05)


def test_only_lengths_that_were_looked_at_are_below_the_end(monkeypatch):
    """Also where an image is broken, whole again and broken further on."""
    seen = []

    def broken(lengths):
        seen.append(float(lengths[0]))
        return ((lengths > 0.1) & (lengths < 0.3)) | (lengths > 0.8)

    def repeat(count, body, carry):
        for _ in range(count):
            carry = body(carry)
        return carry

    monkeypatch.setattr(mma, "repeat", repeat)
    high = float(straddle(broken, jnp.array([0.5]), 1.05, HALVINGS)[1][0])
    assert len(seen) == HALVINGS + 1 and high in seen
    assert 0.1 < high < 0.3 or high > 0.8


# The batch --------------------------------------------------------------------------


def searched(defense, model, batch, memory):
    run = jax.jit(
        lambda b, m: defense.searched(model, jax.random.key(0), b, {"eps": m})
    )
    return [np.asarray(x) for x in run(batch, memory)]


def _plane(weights, image, key):
    return jnp.stack([jnp.sum(weights * image.ravel()) + 1.5, jnp.zeros(())])


@pytest.mark.parametrize(
    ("threat", "expected"), [(L2(0.5), 0.2), (Linf(0.1), 1 / 7)], ids=["l2", "linf"]
)
@pytest.mark.parametrize("stored", [0.0, 0.05, 0.22, 0.36])
def test_distances_to_a_plane(threat, expected, stored):
    """3 x - 4 y + 1.5 = 1 at (.5, .5): 0.2 away in l2, 1/7 in linf."""
    model = Classifier.from_function(_plane, jnp.array([3.0, -4.0]))
    batch = {
        "image": jnp.full((2, 1, 2, 1), 0.5),
        "label": jnp.array([0, 1]),
        "id": jnp.array([0, 1]),
    }
    defense = Mma((pgd(threat),), d_max=0.35, min_eps=0.03)
    images, eps, right = searched(defense, model, batch, jnp.full(2, stored))
    np.testing.assert_array_equal(right, [True, False])
    assert eps[1] == 0 and (images[1] == 0.5).all()
    assert expected - 1e-6 <= eps[0] <= expected + 1.05 * 0.35 / 2**HALVINGS
    logits = _plane(jnp.array([3.0, -4.0]), images[0], None)
    # Even odds, and no less: log 2.
    entropy = float(-jax.nn.log_softmax(logits)[0])
    assert np.log(2) - 1e-5 <= entropy <= np.log(2) + 7 * 1.05 * 0.35 / 2**HALVINGS
    # The search begins at the remembered budget, or the smallest.
    start = max(stored, 0.03)
    end = ends_of(expected, start, HALVINGS, most=1.05 * 0.35)[1]
    np.testing.assert_allclose(eps[0], end, atol=2e-6)


def linear(scale=1.0):
    params, state, batch = setup()
    params = jax.tree.map(lambda x: scale * x, params)
    return params, state, batch, state.network.classifier(params, {})


def odds(params, images, labels):
    z = np.asarray(logits_of(params, images), np.float64)
    p = np.exp(z) / np.exp(z).sum(1, keepdims=True)
    p = p[np.arange(len(labels)), labels]
    return np.log1p(-p) - np.log(p)


def mixture():
    """Images of which some have wrong labels."""
    params, state, batch, model = linear(3.0)
    labels = np.array(np.argmax(logits_of(params, batch["image"]), 1), np.int32)
    labels[:3] = (labels[:3] + 1) % 3
    batch = {**batch, "label": labels}
    return params, state, batch, model


def test_images_lie_just_beyond_the_boundary():
    params, _, batch, model = mixture()
    defense = Mma((pgd(),), d_max=2.0, min_eps=0.5)
    images, eps, right = searched(defense, model, batch, jnp.zeros(100))
    clean = odds(params, batch["image"], batch["label"]) < 0
    np.testing.assert_array_equal(right, clean)
    assert 0 < right.sum() < BATCH
    np.testing.assert_array_equal(eps == 0, ~right)
    near = right & (eps < 2.0)
    assert near.sum() >= 2
    change = images - batch["image"]
    unit = change / np.maximum(eps, 1e-9)[:, None, None, None]
    np.testing.assert_allclose(np.sqrt((unit**2).sum((1, 2, 3)))[near], 1, rtol=1e-4)
    step = 1.05 * 2.0 / 2**HALVINGS
    before = images - step * unit
    found = odds(params, images, batch["label"])
    assert (found[near] > -1e-5).all()
    assert (odds(params, before, batch["label"])[near] < 1e-5).all()
    entropy = np.asarray(entropies(params, images, batch["label"]))[near]
    np.testing.assert_allclose(entropy, np.log(2), atol=0.02)
    np.testing.assert_array_equal(images[~right], batch["image"][~right])


@pytest.mark.parametrize("threat", [L2(0.5), Linf(0.1)], ids=["l2", "linf"])
def test_images_stay_in_the_box(threat):
    params, _, batch, model = mixture()
    images = np.random.default_rng(0).random((BATCH, *SHAPE), np.float32)
    images = np.where(images > 0.5, 0.98, 0.02).astype(np.float32)
    labels = np.argmax(logits_of(params, images), 1).astype(np.int32)
    batch = {"image": images, "label": labels, "id": batch["id"]}
    # PGD hardly moves, so that what lies beyond it meets the sides.
    defense = Mma((pgd(threat),), d_max=3.0, min_eps=0.01)
    images, eps, _ = searched(defense, model, batch, jnp.zeros(100))
    assert images.min() == 0 and images.max() == 1 and eps.max() > 0.1


@pytest.mark.parametrize("clean_weight", [1 / 3, 0.0])
def test_the_loss_and_its_gradient(clean_weight):
    """At fixed images: correct ones at their boundary, wrong ones, and those beyond."""
    params, state, batch, model = mixture()
    everywhere = Mma((pgd(),), d_max=2.0, min_eps=0.005)
    _, eps, right = searched(everywhere, model, batch, jnp.zeros(100))
    d_max = float(np.median(eps[right]))
    defense = Mma((pgd(),), d_max=d_max, min_eps=0.005, clean_weight=clean_weight)
    images, eps, right = searched(defense, model, batch, jnp.zeros(100))
    counted = right & (eps < d_max)
    assert counted.any() and (right & ~counted).any() and (~right).any()

    def expected(params):
        clean = entropies(params, batch["image"], batch["label"])
        moved = entropies(params, images, batch["label"])
        mixed = jnp.sum(moved * counted) + jnp.sum(clean * ~right)
        return ((1 - clean_weight) * mixed + clean_weight * jnp.sum(clean)) / BATCH

    state.memory = {"eps": jnp.zeros(100)}
    loss, out, grads = evaluate(defense, params, state, batch)
    np.testing.assert_allclose(loss, expected(params), rtol=1e-5)
    close(grads, jax.jit(jax.grad(expected))(params), 1e-4)
    np.testing.assert_allclose(out.memory["eps"][batch["id"]], eps, rtol=1e-6)
    assert not np.any(np.delete(out.memory["eps"], batch["id"]))
    wanted = {
        "clean_accuracy": right.mean(),
        "eps_mean": eps.mean(),
        "beyond": (right & ~counted).mean(),
    }
    for name, value in wanted.items():
        np.testing.assert_allclose(out.metrics[name], value, rtol=1e-5)


@pytest.mark.parametrize(("clean_weight", "moves"), [(1 / 3, 0.19), (0.0, 0.1)])
def test_the_statistics_move_with_each_pass(clean_weight, moves):
    params, state, batch = setup(Normed())
    # All of them are wrong, so that both passes see the clean images.
    logits = jax.vmap(state.network.classifier(params, state.batch_stats))(
        batch["image"]
    )
    batch["label"] = np.argmin(logits, 1).astype(np.int32)
    state.memory = {"eps": jnp.zeros(100)}
    defense = Mma((pgd(),), clean_weight=clean_weight)
    out = evaluate(defense, params, state, batch)[1]
    mean = ((batch["image"] - 0.5) / 0.25).reshape(BATCH, -1).mean(0)
    moved = out.batch_stats["BatchNorm_0"]["mean"]
    np.testing.assert_allclose(moved, moves * mean, atol=1e-5)


def test_training_reduces_the_loss_and_moves_memory_alike_on_two_devices():
    defense = Mma((pgd(steps=3),), d_max=1.0, min_eps=0.1, halvings=6)
    losses, state = trained(defense, 12)
    assert losses[-1] < losses[0] - 0.02
    eps, ids = state.memory["eps"], make_batch()["id"]
    assert eps.max() > 0 and not np.any(np.delete(eps, ids))
    other = trained(defense, 12, devices=2)[1]
    np.testing.assert_allclose(other.memory["eps"], eps, atol=1e-6)


def test_memory_is_equal_on_all_devices():
    defense = Mma((pgd(steps=2),), halvings=3)
    state = parallel.replicate(make_state(defense=defense))
    step = parallel.mapped(train_state.make_step(seed=0))
    state, values = step(
        state, parallel.shard(make_batch()), parallel.replicate(defense)
    )
    parallel.assert_replicated((state, values))


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: Mma(()), "Mma needs exactly one attack, not 0"),
        (lambda: Mma((Fgsm(L2(0.1)),)), "must be 'pgd' with the threat 'linf' or 'l2'"),
        (
            lambda: Mma((pgd(step_size=0.01, rel_step_size=None),)),
            "Mma: the attack's step_size is 0.01, .* give rel_step_size",
        ),
        (
            lambda: Mma((pgd(),), min_eps=0.5),
            r"min_eps is 0\.5, not below d_max=0\.1255",
        ),
        (lambda: Mma((pgd(),), clean_weight=1.5), "clean_weight is 1.5; .* <= 1"),
    ],
)
def test_mistakes_are_told(make, message):
    with pytest.raises(UsageError, match=message) as error:
        make()
    assert "\n" not in str(error.value)
