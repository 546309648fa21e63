"""Each defense's loss against a plain reference on a linear model."""

import types

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import linen as nn

from jaxadv import parallel
from jaxadv.attacks.gradient.ascent import Ascent
from jaxadv.attacks.gradient.fgsm import Fgsm
from jaxadv.attacks.perceptual.lagrange import FastLpa
from jaxadv.craft import craft
from jaxadv.defenses import DEFENSES, Adversarial, Clean, Trades
from jaxadv.defenses.base import Network, local_key
from jaxadv.defenses.inner import GaussianStart
from jaxadv.models import MODELS
from jaxadv.models.noisy.adv_bnn import AdvBnn
from jaxadv.models.noisy.learn2perturb import Learn2Perturb
from jaxadv.objectives import cross_entropy
from jaxadv.specs import UsageError
from jaxadv.threats.lp import L2, Linf
from jaxadv.threats.lpips import LpipsBall
from tests import nets

SHAPE, CLASSES, BATCH, EPS = (3, 3, 1), 3, 8, 0.1


class Linear(nn.Module):
    classes: int = CLASSES

    @nn.compact
    def __call__(self, images, train=False):
        return nn.Dense(self.classes)(images.reshape(len(images), -1))


class Normed(nn.Module):
    """A linear model of batch-normalized pixels."""

    @nn.compact
    def __call__(self, images, train=False):
        x = images.reshape(len(images), -1)
        x = nn.BatchNorm(use_running_average=not train, momentum=0.9)(x)
        return nn.Dense(CLASSES)(x)


def setup(module=None, classes=CLASSES):
    network = Network(module or Linear(classes), (0.5,), (0.25,))
    params, batch_stats = network.init(jax.random.key(1), SHAPE)
    rng = np.random.default_rng(0)
    batch = {
        # Inside the box by more than any budget here, so that it is inactive.
        "image": rng.uniform(0.35, 0.65, (BATCH, *SHAPE)).astype(np.float32),
        "label": rng.integers(0, classes, BATCH).astype(np.int32),
        "id": np.arange(10, 10 + BATCH, dtype=np.int32),
    }
    state = types.SimpleNamespace(
        network=network,
        batch_stats=batch_stats,
        memory=(),
        step=0,
        examples=100,
        steps_per_epoch=5,
    )
    return params, state, batch


def logits_of(params, images):
    weights = params["Dense_0"]
    flat = (jnp.asarray(images) - 0.5) / 0.25
    return flat.reshape(len(images), -1) @ weights["kernel"] + weights["bias"]


def entropies(params, images, labels):
    """[b] cross-entropies."""
    log_p = jax.nn.log_softmax(logits_of(params, images))
    return -jnp.take_along_axis(log_p, jnp.asarray(labels)[:, None], 1)[:, 0]


def ascents(params, batch):
    """[b, h, w, c] gradients of the cross-entropies by the images."""
    total = lambda x: jnp.sum(entropies(params, x, batch["label"]))  # noqa: E731
    return np.asarray(jax.grad(total)(jnp.asarray(batch["image"])))


def one_linf_step(params, batch, eps=EPS):
    return batch["image"] + eps * np.sign(ascents(params, batch))


def one_l2_step(params, batch, eps):
    grad = ascents(params, batch)
    norms = np.sqrt(np.sum(grad**2, axis=(1, 2, 3), keepdims=True))
    return batch["image"] + eps * grad / norms


def evaluate(defense, params, state, batch, key=0):
    key = jax.random.key(key)
    return jax.jit(lambda p, b: defense.loss(p, state, b, key))(params, batch)


def test_clean_is_the_mean_cross_entropy():
    params, state, batch = setup()
    loss, out = evaluate(Clean(), params, state, batch)
    expected = entropies(params, batch["image"], batch["label"])
    np.testing.assert_allclose(loss, jnp.mean(expected), rtol=1e-5)
    hits = np.argmax(logits_of(params, batch["image"]), 1) == batch["label"]
    np.testing.assert_allclose(out.metrics["clean_accuracy"], hits.mean())


def test_adversarial_loss_is_that_of_the_attacked_images():
    params, state, batch = setup()
    loss, out = evaluate(Adversarial((Fgsm(Linf(EPS)),)), params, state, batch)
    attacked = one_linf_step(params, batch)
    expected = entropies(params, attacked, batch["label"])
    np.testing.assert_allclose(loss, jnp.mean(expected), rtol=1e-4)
    hits = np.argmax(logits_of(params, attacked), 1) == batch["label"]
    np.testing.assert_allclose(out.metrics["robust_accuracy"], hits.mean())


def test_no_gradient_flows_through_the_crafted_images():
    params, state, batch = setup()
    defense = Adversarial((Fgsm(L2(0.3)),))
    value = lambda p: defense.loss(p, state, batch, jax.random.key(0))[0]  # noqa: E731
    attacked = one_l2_step(params, batch, 0.3)
    fixed = lambda p: jnp.mean(entropies(p, attacked, batch["label"]))  # noqa: E731
    found, expected = jax.jit(jax.grad(value))(params), jax.grad(fixed)(params)
    jax.tree.map(
        lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-3, atol=1e-5),
        found,
        expected,
    )


def test_mixture_weights():
    params, state, batch = setup()
    defense = Adversarial((Fgsm(Linf(EPS)),), alpha=0.3, beta=0.5)
    loss, out = evaluate(defense, params, state, batch)
    clean = jnp.mean(entropies(params, batch["image"], batch["label"]))
    attacked = one_linf_step(params, batch)
    robust = jnp.mean(entropies(params, attacked, batch["label"]))
    np.testing.assert_allclose(loss, 0.3 * clean + 0.5 * robust, rtol=1e-4)
    assert set(out.metrics) == {"clean_accuracy", "robust_accuracy"}


@pytest.fixture(scope="module")
def two_attacks():
    """Two attacks neither of which is the stronger one on all images."""
    params, state, batch = setup()
    grad = ascents(params, batch).reshape(BATCH, -1)
    ratios = np.abs(grad).sum(1) / np.linalg.norm(grad, axis=1)
    eps = float(EPS * np.median(ratios))
    linf = entropies(params, one_linf_step(params, batch), batch["label"])
    l2 = entropies(params, one_l2_step(params, batch, eps), batch["label"])
    values = np.stack([linf, l2])
    assert set(np.argmax(values, 0)) == {0, 1}
    attacks = (Fgsm(Linf(EPS)), Fgsm(L2(eps)))
    return params, state, batch, attacks, values


def test_average_is_the_mean_over_attacks(two_attacks):
    params, state, batch, attacks, values = two_attacks
    loss, _ = evaluate(Adversarial(attacks, mode="average"), params, state, batch)
    np.testing.assert_allclose(loss, values.mean(), rtol=1e-3)


def test_maximum_takes_the_largest_loss_of_each_example(two_attacks):
    params, state, batch, attacks, values = two_attacks
    loss, _ = evaluate(Adversarial(attacks, mode="maximum"), params, state, batch)
    np.testing.assert_allclose(loss, values.max(0).mean(), rtol=1e-3)


def test_random_draws_one_attack_a_step_from_the_key(two_attacks):
    params, state, batch, attacks, values = two_attacks
    defense = Adversarial(attacks, mode="random")
    compiled = jax.jit(lambda key: defense.loss(params, state, batch, key)[0])
    losses = [float(compiled(jax.random.key(i))) for i in range(12)]
    means = values.mean(1)
    nearest = [int(np.argmin(np.abs(means - loss))) for loss in losses]
    np.testing.assert_allclose(losses, means[nearest], rtol=1e-3)
    assert set(nearest) == {0, 1}


def test_only_attack_correct_leaves_wrong_images_clean():
    params, state, batch = setup()
    right = np.argmax(logits_of(params, batch["image"]), 1) == batch["label"]
    assert 0 < right.sum() < BATCH
    defense = Adversarial((Fgsm(Linf(EPS)),), only_attack_correct=True)
    loss, _ = evaluate(defense, params, state, batch)
    mixed = np.where(
        right[:, None, None, None], one_linf_step(params, batch), batch["image"]
    )
    expected = jnp.mean(entropies(params, mixed, batch["label"]))
    np.testing.assert_allclose(loss, expected, rtol=1e-4)


def divergences(params, images, attacked):
    log_p = jax.nn.log_softmax(logits_of(params, images))
    log_q = jax.nn.log_softmax(logits_of(params, attacked))
    return jnp.sum(jnp.exp(log_p) * (log_p - log_q), axis=1)


def test_trades_reaches_a_corner_of_the_ball_and_adds_the_divergence():
    """With two classes the divergence is largest at one of two known corners."""
    params, state, batch = setup(classes=2)
    kernel = np.asarray(params["Dense_0"]["kernel"])
    corner = EPS * np.sign(kernel[:, 1] - kernel[:, 0]).reshape(SHAPE)
    attack = Ascent(Linf(EPS), steps=10, rel_step_size=0.5, keep="last")
    defense = Trades((attack,), beta=2.5)
    compiled = jax.jit(lambda b: defense.loss(params, state, b, jax.random.key(0)))
    sides = set()
    for i in range(BATCH):
        one = {name: rows[i : i + 1] for name, rows in batch.items()}
        loss, out = compiled(one)
        choices = [divergences(params, one["image"], one["image"] + c)[0]
                   for c in (corner, -corner)]  # fmt: skip
        side = int(np.argmin(np.abs(np.array(choices) - out.metrics["divergence"])))
        sides.add(side)
        np.testing.assert_allclose(
            out.metrics["divergence"], choices[side], rtol=1e-3, atol=1e-6
        )
        clean = entropies(params, one["image"], one["label"])[0]
        np.testing.assert_allclose(loss, clean + 2.5 * choices[side], rtol=1e-3)
    assert sides == {0, 1}


def test_trades_gradient_flows_through_both_arguments():
    params, state, batch = setup()
    defense = Trades((Ascent(Linf(EPS), steps=0, rel_step_size=1.0),), start=0.05)
    key = jax.random.key(3)
    inner = defense._inner()
    craft_key = jax.random.key_data(jax.random.split(key)[0])

    def start(example, image):
        own = jax.random.fold_in(jax.random.fold_in(craft_key, example), 0)
        start_key = jax.random.split(own)[1]
        return image + inner.threat.init(start_key, image)

    attacked = jax.jit(jax.vmap(start))(batch["id"], batch["image"])

    def reference(params):
        clean = jnp.mean(entropies(params, batch["image"], batch["label"]))
        return clean + 6 * jnp.mean(divergences(params, batch["image"], attacked))

    value = lambda p: defense.loss(p, state, batch, key)[0]  # noqa: E731
    found, expected = (
        jax.jit(jax.grad(value))(params),
        jax.jit(jax.grad(reference))(params),
    )
    jax.tree.map(
        lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-3, atol=1e-5),
        found,
        expected,
    )


def test_gaussian_start_is_small_and_stays_inside():
    image = jnp.full((16, 16, 3), 0.5)
    draw = jax.jit(lambda threat: threat.init(jax.random.key(0), image))
    start = draw(GaussianStart(Linf(0.1), 0.001))
    np.testing.assert_allclose(np.std(start), 0.001, rtol=0.1)
    tight = draw(GaussianStart(Linf(0.0005), 0.001))
    assert float(jnp.max(jnp.abs(tight))) <= np.float32(0.0005)


def test_adversarial_normalizes_all_copies_together():
    params, state, batch = setup(Normed())
    fixed = Fgsm(Linf(0.0))
    defense = Adversarial((fixed,), alpha=1.0)
    out = evaluate(defense, params, state, batch)[1]
    pixels = ((batch["image"] - 0.5) / 0.25).reshape(BATCH, -1)
    copies = np.concatenate([pixels, pixels])
    moved = out.batch_stats["BatchNorm_0"]
    np.testing.assert_allclose(moved["mean"], 0.1 * copies.mean(0), atol=1e-5)
    np.testing.assert_allclose(moved["var"], 0.9 + 0.1 * copies.var(0), atol=1e-5)


def test_trades_moves_the_statistics_twice():
    params, state, batch = setup(Normed())
    attack = Ascent(Linf(0.0), steps=0, rel_step_size=1.0)
    out = evaluate(Trades((attack,)), params, state, batch)[1]
    mean = ((batch["image"] - 0.5) / 0.25).reshape(BATCH, -1).mean(0)
    moved = out.batch_stats["BatchNorm_0"]["mean"]
    np.testing.assert_allclose(moved, (0.1 + 0.9 * 0.1) * mean, atol=1e-5)


def test_attacks_leave_the_statistics_alone():
    """Crafting is in evaluation mode: only the training pass moves them."""
    params, state, batch = setup(Normed())
    attack = Ascent(Linf(0.0), steps=2, rel_step_size=0.5)
    out = evaluate(Adversarial((attack,)), params, state, batch)[1]
    mean = ((batch["image"] - 0.5) / 0.25).reshape(BATCH, -1).mean(0)
    moved = out.batch_stats["BatchNorm_0"]["mean"]
    np.testing.assert_allclose(moved, 0.1 * mean, atol=1e-5)


def test_local_keys_differ_where_examples_do():
    key = jax.random.key(0)
    draws = [jax.random.uniform(local_key(key, np.array([i, 5]))) for i in (1, 2)]
    assert draws[0] != draws[1]


@pytest.mark.parametrize("name", sorted(DEFENSES))
def test_every_defense_keeps_memory_and_gives_finite_gradients(name):
    noisy = {
        "adv_bnn": AdvBnn(network=Normed()),
        "learn2perturb": Learn2Perturb(network=MODELS["resnet20"](depth=8, width=2)),
    }
    params, state, batch = setup(noisy.get(name, Normed()))
    make = DEFENSES[name]
    attack = Ascent(Linf(EPS), steps=1, rel_step_size=0.5, keep="last")
    defense = make((attack,)) if "attacks" in make.__dataclass_fields__ else make()
    state.memory = defense.init(SHAPE, 100)

    def value(params, batch):
        return defense.loss(params, state, batch, jax.random.key(0))

    # As one device among one: defenses that remember exchange what they do.
    devices = jax.vmap(
        jax.value_and_grad(value, has_aux=True), (None, 0), axis_name=parallel.AXIS
    )
    (loss, out), grads = jax.jit(devices)(
        params, jax.tree.map(lambda rows: rows[None], batch)
    )
    structures = [jax.tree.structure(t) for t in (out.memory, state.memory)]
    assert structures[0] == structures[1]
    for leaf in jax.tree.leaves((loss, grads, out.metrics)):
        assert np.isfinite(leaf).all()
    assert any(np.any(leaf) for leaf in jax.tree.leaves(grads))


def test_wrong_attacks_are_told():
    attack = Fgsm(Linf(EPS))
    with pytest.raises(UsageError, match=r"needs an attack; set config\.attack"):
        Adversarial(())
    with pytest.raises(UsageError, match="exactly one attack, not 2"):
        Trades((attack, attack))
    with pytest.raises(UsageError, match=r"mode is 'mean'; allowed: 'random'"):
        Adversarial((attack,), mode="mean")
    with pytest.raises(UsageError, match="both 0"):
        Adversarial((attack,), alpha=0.0, beta=0.0)


# Perceptual adversarial training ----------------------------------------------------


def fast_lpa(network=None):
    threat = LpipsBall(0.3, network)
    return FastLpa(threat, steps=2)


def compiled(defense, state):
    return jax.jit(
        lambda params, batch, key: defense.loss(params, state, batch, key)[0]
    )


@pytest.mark.parametrize("bounded", ["self", "external"])
def test_pat_trains_on_what_fast_lpa_returns(bounded):
    """And differs from training on clean images by exactly that."""
    external = nets.conv(SHAPE) if bounded == "external" else None
    params, state, batch = setup(nets.ConvNet(CLASSES))
    defense = Adversarial((fast_lpa(external),))
    key = jax.random.key(0)
    loss = compiled(defense, state)(params, batch, key)
    model = state.network.classifier(params, state.batch_stats)
    draw_key, craft_key = jax.random.split(jax.random.split(key)[0])
    del draw_key
    own = jax.random.fold_in(craft_key, 0)
    images = jax.jit(craft)(
        defense.attacks[0], model, own, batch["image"], batch["label"], ids=batch["id"]
    ).image
    assert np.max(np.abs(images - batch["image"])) > 0.01
    logits, _ = state.network.train(params, state.batch_stats, images, key, batch["id"])
    want = np.mean(
        [cross_entropy(z, y) for z, y in zip(logits, batch["label"], strict=True)]
    )
    assert np.isclose(loss, want, rtol=1e-3)


def test_pat_can_leave_wrong_images_clean():
    """Where every image is wrong, it is clean training."""
    params, state, batch = setup(nets.ConvNet(CLASSES))
    model = state.network.classifier(params, state.batch_stats)
    right = nets.predicted(model, batch["image"])
    batch["label"] = (right + 1) % CLASSES
    defense = Adversarial((fast_lpa(),), only_attack_correct=True)
    key = jax.random.key(0)
    loss = compiled(defense, state)(params, batch, key)
    clean = compiled(Clean(), state)(params, batch, key)
    assert np.isclose(loss, clean, rtol=1e-5)


def test_the_external_network_is_an_argument_and_gets_no_gradient():
    """Other weights of it change the loss without another compilation."""
    params, state, batch = setup(nets.ConvNet(CLASSES))
    traced = []

    @jax.jit
    def loss(params, defense, batch):
        traced.append(1)
        return defense.loss(params, state, batch, jax.random.key(0))[0]

    values = [
        loss(params, Adversarial((fast_lpa(nets.conv(SHAPE, seed=seed)),)), batch)
        for seed in (0, 1)
    ]
    assert len(traced) == 1 and values[0] != values[1]
    defense = Adversarial((fast_lpa(nets.conv(SHAPE)),))
    grads = jax.grad(loss, argnums=1, allow_int=True)(params, defense, batch)
    floats = [g for g in jax.tree.leaves(grads) if jnp.issubdtype(g.dtype, np.floating)]
    assert floats and all(np.all(g == 0) for g in floats)
