"""Training of one step that does not collapse: N-FGSM and GradAlign."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxadv.attacks.gradient.ascent import Ascent
from jaxadv.attacks.gradient.fgsm import Fgsm
from jaxadv.defenses.grad_align import GradAlign
from jaxadv.defenses.n_fgsm import NFgsm
from jaxadv.specs import UsageError
from jaxadv.threats.lp import L2, Linf
from tests.defenses.alone import evaluate, trained
from tests.training.small import Small, make_batch, make_state

EPS = 0.05


def setup(defense, module=None):
    state, batch = make_state(module, defense), make_batch()
    return state, {**batch, "image": batch["image"].astype(np.float32) / 255}


def cross_entropy(params, images, labels):
    log_p = jax.nn.log_softmax(Small().apply({"params": params}, images))
    return -log_p[jnp.arange(len(labels)), labels]


def input_gradient(params, images, labels):
    return jax.grad(lambda x: jnp.sum(cross_entropy(params, x, labels)))(images)


def test_a_step_from_noise_is_not_cut_back_to_the_ball():
    """Less the step, what is left is noise; the step is the sign of its gradient."""
    defense = NFgsm((Fgsm(Linf(EPS)),), noise=2.0, step=1.5)
    state, batch = setup(defense)
    batch["image"] = 0.4 + 0.2 * batch["image"]  # no pixel comes near 0 or 1
    found = defense.craft(state.params, state, batch, jax.random.key(1))
    moved = np.abs(found - batch["image"])
    assert np.max(moved) <= 3.5 * EPS + 1e-6 and np.mean(moved > EPS) > 0.5
    # The noise alone is uniform in twice the ball, the same for an image anywhere.
    still = defense.replace(step=1e-6).craft(
        state.params, state, batch, jax.random.key(1)
    )
    noise = (still - batch["image"]) / EPS
    assert np.max(np.abs(noise)) <= 2 + 1e-4
    assert abs(np.mean(np.square(noise)) - 4 / 3) < 0.15 and abs(np.mean(noise)) < 0.15
    grad = input_gradient(state.params, still, batch["label"])
    np.testing.assert_allclose(found, still + 1.5 * EPS * np.sign(grad), atol=2e-6)
    turned = {k: v[::-1] for k, v in batch.items()}
    again = defense.craft(state.params, state, turned, jax.random.key(1))
    np.testing.assert_allclose(again[::-1], found, atol=1e-6)


def test_images_stay_in_the_box():
    defense = NFgsm((Fgsm(Linf(0.5)),))
    state, batch = setup(defense)
    found = defense.craft(state.params, state, batch, jax.random.key(1))
    assert np.min(found) >= 0 and np.max(found) <= 1


def test_the_term_is_one_less_the_cosine_of_two_gradients():
    """The second point is inside the ball; the loss is that of attacked images."""
    defense = GradAlign((Fgsm(Linf(EPS)),), lam=0.7)
    state, batch = setup(defense)
    loss, out, grads = evaluate(defense, state.params, state, batch)
    plain, _, _ = evaluate(defense.replace(lam=0.0), state.params, state, batch)
    cosine = out.metrics["gradient_cosine"]
    np.testing.assert_allclose(loss, plain + 0.7 * (1 - cosine), rtol=1e-5)
    assert 0.5 < cosine < 1
    adversarial = batch["image"] + EPS * np.sign(
        input_gradient(state.params, batch["image"], batch["label"])
    )
    by_hand = jnp.mean(
        cross_entropy(state.params, jnp.clip(adversarial, 0, 1), batch["label"])
    )
    np.testing.assert_allclose(plain, by_hand, rtol=1e-5)
    assert all(np.all(np.isfinite(g)) for g in jax.tree.leaves(grads))


def test_the_gradient_of_the_term_is_its_difference_quotient():
    """The weights move both gradients; attacked images are held where they are."""
    defense = GradAlign((Fgsm(Linf(EPS)),), lam=3.0)
    state, batch = setup(defense)
    key = jax.random.key(0)
    crafted = defense.craft(state.params, state, batch, key)

    def loss(params):
        return defense.loss(params, state, batch, key, crafted)[0]

    rng = np.random.default_rng(0)
    way = jax.tree.map(
        lambda x: rng.normal(size=x.shape).astype(np.float32), state.params
    )
    along = sum(
        np.sum(g * w)
        for g, w in zip(
            jax.tree.leaves(jax.grad(loss)(state.params)),
            jax.tree.leaves(way),
            strict=True,
        )
    )
    h = 1e-2
    ends = [
        jax.tree.map(lambda x, w, s=s: x + s * h * w, state.params, way)
        for s in (1, -1)
    ]
    quotient = (loss(ends[0]) - loss(ends[1])) / (2 * h)
    np.testing.assert_allclose(along, quotient, rtol=0.02)


def test_a_network_without_a_gradient_adds_nothing():
    defense = GradAlign((Fgsm(Linf(EPS)),))
    state, batch = setup(defense)
    params = jax.tree.map(np.zeros_like, state.params)
    loss, out, grads = evaluate(defense, params, state, batch)
    assert out.metrics["gradient_cosine"] == 1
    np.testing.assert_allclose(loss, np.log(3), rtol=1e-6)
    assert all(np.all(np.isfinite(g)) for g in jax.tree.leaves(grads))


@pytest.mark.parametrize("make", [NFgsm, GradAlign])
def test_devices_train_alike_and_the_loss_falls(make):
    defense = make((Fgsm(Linf(EPS)),))
    losses, state = trained(defense, 6)
    assert losses[-1] < losses[0]
    if make is NFgsm:  # the other one's gradients take the statistics of a device
        _, other = trained(defense, 6, devices=2)
        jax.tree.map(
            lambda a, b: np.testing.assert_allclose(a, b, atol=1e-5),
            state.params,
            other.params,
        )


@pytest.mark.parametrize("make", [NFgsm, GradAlign])
def test_other_balls_are_refused(make):
    with pytest.raises(UsageError, match="threat is a L2"):
        make((Fgsm(L2(0.5)),))
    with pytest.raises(UsageError, match="exactly one attack"):
        make(())
    assert make((Ascent(Linf(EPS), steps=1, rel_step_size=1.0),))
