"""Universal adversarial training against a literal reference."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxadv import parallel
from jaxadv.attacks.gradient.fgsm import Fgsm
from jaxadv.defenses import Universal
from jaxadv.models.noisy.pni import Pni
from jaxadv.specs import UsageError
from jaxadv.threats.lp import L2, Linf
from jaxadv.training import state as train_state
from tests.defenses.test_defenses import SHAPE, entropies, setup
from tests.defenses.test_defenses_generalized import evaluate, gradient, pgd
from tests.training.small import (
    CLASSES,
    Small,
    close,
    make_batch,
    make_state,
    on_devices,
)


def slope(params, batch, delta):
    """The gradient of the mean loss under `delta`."""

    def mean(delta):
        return jnp.mean(entropies(params, batch["image"] + delta, batch["label"]))

    return np.asarray(jax.grad(mean)(jnp.float32(delta)))


@pytest.mark.parametrize(
    ("threat", "unit"),
    [
        (Linf(0.1), np.sign),
        (L2(0.3), lambda g: g / np.linalg.norm(g)),
    ],
)
def test_universal_delta_climbs_the_mean_loss_and_is_kept(threat, unit):
    params, state, batch = setup()
    defense = Universal((pgd(threat, steps=1, step_size=0.07),))
    state.memory = defense.init(SHAPE, 100)
    np.testing.assert_array_equal(state.memory, np.zeros(SHAPE))
    delta = np.zeros(SHAPE)
    for _ in range(3):
        expected = jnp.mean(entropies(params, batch["image"] + delta, batch["label"]))
        delta = delta + 0.07 * unit(slope(params, batch, delta))
        if threat.norm == "linf":
            delta = np.clip(delta, -0.1, 0.1)
        else:
            delta = delta * min(1, 0.3 / max(np.linalg.norm(delta), 1e-9))
        loss, out = evaluate(defense, params, state, batch)
        np.testing.assert_allclose(out.memory, delta, atol=1e-5)
        np.testing.assert_allclose(loss, expected, rtol=1e-4)
        state.memory = out.memory
    found = gradient(defense, params, state, batch)
    expected = jax.grad(
        lambda p: jnp.mean(entropies(p, batch["image"] + delta, batch["label"]))
    )(params)
    close(found, expected, 1e-4)


def test_universal_delta_is_one_for_all_devices_and_stays_in_its_ball():
    defense = Universal((pgd(L2(0.3), steps=2, step_size=None, rel_step_size=0.8),))
    ends = []
    for devices in (1, 8):
        state = make_state(defense=defense)
        step = on_devices(train_state.make_step(seed=3), devices)
        for i in range(3):
            state, _ = step(state, make_batch(seed=i), defense)
        ends.append(state)
    close(ends[0].memory, ends[1].memory, 1e-5)
    length = np.linalg.norm(np.asarray(ends[0].memory, np.float64))
    assert 0.2 < length <= 0.3 * (1 + 1e-6)
    state = parallel.replicate(make_state(defense=defense))
    step = parallel.mapped(train_state.make_step(seed=0))
    state, _ = step(state, parallel.shard(make_batch()), parallel.replicate(defense))
    parallel.assert_replicated(state)


def test_universal_steps_follow_the_schedule():
    params, state, batch = setup()
    attack = pgd(Linf(0.5), steps=2, step_size=0.04, schedule="linear")
    defense = Universal((attack,))
    state.memory = defense.init(SHAPE, 100)
    first = 0.04 * np.sign(slope(params, batch, np.zeros(SHAPE)))
    expected = first + 0.02 * np.sign(slope(params, batch, first))
    _, out = evaluate(defense, params, state, batch)
    np.testing.assert_allclose(out.memory, expected, atol=1e-6)


@pytest.mark.parametrize(
    ("attacks", "message"),
    [
        ((pgd(Linf(0.1)), pgd(L2(0.2))), "exactly one attack, not 2"),
        ((Fgsm(Linf(0.1)),), "must be 'pgd' with the threat"),
    ],
)
def test_mistakes_are_told(attacks, message):
    with pytest.raises(UsageError, match=message):
        Universal(attacks)


def test_universal_training_takes_the_statistics_and_the_noise_of_the_batch():
    """It maps images under the axis that batch statistics and shared noise ask for."""
    module = Pni(network=Small(norm=True), num_classes=CLASSES)
    defense = Universal((pgd(Linf(0.1), steps=1, step_size=0.07),))
    state = make_state(module=module, defense=defense)
    network = dataclasses.replace(state.network, craft_bn="batch")
    step = on_devices(train_state.make_step(seed=3), 2)
    state, values = step(state.replace(network=network), make_batch(), defense)
    assert np.isfinite(values["loss"])
    np.testing.assert_allclose(np.abs(state.memory).max(), 0.07, rtol=1e-5)
