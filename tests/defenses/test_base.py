"""What defenses share: memory of single examples, and the network under attack."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import linen as nn

from jaxadv import parallel
from jaxadv.attacks import Ascent
from jaxadv.craft import craft
from jaxadv.defenses import base
from jaxadv.specs import UsageError
from jaxadv.threats import L2
from tests.training.small import CLASSES, SHAPE, Small


def on(count, function, *arguments):
    """`function` mapped over `count` devices, which must agree on what it gives."""
    arguments = [
        jax.tree.map(lambda x: x.reshape(count, -1, *x.shape[1:]), a) for a in arguments
    ]
    mapped = jax.pmap(function, axis_name=parallel.AXIS, devices=jax.devices()[:count])
    found = jax.device_get(mapped(*arguments))
    for replica in range(count):
        jax.tree.map(
            lambda x, k=replica: np.testing.assert_array_equal(x[k], x[0]), found
        )
    return jax.tree.map(lambda x: x[0], found)


@pytest.mark.parametrize("devices", [1, 2])
def test_rows_are_written_at_their_ids_and_padding_nowhere(devices):
    memory = {"eps": jnp.zeros(5), "seen": jnp.full((5, 2), 7.0)}
    ids = np.array([3, -1, 0, -1], np.int32)
    rows = {"eps": np.arange(1.0, 5.0), "seen": np.arange(8.0).reshape(4, 2)}
    found = on(devices, functools.partial(base.remember, memory), ids, rows)
    np.testing.assert_array_equal(found["eps"], [3, 0, 0, 1, 0])
    np.testing.assert_array_equal(
        found["seen"], [[4, 5], [7, 7], [7, 7], [0, 1], [7, 7]]
    )


class Normed(nn.Module):
    """Two convolutions with batch normalization, linear but for it."""

    own: bool = False

    @nn.compact
    def __call__(self, images, train=False):
        x = nn.Conv(3, (3, 3))(images)
        if self.own:
            mean = self.variable("batch_stats", "mean", lambda: jnp.zeros(3))
            x = x - mean.value
        else:
            x = nn.BatchNorm(use_running_average=not train, momentum=0.9)(x)
        return nn.Dense(CLASSES)(nn.tanh(x).reshape(len(x), -1))


@pytest.fixture(scope="module")
def made():
    network = base.Network(Normed(), (0.3,), (0.5,), craft_bn="batch")
    params, stats = network.init(jax.random.key(0), SHAPE)
    params = jax.tree.map(
        lambda x: x + 0.1 * jax.random.normal(jax.random.key(1), x.shape), params
    )
    images = jax.random.uniform(jax.random.key(2), (6, *SHAPE))
    return network, params, stats, images, jnp.arange(6) % CLASSES


def test_the_target_has_the_logits_of_train_mode(made):
    network, params, stats, images, _ = made
    wanted, _ = network.train(params, stats, images, jax.random.key(0), jnp.arange(6))
    found = base.logits_of(network.target(params, stats), images)
    np.testing.assert_allclose(found, wanted, atol=2e-6)
    average = base.logits_of(network.classifier(params, stats), images)
    assert np.max(np.abs(average - wanted)) > 0.1


def test_attacks_climb_the_sum_of_the_losses_through_the_statistics(made):
    """One l2 step per image is along the gradient of the whole batch's loss."""
    network, params, stats, images, labels = made

    def total(images):
        logits, _ = network.train(
            params, stats, images, jax.random.key(0), jnp.arange(6)
        )
        return jnp.sum(base.cross_entropies(logits, labels))

    eps = 1e-3
    attack = Ascent(
        L2(eps), steps=1, rel_step_size=1.0, random_start=False, keep="last"
    )
    inside = 0.1 + 0.8 * images
    grad = jax.grad(total)(inside)
    unit = grad / jnp.sqrt(jnp.sum(grad**2, axis=(1, 2, 3), keepdims=True))
    target = network.target(params, stats)
    found = jax.jit(craft)(attack, target, jax.random.key(0), inside, labels)
    np.testing.assert_allclose((found.image - inside) / eps, unit, atol=1e-3)
    # Without what goes through the statistics the direction is another one.
    alone = jax.vmap(
        jax.grad(lambda x, y: base.cross_entropies(target(x)[None], y[None])[0])
    )
    with pytest.raises(NameError):  # outside the drivers there is no batch
        alone(inside, labels)


def test_running_averages_are_untouched_and_average_is_the_default(made):
    network, params, stats, images, _ = made
    plain = base.Network(Normed(), (0.3,), (0.5,))
    found = base.logits_of(plain.target(params, stats), images)
    wanted = jax.vmap(network.classifier(params, stats))(images)
    np.testing.assert_allclose(found, wanted, atol=1e-6)


def test_other_kinds_of_batch_statistics_are_told(made):
    images = made[3]
    network = base.Network(Normed(own=True), craft_bn="batch")
    params, stats = network.init(jax.random.key(0), SHAPE)
    with pytest.raises(UsageError, match="no BatchNorm of flax.linen"):
        base.logits_of(network.target(params, stats), images)
    free = base.Network(Small(), craft_bn="batch")  # it has none at all
    params, stats = free.init(jax.random.key(0), SHAPE)
    found = base.logits_of(free.target(params, stats), images)
    wanted = jax.vmap(free.classifier(params, stats))(images)
    np.testing.assert_allclose(found, wanted, atol=1e-6)
