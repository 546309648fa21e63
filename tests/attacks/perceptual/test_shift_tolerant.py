"""Attacks and training bounded in the shift-tolerant networks, with small weights."""

import types

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxadv.attacks import FastLpa, Lpa, Ppgd
from jaxadv.classifier import Classifier
from jaxadv.craft import craft
from jaxadv.defenses import Adversarial
from jaxadv.defenses.base import Network
from jaxadv.perceptual import Lpips, jacobian
from jaxadv.threats import LpipsBall
from tests import nets
from tests.models.references import build, random_variables

NETS = ("stlpips_alexnet", "stlpips_vgg16")
SHAPE = (21, 22, 3)
EPS = 0.3
ATTACKS = {
    "fast_lpa": FastLpa(LpipsBall(EPS), steps=3, project=True),
    "lpa": Lpa(LpipsBall(EPS), rounds=2, round_steps=2),
    "ppgd": Ppgd(LpipsBall(EPS), steps=3),
}


def parts(net):
    module = build(net, width=2, trunk=True)
    return module, random_variables(module, (1, *SHAPE))


def network(net):
    return Classifier.from_linen(*parts(net), mean=0.45, std=0.22)


def exact(net):
    """The same network in float64."""
    module, variables = parts(net)
    module = module.clone(compute_dtype=jnp.float64)

    def taps(variables, image, key):
        _, state = module.apply(variables, image[None], mutable=["features"])
        return tuple(tap[0] for tap in state["features"]["taps"])

    def logits(variables, image, key):
        return jnp.zeros(2)

    variables = jax.tree.map(lambda leaf: np.asarray(leaf, np.float64), variables)
    return Classifier.from_function(logits, variables, 0.45, 0.22, features=taps)


@jax.jit
def derivatives(metric, image, v, u, h=1e-6):
    """J v, its central difference quotient, J^T u and J^T J v."""
    near = jacobian.linearize(metric.embed, image)
    quotient = (metric.embed(image + h * v) - metric.embed(image - h * v)) / (2 * h)
    return near.push(v), quotient, near.pull(u), near.gram(v)


@pytest.mark.parametrize("net", NETS)
def test_derivatives_are_those_of_finite_differences(net):
    rng = np.random.default_rng(0)
    with jax.enable_x64(True):
        metric = Lpips(exact(net))
        image, v = rng.uniform(0.2, 0.8, SHAPE), rng.normal(size=SHAPE)
        u = rng.normal(size=jax.eval_shape(metric.embed, image).shape)
        pushed, quotient, pulled, gram = derivatives(metric, image, v, u)
        assert pushed.dtype == np.float64 and np.abs(quotient).max() > 0.1
        np.testing.assert_allclose(pushed, quotient, atol=1e-5)
        assert np.isclose(np.sum(pushed * u), np.sum(v * pulled), rtol=1e-9)
        assert np.isclose(np.sum(v * gram), np.sum(pushed**2), rtol=1e-9)


@pytest.mark.parametrize("net", NETS)
def test_products_are_finite_on_flat_and_saturated_images(net):
    rng = np.random.default_rng(1)
    model, v = network(net), np.float32(rng.normal(size=SHAPE))
    images = [np.zeros(SHAPE), np.ones(SHAPE), np.full(SHAPE, 0.5)]
    images.append(rng.integers(0, 2, SHAPE))

    @jax.jit
    def gram(metric, image):
        near = jacobian.linearize(metric.embed, image)
        return near.gram(v), jacobian.steepest(near, v, 5)

    for image in images:
        product, direction = gram(Lpips(model), np.float32(image))
        assert np.all(np.isfinite(product)) and np.any(product != 0)
        assert np.isclose(np.linalg.norm(direction), 1, atol=1e-4)


@pytest.mark.parametrize(
    ("net", "name"), [*((NETS[0], name) for name in ATTACKS), (NETS[1], "fast_lpa")]
)
def test_attacks_stay_in_the_ball_and_break_networks(net, name):
    victim = nets.conv(SHAPE)
    images, _ = nets.batch(6, SHAPE)
    images = 0.6 * images + 0.2
    labels = nets.predicted(victim, images)
    external = network(net)
    attack = ATTACKS[name]
    attack = attack.replace(threat=attack.threat.replace(network=external))
    got = jax.jit(craft)(attack, victim, jax.random.key(0), images, labels)
    measured = jax.jit(jax.vmap(Lpips.__call__, in_axes=(None, 0, 0)))
    again = measured(Lpips(external), images, got.image)
    np.testing.assert_allclose(again, got.size, atol=1e-5)
    assert np.all(again <= EPS) and np.mean(again) > 0.1
    assert np.mean(got.success) >= 0.5


def test_training_takes_them_as_the_external_network():
    module = nets.ConvNet(3)
    inner = Network(module, (0.5,), (0.25,))
    params, batch_stats = inner.init(jax.random.key(1), SHAPE)
    images, labels = nets.batch(4, SHAPE, classes=3)
    batch = {"image": images, "label": labels, "id": np.arange(4, dtype=np.int32)}
    state = types.SimpleNamespace(
        network=inner, batch_stats=batch_stats, memory=(), step=0, examples=4,
        steps_per_epoch=1,
    )  # fmt: skip

    @jax.jit
    def loss(params, threat):
        defense = Adversarial((FastLpa(threat, steps=2),))
        return defense.loss(params, state, batch, jax.random.key(0))[0]

    small, large = (LpipsBall(eps, network(NETS[0])) for eps in (0.01, 0.5))
    value, grads = jax.value_and_grad(loss)(params, large)
    leaves = jax.tree.leaves(grads)
    assert all(np.all(np.isfinite(g)) for g in leaves) and any(map(np.any, leaves))
    assert value > loss(params, small)
