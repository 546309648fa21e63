"""Training for smoothing: its noise, its attack and its losses, by other means."""

import importlib

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import special

from jaxadv.attacks.gradient.ascent import Ascent
from jaxadv.classifier import Classifier
from jaxadv.craft import craft
from jaxadv.craft.base import draws_key, example_key
from jaxadv.defenses import Gaussian, Macer, SmoothAdv
from jaxadv.evaluation import certificates
from jaxadv.objectives import CrossEntropy, FixedDraws
from jaxadv.smoothing import copies
from jaxadv.specs import UsageError, plain
from jaxadv.threats import L2
from jaxadv.training import settings
from tests.defenses.alone import evaluate, trained
from tests.defenses.test_defenses import entropies, logits_of, setup
from tests.paths import ROOT

SIGMA, EPS = 0.3, 0.7


def pgd(**fields):
    given = {"steps": 1, "rel_step_size": 1.0, "random_start": False, "keep": "last"}
    return Ascent(L2(EPS), **(given | fields))


def noise_keys(key, ids, restart=None):
    """What each image's noise is drawn with, in a defense that is called with `key`."""
    first, _ = jax.random.split(jax.random.key(key))
    own = [example_key(first, int(i)) for i in ids]
    return own if restart is None else [draws_key(k, restart) for k in own]


@pytest.mark.parametrize("samples", [1, 3])
def test_gaussian_is_the_cross_entropy_of_noisy_copies(samples):
    params, state, batch = setup()
    defense = Gaussian(sigma=SIGMA, samples=samples)
    loss, out, _ = evaluate(defense, params, state, batch, key=5)
    keys = noise_keys(5, batch["id"])
    noised = [
        copies(k, x, SIGMA, samples) for k, x in zip(keys, batch["image"], strict=True)
    ]
    expected = [
        entropies(params, one, np.full(samples, y))
        for one, y in zip(noised, batch["label"], strict=True)
    ]
    np.testing.assert_allclose(loss, np.mean(expected), rtol=1e-5)
    hits = [
        np.argmax(logits_of(params, one), -1) == y
        for one, y in zip(noised, batch["label"], strict=True)
    ]
    np.testing.assert_allclose(out.metrics["noisy_accuracy"], np.mean(hits), rtol=1e-6)


def mean_loss(params, image, label, noise):
    """Minus the log of the mean probability over fixed noise [m, h, w, c]."""
    p = jax.nn.softmax(logits_of(params, image + noise), axis=-1)
    return -jnp.log(jnp.mean(p[:, label]))


@pytest.mark.parametrize("warm_up, ramp", [(0, 1.0), (4, 0.25)])
def test_smooth_adv_attacks_and_learns_with_the_same_noise(warm_up, ramp):
    params, state, batch = setup()
    defense = SmoothAdv((pgd(),), sigma=SIGMA, samples=3, warm_up=warm_up)
    loss, _, _ = evaluate(defense, params, state, batch, key=5)
    keys, losses = noise_keys(5, batch["id"], restart=0), []
    for key, image, label in zip(keys, batch["image"], batch["label"], strict=True):
        noise = copies(key, jnp.zeros_like(image), SIGMA, 3)
        grad = jax.grad(mean_loss, argnums=1)(params, image, label, noise)
        moved = image + ramp * EPS * grad / jnp.linalg.norm(grad)
        moved = jnp.clip(moved, 0, 1)
        losses.append(entropies(params, moved + noise, np.full(3, label)))
    np.testing.assert_allclose(loss, np.mean(losses), rtol=1e-4)


def test_the_noise_of_smooth_adv_is_the_same_at_all_steps():
    seen = []

    def watched(variables, image, key):
        jax.debug.callback(lambda k: seen.append(np.asarray(k)), key)
        return jnp.stack([image.sum(), -image.sum()])

    model = Classifier.from_function(watched, None)
    attack = pgd(steps=4, objective=FixedDraws(CrossEntropy()))
    images, labels = jnp.full((1, 2, 2, 1), 0.5), jnp.array([0])
    jax.block_until_ready(craft(attack, model, jax.random.key(0), images, labels))
    jax.effects_barrier()
    steps = {tuple(k.ravel()) for k in seen}
    assert len(steps) == 2  # that of the steps, and that of the verification
    attack = pgd(steps=4)
    seen.clear()
    jax.block_until_ready(craft(attack, model, jax.random.key(0), images, labels))
    jax.effects_barrier()
    assert len({tuple(k.ravel()) for k in seen}) >= 4


def test_the_ramp_ends_at_one():
    defense = SmoothAdv((pgd(),), warm_up=10)
    found = [float(defense.ramp(step)) for step in (0, 4, 9, 100)]
    np.testing.assert_allclose(found, [0.1, 0.5, 1.0, 1.0])


def test_macer_s_radius_loss_worked_out_by_hand():
    macer = Macer()
    found = macer.lam * macer.radius_loss(0.8, 0.15, jnp.array(True))
    np.testing.assert_allclose(found, 9.182918, rtol=1e-6)
    assert float(macer.radius_loss(0.8, 0.15, jnp.array(False))) == 0
    assert float(Macer(gamma=1.0).radius_loss(0.8, 0.15, jnp.array(True))) == 0


def test_macer_is_its_formula_in_float64():
    rng = np.random.default_rng(0)
    logits, macer = rng.normal(size=(6, 4)), Macer(samples=6, beta=2.0, sigma=0.5)

    def softmax(z):
        return np.exp(z) / np.exp(z).sum(-1, keepdims=True)

    with jax.enable_x64(True):
        for label in range(4):
            found = macer.parts(jnp.asarray(logits), label)
            q = softmax(2.0 * logits).mean(0)
            second = np.delete(q, label).max()
            r = special.ndtri(q[label]) - special.ndtri(second)
            expected = 0.25 * (8.0 - r) if q[label] > second else 0.0
            np.testing.assert_allclose(found[1], expected, rtol=1e-10)
            first = -np.log(softmax(logits).mean(0)[label] + 1e-10)
            np.testing.assert_allclose(found[0], first, rtol=1e-10)
            assert bool(found[2]) == (q.argmax() == label)


@pytest.mark.parametrize("scale", [0.0, 1.0, 1e4])
def test_macer_has_a_gradient_where_probabilities_are_0_and_1(scale):
    logits = scale * jnp.array([[3.0, 1.0, 0.0], [2.0, 2.0, -1.0]])

    def total(z):
        loss, radius, _ = Macer().parts(z, 0)
        return loss + radius

    assert bool(jnp.all(jnp.isfinite(jax.grad(total)(logits))))


@pytest.mark.parametrize(
    "defense",
    [
        Gaussian(sigma=0.1),
        SmoothAdv((pgd(),), sigma=0.1, samples=2),
        Macer(sigma=0.1, samples=4, lam=1.0),
    ],
)
def test_training_learns_and_devices_agree(defense):
    losses, state = trained(defense, 12)
    assert losses[-1] < losses[0]
    _, other = trained(defense, 12, devices=8)
    for a, b in zip(*map(jax.tree.leaves, (state.params, other.params)), strict=True):
        np.testing.assert_allclose(np.asarray(a), np.asarray(b), atol=1e-4)


def test_smooth_adv_needs_one_attack_with_an_eps():
    with pytest.raises(UsageError, match="exactly one attack"):
        SmoothAdv(())
    with pytest.raises(UsageError, match="sigma"):
        Gaussian(sigma=-1.0)


@pytest.mark.parametrize("path", sorted((ROOT / "configs/dual").glob("[a-z]*.py")))
def test_every_config_is_a_plan_and_those_of_noise_are_certified_at_theirs(path):
    module = importlib.import_module(f"configs.dual.{path.stem}")
    training = module.get_config()
    assert settings.plan(training)
    assert path.name in (path.parent / "README.md").read_text("utf-8")
    if "sigma" in training.defense:
        full = certificates.resolve({}, plain(training))
        assert full["smoothing"]["sigma"] == training.defense.sigma > 0
