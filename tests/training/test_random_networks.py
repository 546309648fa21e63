"""Trainings of random networks, through their phases and a stop."""

import jax
import numpy as np
import pytest

from jaxadv import checkpoints
from jaxadv.training import loop, settings

AROUND = {"name": "resnet20", "depth": 8, "width": 2}
ALONE = {"name": "learn2perturb", "alpha": 1.0, "beta": 0.0, "since": 1}
METHODS = {
    "l2p": {
        "model": {"name": "learn2perturb", "network": AROUND},
        "defense": {"name": "learn2perturb", "since": 1, "alternate": True},
        "phases": {"plain": {**ALONE, "noisy": False, "until": 1}},
    },
    "adv_bnn": {
        "model": {"name": "adv_bnn", "network": {"name": "small", "norm": True}},
        "defense": {"name": "adv_bnn"},
    },
}


@pytest.fixture(params=METHODS)
def config(request, small_config):
    for field, value in METHODS[request.param].items():
        small_config[field] = value
    small_config.optimizer.restart = True
    small_config.schedule.name = "steps"
    small_config.schedule.drop_epochs = (2,)
    small_config.checkpoint_steps = 1
    return settings.complete(small_config)


def state_of(config, folder):
    made = loop._Loop(config, settings.plan(config), folder)
    return checkpoints.Checkpoints(folder).restore(loop._trees(made.state))[0]


def test_a_run_that_was_lost_goes_on_bit_for_bit(config, tmp_path, monkeypatch):
    loop.run(config, tmp_path / "whole")
    advance, steps = loop._Loop._drain, []

    def lost(self, in_flight):
        advance(self, in_flight)
        steps.append(self.step)
        if len(steps) == 5:  # 3 steps an epoch: in the second one
            raise KeyboardInterrupt

    monkeypatch.setattr(loop._Loop, "_drain", lost)
    with pytest.raises(KeyboardInterrupt):
        loop.run(config, tmp_path / "parts")
    loop.run(config, tmp_path / "parts")
    whole, parts = (state_of(config, tmp_path / name) for name in ("whole", "parts"))
    jax.tree.map(np.testing.assert_array_equal, whole, parts)


def test_without_noise_the_deviations_stand_still(small_config, tmp_path):
    small_config.epochs = 1
    small_config.model = METHODS["l2p"]["model"]
    small_config.defense = {**ALONE, "noisy": False}
    small_config.optimizer.weight_decay = 0.1
    config = settings.complete(small_config)
    loop.run(config, tmp_path)
    params = state_of(config, tmp_path)["model"]["params"]
    for leaf in jax.tree.leaves(params["sigma"]):
        np.testing.assert_array_equal(leaf, np.float32(0.25))
