"""Weight perturbation: a step by hand, on several devices, and where it is refused."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxadv import parallel, struct
from jaxadv.attacks.gradient.ascent import Ascent
from jaxadv.defenses import Adversarial, Clean, Mart, NFgsm, Trades
from jaxadv.defenses.base import Output
from jaxadv.specs import UsageError
from jaxadv.threats.lp import Linf
from jaxadv.training import settings
from jaxadv.training import state as train_state
from jaxadv.training.awp import Awp, perturbation
from jaxadv.training.optim import Optimizer
from tests.training.small import Small, close, make_batch, make_state, on_devices

RATE, GAMMA = 0.5, 0.1


@struct.dataclass
class Shifted:
    """Clean training on images that are moved by a number of the weights."""

    def init(self, image_shape, examples) -> Any:
        return ()

    def craft(self, params, state, batch, key):
        shift = jnp.sum(params["Dense_0"]["kernel"])
        return batch["image"] + jax.lax.stop_gradient(shift)

    def loss(self, params, state, batch, key, crafted=None):
        crafted = self.craft(params, state, batch, key) if crafted is None else crafted
        return loss_of(params, crafted, batch["label"]), Output({}, (), {})


def loss_of(params, images, labels):
    log_p = jax.nn.log_softmax(Small().apply({"params": params}, images))
    return -jnp.mean(log_p[jnp.arange(len(labels)), labels])


def by_hand(params, batch):
    """v and the weights after one step, in NumPy around the gradients."""
    images = batch["image"].astype(np.float32) / 255
    images = images + np.sum(params["Dense_0"]["kernel"])
    grad = jax.grad(loss_of)
    first = jax.device_get(grad(params, images, batch["label"]))
    moved = {}
    for layer, weights in params.items():
        kernel, g = weights["kernel"], first[layer]["kernel"]
        v = GAMMA * np.linalg.norm(kernel) * g / np.linalg.norm(g)
        moved[layer] = {"kernel": kernel + v, "bias": weights["bias"]}
    second = grad(moved, images, batch["label"])
    return jax.tree.map(lambda w, g: w - RATE * g, params, second)


def after(defense, awp, devices=1, steps=1, module=None):
    optimizer = Optimizer(momentum=0.0).make(RATE)
    state = make_state(module, defense, optimizer)
    state = state.replace(steps_per_epoch=2)
    step = on_devices(train_state.make_step(0, awp=awp), devices)
    for _ in range(steps):
        state, _ = step(state, make_batch(), defense)
    return state.params


def test_a_step_is_that_of_the_algorithm():
    """Images are attacked on the weights themselves, and these take the step."""
    state = make_state(optimizer=Optimizer(momentum=0.0).make(RATE))
    found = after(Shifted(), Awp(GAMMA))
    close(found, by_hand(state.params, make_batch()), 1e-5)
    with pytest.raises(AssertionError):
        close(found, after(Shifted(), None), 1e-3)


def test_devices_perturb_alike():
    attack = Ascent(Linf(0.1), steps=1, rel_step_size=0.5, keep="last")
    one, two = (after(Adversarial((attack,)), Awp(0.05), n, 2) for n in (1, 2))
    close(one, two, 1e-5)


def test_it_begins_after_some_epochs():
    """An epoch has two steps here."""
    late = Awp(GAMMA, after=1)
    found, plain = (after(Shifted(), awp, steps=2) for awp in (late, None))
    close(found, plain, 1e-5)
    found, plain = (after(Shifted(), awp, steps=3) for awp in (late, None))
    with pytest.raises(AssertionError):
        close(found, plain, 1e-3)


def test_a_kernel_without_a_gradient_stays():
    """With all weights 0 no gradient reaches either kernel."""
    params = jax.tree.map(np.zeros_like, make_state().params)
    images, labels = jnp.ones((2, 4, 4, 1)), jnp.array([0, 1])

    def moved(params):
        grads = jax.grad(loss_of)(params, images, labels)
        return perturbation(grads, params, 1.0)

    found = jax.vmap(moved, axis_name=parallel.AXIS, axis_size=1, in_axes=None)(params)
    assert all(np.all(leaf == 0) for leaf in jax.tree.leaves(found))


@pytest.mark.parametrize("make", [Adversarial, Trades, Mart, NFgsm])
def test_the_loss_takes_what_has_been_attacked(make):
    attack = Ascent(Linf(0.1), steps=1, rel_step_size=0.5, keep="last")
    defense = make((attack,))
    state, key = make_state(defense=defense), jax.random.key(3)
    batch = make_batch()
    batch["image"] = batch["image"].astype(np.float32) / 255
    crafted = defense.craft(state.params, state, batch, key)
    given, _ = defense.loss(state.params, state, batch, key, crafted)
    own, _ = defense.loss(state.params, state, batch, key)
    assert given == own
    other = jax.tree.map(jnp.zeros_like, crafted)
    assert defense.loss(state.params, state, batch, key, other)[0] != own


def test_defenses_that_do_not_attack_apart_are_refused(small_config):
    small_config.awp.gamma = 0.005
    assert settings.plan(small_config).awp == Awp(0.005)
    small_config.clean_epochs = 1  # a phase without an attack has no perturbation
    assert settings.plan(small_config).awp == Awp(0.005)
    small_config.defense = {"name": "threshold"}
    with pytest.raises(UsageError, match="config.awp.gamma is 0.005, but Threshold"):
        settings.plan(settings.complete(small_config))
    assert after(Clean(), Awp(0.1)).keys() == after(Clean(), None).keys()
