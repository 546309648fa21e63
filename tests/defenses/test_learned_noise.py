"""Learn2Perturb and Adv-BNN against numbers worked out by hand."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import linen as nn

from jaxadv import mapped, parallel
from jaxadv.attacks import Ascent
from jaxadv.defenses import AdvBnn, Adversarial, Learn2Perturb
from jaxadv.defenses.base import cross_entropies
from jaxadv.defenses.learn2perturb import harmonic
from jaxadv.models.layers import site
from jaxadv.models.noisy import adv_bnn, learn2perturb, pni
from jaxadv.specs import UsageError
from jaxadv.threats import Linf
from jaxadv.training import state as train_state
from jaxadv.training.optim import Optimizer
from tests.defenses.alone import evaluate
from tests.training.small import (
    CLASSES,
    SHAPE,
    Small,
    close,
    make_batch,
    make_state,
    on_devices,
)

PGD = Ascent(Linf(0.1), steps=2, rel_step_size=0.5, keep="last")


class Sited(nn.Module):
    """A linear layer with a place for noise."""

    num_classes: int = CLASSES

    @nn.compact
    def __call__(self, images, train=False):
        x = nn.Dense(4)(images.reshape(len(images), 1, 1, -1))
        x = nn.tanh(site(self, x))
        return nn.Dense(self.num_classes)(x[:, 0, 0])


class Constant(nn.Module):
    """Deviations that no logit depends on: only their penalty moves them."""

    num_classes: int = CLASSES
    eval_rngs = ("noise",)
    learns = "sigma"

    @nn.compact
    def __call__(self, images, train=False):
        self.param("weights", nn.initializers.ones, (2,))
        self.param("sigma", nn.initializers.constant(0.25), (3,))
        return jnp.zeros((len(images), self.num_classes))

    def penalty(self, params):
        return -jnp.sum(jnp.sqrt(params["sigma"]))


def noisy(kind, inner=None):
    make = {"l2p": learn2perturb.Learn2Perturb, "pni": pni.Pni, "bnn": adv_bnn.AdvBnn}
    inner = inner or (Sited() if kind == "l2p" else Small())
    return make[kind](network=inner, num_classes=CLASSES)


def floats():
    """A batch as a step hands it to a defense."""
    batch = make_batch()
    return {**batch, "image": batch["image"] / np.float32(255)}


def start(module, **fields):
    optimizer = Optimizer(learning_rate=0.1, **fields).make(0.1, (), module.learns)
    state = make_state(module=module, optimizer=optimizer)
    return state.replace(examples=50, steps_per_epoch=10**6)


# Learn2Perturb ----------------------------------------------------------------------


@pytest.mark.parametrize(
    ("alternate", "expected"),
    [(True, {1: 0.2500271, 2: 0.25006805, 391: 0.28738163}),
     (False, {1: 0.250019, 391: 0.28700959})],
)  # fmt: skip
def test_the_trajectories_of_a_deviation(alternate, expected):
    """No gradient but the penalty's: one step of both an iteration, or two."""
    module = Constant()
    state, batch = start(module, momentum=0.9, nesterov=True), make_batch()
    defense = Learn2Perturb((), alpha=1.0, beta=0.0, alternate=alternate)
    step = on_devices(train_state.make_step(seed=0), 1)
    for number in range(1, 392):
        state, _ = step(state, batch, defense)
        if number in expected:
            found = state.params["sigma"]
            np.testing.assert_allclose(found, expected[number], atol=2e-7)
    np.testing.assert_array_equal(state.params["weights"], 1.0)


def test_a_batch_in_parts_moves_the_noise_as_often():
    """The first two steps of the trajectory above."""
    state = start(Constant(), momentum=0.9, nesterov=True)
    defense = Learn2Perturb((), alpha=1.0, beta=0.0, alternate=True)
    step = on_devices(train_state.make_step(seed=0, accumulate_steps=2), 1)
    for expected in (0.2500271, 0.25006805):
        state, _ = step(state, make_batch(), defense)
        np.testing.assert_allclose(state.params["sigma"], expected, atol=2e-7)


def test_tau_counts_the_epochs_with_noise():
    numbers = {1: 1.0, 2: 1.5, 10: 2.928968, 340: 6.407631}
    found = harmonic(jnp.array(list(numbers)))
    np.testing.assert_allclose(found, list(numbers.values()), rtol=1e-6)
    module = Constant()
    state = start(module).replace(steps_per_epoch=5)
    defense = Learn2Perturb((), alpha=1.0, beta=0.0, gamma=1.0, since=10)
    one = 3 * 0.5
    for step, tau in ((0, 1.0), (50, 1.0), (54, 1.0), (55, 1.5), (95, 2.928968)):
        later = state.replace(step=jnp.int32(step))
        loss, _, _ = evaluate(defense, state.params, later, floats())
        np.testing.assert_allclose(np.log(CLASSES) - loss, one / tau, rtol=1e-3)


def test_where_loss_and_penalty_are_in_balance():
    """For E (w (x + sigma e) - t)^2 / 2 it is (gamma / (2 tau w^2))^(2/3)."""
    gamma, tau, w = 1e-2, 1.5, 0.7
    sigma = jnp.array((gamma / (2 * tau * w**2)) ** (2 / 3))
    module = learn2perturb.Learn2Perturb()
    slope = jax.grad(module.penalty)({"sigma": {"site": sigma}})["sigma"]["site"]
    np.testing.assert_allclose(sigma * w**2, -gamma / tau * slope, rtol=1e-5)


def test_the_loss_is_its_two_passes_and_the_penalty():
    module = noisy("l2p")
    state, batch = start(module), floats()
    key, other = jax.random.key(0), {"alpha": 0.3, "beta": 0.7, "gamma": 1e-2}
    loss, out, _ = evaluate(Learn2Perturb((PGD,), **other), state.params, state, batch)
    images = batch["image"]
    _, first, second = jax.random.split(key, 3)

    def passed(images, key):
        return state.network.train(state.params, {}, images, key, batch["id"])[0]

    clean = np.mean(cross_entropies(passed(images, first), batch["label"]))
    alone, _, _ = evaluate(
        Learn2Perturb((), alpha=1.0, beta=0.0, gamma=0.0), state.params, state, batch
    )
    np.testing.assert_allclose(alone, clean, rtol=1e-5)
    attacked = (loss - 0.3 * clean - 1e-2 * module.penalty(state.params)) / 0.7
    near = np.mean(cross_entropies(passed(images, second), batch["label"]))
    assert near < attacked < near + 2.0
    assert set(out.metrics) >= {"clean_accuracy", "robust_accuracy", "noise"}
    np.testing.assert_allclose(out.metrics["noise"], 0.25, rtol=1e-6)


def test_a_phase_without_noise_has_none_and_leaves_the_deviations():
    module = noisy("l2p")
    state, batch = start(module), floats()
    defense = Learn2Perturb((), alpha=1.0, beta=0.0, noisy=False)
    loss, _, grads = evaluate(defense, state.params, state, batch)
    inside = Sited().apply({"params": state.params["weights"]}, batch["image"])
    np.testing.assert_allclose(
        loss, np.mean(cross_entropies(inside, batch["label"])), rtol=1e-5
    )
    assert not np.any(jax.tree.leaves(grads["sigma"])[0])
    assert np.any(jax.tree.leaves(grads["weights"])[0])


@pytest.mark.parametrize("defense", [Learn2Perturb, Adversarial])
def test_predicted_labels_are_attacked_in_place_of_true_ones(defense):
    """With predictions as labels that changes nothing, with others it does."""
    module = noisy("l2p", Sited())
    state, batch = start(module), floats()
    silent = module.silent(state.params)
    images = batch["image"]
    logits = Sited().apply({"params": silent["weights"]}, images)
    right = {**batch, "label": np.argmax(logits, -1).astype(np.int32)}
    wrong = {**batch, "label": ((right["label"] + 1) % CLASSES).astype(np.int32)}
    fields = {"alpha": 0.0, "beta": 1.0}

    def loss(batch, predicted):
        one = defense((PGD,), predicted=predicted, **fields)
        if defense is Learn2Perturb:
            one = one.replace(gamma=0.0)
        return evaluate(one, silent, state, batch)[0]

    np.testing.assert_allclose(loss(right, True), loss(right, False), rtol=1e-5)
    assert abs(loss(wrong, True) - loss(wrong, False)) > 1e-3


def test_what_cannot_be_trained_so_is_refused():
    state, batch = make_state(), floats()
    for defense, remedy in (
        (Learn2Perturb((), alpha=1.0, beta=0.0), "config.model to learn2perturb"),
        (AdvBnn((PGD,)), "config.model to adv_bnn"),
    ):
        with pytest.raises(UsageError, match=remedy):
            evaluate(defense, state.params, state, batch)
    for kind, defense, remedy in (
        ("bnn", Learn2Perturb((), alpha=1.0, beta=0.0), "to learn2perturb"),
        ("l2p", AdvBnn((PGD,)), "to adv_bnn"),
    ):
        state = start(noisy(kind))
        with pytest.raises(UsageError, match=remedy):
            evaluate(defense, state.params, state, batch)
    with pytest.raises(UsageError, match="needs exactly one attack"):
        Learn2Perturb(())
    with pytest.raises(UsageError, match="alpha and beta are both 0"):
        Learn2Perturb((), alpha=0.0, beta=0.0)


# Adv-BNN ----------------------------------------------------------------------------


def test_the_divergence_weighs_as_one_of_all_examples():
    module = noisy("bnn")
    state, batch = start(module), floats()
    small, large = (
        evaluate(AdvBnn((PGD,), alpha=a), state.params, state, batch)[0]
        for a in (0.0, 2.0)
    )
    wanted = 2.0 / 50 * module.penalty(state.params)
    np.testing.assert_allclose(large - small, wanted, rtol=1e-5)


# Devices ----------------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["l2p", "pni", "bnn"])
def test_one_two_and_eight_devices_have_the_same_noise(kind):
    module, batch = noisy(kind), make_batch()
    defense = {
        "l2p": Learn2Perturb((PGD,)),
        "pni": Adversarial((PGD,), predicted=True),
        "bnn": AdvBnn((PGD,)),
    }[kind]
    found = []
    for count in (1, 2, 8):
        state = start(module)
        step = on_devices(train_state.make_step(seed=3), count)
        for _ in range(2):
            state, _ = step(state, batch, defense)
        found.append(state.params)
    close(found[0], found[1], 2e-5)
    close(found[0], found[2], 2e-5)


@pytest.mark.parametrize("typed", [False, True])
def test_the_shared_key_is_one_and_changes_with_any(typed):
    keys = jax.vmap(jax.random.key)(jnp.arange(8))
    data = jax.random.key_data(keys)

    def one(data):
        key = jax.random.wrap_key_data(data) if typed else data
        found = mapped.shared(key)
        return jax.random.key_data(found) if typed else found

    def shared(data, devices):
        run = jax.pmap(jax.vmap(one, axis_name=mapped.IMAGES), axis_name=parallel.AXIS)
        found = np.asarray(run(data.reshape(devices, 8 // devices, -1)))
        return found.reshape(8, -1)

    found = shared(data, 4)
    np.testing.assert_array_equal(found, np.repeat(found[:1], 8, 0))
    np.testing.assert_array_equal(found, shared(data, 1))
    np.testing.assert_array_equal(found[0], np.sum(data, 0, dtype=np.uint32))
    last = data.at[7].set(jax.random.key_data(jax.random.key(99)))
    assert np.any(shared(last, 4) != found)


def test_weights_are_drawn_once_for_all_images_of_an_attack_step():
    """Else each image has kernels of its own, which takes many times as long."""
    module = noisy("pni")
    state, batch = start(module), make_batch(8)
    images = jnp.broadcast_to(batch["image"][:1] / 255.0, (8, *SHAPE))
    keys = jax.random.key_data(jax.vmap(jax.random.key)(jnp.arange(8)))

    def logits(model):
        def run(images, keys):
            return jax.vmap(model, axis_name=mapped.IMAGES)(images, keys)

        return np.asarray(
            jax.vmap(run, axis_name=parallel.AXIS)(images[None], keys[None])[0]
        )

    shared = logits(state.network.target(state.params, {}))
    own = logits(state.network.classifier(state.params, {}))
    np.testing.assert_allclose(shared, np.repeat(shared[:1], 8, 0), atol=1e-6)
    assert np.min(np.std(own, 0)) > 1e-3
