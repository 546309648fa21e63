"""Trainings of random networks, through their phases and a stop."""

import jax
import numpy as np
import pytest

from jaxadv import checkpoints
from jaxadv.models import MODELS
from jaxadv.specs import UsageError
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


@pytest.mark.parametrize("since, until", [(0, 1), (1, 2)])
def test_the_epochs_without_noise_are_those_of_the_phases(since, until, small_config):
    small_config.model = METHODS["l2p"]["model"]
    small_config.defense = {"name": "learn2perturb", "since": since}
    alone = {**ALONE, "since": since}
    small_config.phases = {"plain": {**alone, "noisy": False, "until": until}}
    small_config.epochs = 3
    wanted = f"config.defense.since is {since}.*epoch {until}; give .*since={until}"
    with pytest.raises(UsageError, match=wanted):
        settings.plan(settings.complete(small_config))


def test_epochs_without_noise_are_judged_without_it(
    small_config, tmp_path, monkeypatch
):
    small_config.epochs = 2
    small_config.model = METHODS["l2p"]["model"]
    small_config.defense = {**ALONE, "since": 1}
    small_config.phases = {"plain": {**ALONE, "noisy": False, "until": 1}}
    seen = []

    def judged(self, params, batch_stats, *_):
        seen.append(jax.device_get(jax.tree.leaves(params["sigma"])))
        return {"clean": 0.5}

    monkeypatch.setattr(loop.Validator, "__call__", judged)
    loop.run(settings.complete(small_config), tmp_path)
    assert [float(max(map(np.max, leaves))) > 0 for leaves in seen] == [False, True]


def test_a_random_network_begins_with_the_weights_of_one_without_noise(
    small_config, tmp_path
):
    small_config.epochs = 1
    small_config.model = AROUND
    loop.run(settings.complete(small_config), tmp_path / "source")
    theirs = checkpoints.load_classifier(tmp_path / "source")[0].variables
    small_config.model = METHODS["l2p"]["model"]
    small_config.init_from = str(tmp_path / "source")
    config = settings.complete(small_config)
    made = loop._Loop(config, settings.plan(config), tmp_path / "run")
    state = made.state
    jax.tree.map(
        np.testing.assert_array_equal, state.params["weights"], theirs["params"]
    )
    jax.tree.map(
        np.testing.assert_array_equal,
        state.batch_stats["weights"],
        theirs["batch_stats"],
    )
    for leaf in jax.tree.leaves(state.params["sigma"]):
        np.testing.assert_array_equal(leaf, np.float32(0.25))
    assert made.initial["new"] == ["sigma"]


def test_a_precision_that_is_replaced_is_refused():
    with pytest.raises(UsageError, match="give it there .config.model.compute_dtype"):
        MODELS["pni"](network=MODELS["resnet20"](compute_dtype="bfloat16"))


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
