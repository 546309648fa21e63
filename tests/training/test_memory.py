"""Memory of single examples survives a stop inside an epoch and other device counts."""

import jax
import numpy as np
import pytest

from jaxadv import checkpoints
from jaxadv.attacks import Ascent
from jaxadv.defenses import DEFENSES
from jaxadv.threats import Linf
from jaxadv.training import loop, settings
from jaxadv.training.state import make_step
from tests.training.small import make_batch, make_state, on_devices

ATTACK = Ascent(Linf(0.1), steps=3, rel_step_size=0.5, keep="last")
FIELDS = {
    "iaat": {"gamma": 0.02, "beta": 0.5, "eps_warm": 0.05, "least_step": 0.01},
    "mma": {"d_max": 0.3, "min_eps": 0.02},
}
METHODS = sorted(FIELDS)


@pytest.fixture(params=METHODS)
def config(request, small_config):
    small_config.epochs = 4
    small_config.checkpoint_steps = 1
    small_config.attack.steps = 2
    small_config.attack.rel_step_size = 0.5
    small_config.defense = {"name": request.param, **FIELDS[request.param]}
    small_config.clean_epochs = 1
    return settings.complete(small_config)


def state_of(config, folder):
    made = loop._Loop(config, settings.plan(config), folder)
    return checkpoints.Checkpoints(folder).restore(loop._trees(made.state))[0]


def test_a_run_that_was_lost_inside_an_epoch_remembers_bit_for_bit(
    config, tmp_path, monkeypatch
):
    loop.run(config, tmp_path / "whole")
    advance, steps = loop._Loop._drain, []

    def lost(self, in_flight):
        advance(self, in_flight)
        steps.append(self.step)
        if len(steps) in (5, 9):  # 3 steps an epoch: never at its end
            raise KeyboardInterrupt

    monkeypatch.setattr(loop._Loop, "_drain", lost)
    for _ in range(2):
        with pytest.raises(KeyboardInterrupt):
            loop.run(config, tmp_path / "parts")
    loop.run(config, tmp_path / "parts")
    whole, parts = (state_of(config, tmp_path / name) for name in ("whole", "parts"))
    jax.tree.map(np.testing.assert_array_equal, whole, parts)
    eps = whole["training"]["memory"]["eps"]
    assert eps.shape == (49,) and np.sum(eps > 0) > 10


@pytest.mark.parametrize("method", METHODS)
def test_one_two_and_eight_devices_remember_the_same(method):
    """What a step writes hangs on no example but its own; weights move by rounding."""
    defense = DEFENSES[method](attacks=(ATTACK,), **FIELDS[method])
    batch, found = make_batch(64), {}
    for devices in (1, 2, 8):
        state = make_state(defense=defense)
        step = on_devices(make_step(seed=3), devices)
        memories = []
        for _ in range(3):
            fresh = state.params
            state, _ = step(state, batch, defense)
            memories.append(state.memory["eps"])
            state = state.replace(params=fresh)  # the same weights for all
        found[devices] = np.stack(memories)
    written = found[1][-1][batch["id"]]
    assert np.sum(written > 0) > 5
    np.testing.assert_array_equal(found[2], found[1])
    np.testing.assert_array_equal(found[8], found[1])
