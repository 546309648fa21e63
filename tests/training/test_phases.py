"""Phases of a training: which defense trains which epoch, with one memory."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxadv import checkpoints, cli, struct
from jaxadv.data import sources
from jaxadv.defenses import DEFENSES, Clean, base
from jaxadv.specs import UsageError
from jaxadv.training import log, loop, settings
from tests.paths import ROOT
from tests.training.small import SHAPE, small_source


@struct.dataclass
class Counting:
    """Clean training that counts, for each example, its visits times `weight`."""

    weight: float = 1.0
    rows: int = struct.field(pytree_node=False, default=1)

    def init(self, image_shape, examples) -> Any:
        return {"visits": jnp.zeros((examples, self.rows))}

    def loss(self, params, state, batch, key):
        loss, out = Clean().loss(params, state, batch, key)
        ids = batch["id"]
        rows = {"visits": state.memory["visits"][ids] + self.weight}
        return loss, out.replace(memory=base.remember(state.memory, ids, rows))


@pytest.fixture
def config(small_config, monkeypatch):
    monkeypatch.setitem(DEFENSES.data, "counting", Counting)
    small_config.attack = {}
    small_config.epochs = 5
    small_config.defense = {"name": "counting", "weight": 100.0}
    return small_config


def phased(config, **phases):
    config.phases = phases
    return settings.complete(config)


def test_every_epoch_has_its_phase_and_all_share_one_memory(config, tmp_path, capsys):
    first, second = (
        {"name": "counting", "until": 3, "weight": 10.0},
        {"name": "counting", "until": 2},
    )
    config = phased(config, b=first, a=second)
    config.clean_epochs = 1
    plan = settings.plan(config)
    assert [(p.label, p.until) for p in plan.phases] == [
        ("clean_epochs", 1), ("a", 2), ("b", 3), ("defense", 5)
    ]  # fmt: skip
    assert [plan.phase(epoch) for epoch in range(5)] == [0, 1, 2, 3, 3]
    assert plan.warm_up == 3
    notes = loop.run(config, tmp_path)
    assert notes.best_epoch > 3
    out = capsys.readouterr().out
    # 48 of 49 images make an epoch: clean, 1, 10, and 100 twice.
    state = restored(config, tmp_path)
    visits = state["training"]["memory"]["visits"]
    assert visits.shape == (49, 1)
    assert np.sum(visits) == 48 * (1 + 10 + 100 + 100)
    for label in ("the clean epochs", "a", "b"):
        assert out.count(f"compiling the step of {label} …") == 1
    assert out.count("compiling the training step …") == 1
    assert len(log.read(tmp_path))


def restored(config, folder):
    made = loop._Loop(config, settings.plan(config), folder)
    return checkpoints.Checkpoints(folder).restore(loop._trees(made.state))[0]


def test_a_run_stopped_between_phases_ends_with_the_same_memory(config, tmp_path):
    config = phased(config, a={"name": "counting", "until": 2})
    loop.run(config, tmp_path / "whole")
    short = config.copy_and_resolve_references()
    short.epochs = 3
    loop.run(short, tmp_path / "parts")
    loop.run(config, tmp_path / "parts")
    whole, parts = (restored(config, tmp_path / k) for k in ("whole", "parts"))
    jax.tree.map(np.testing.assert_array_equal, whole, parts)


@pytest.mark.parametrize(
    "phases, problem",
    [
        ({"a": {"name": "clean"}}, r"phases\.a\.until is None; give the last epoch"),
        ({"a": {"name": "clean", "until": 5}}, r"a\.until is 5 of config\.epochs=5"),
        (
            {"a": {"name": "clean", "until": 2}, "b": {"name": "clean", "until": 2}},
            r"a\.until and config\.phases\.b\.until are both 2",
        ),
        ({"a": {"name": "no", "until": 2}}, r"config\.phases\.a"),
    ],
)
def test_bad_phases_are_refused(config, phases, problem):
    with pytest.raises(UsageError, match=problem):
        settings.plan(phased(config, **phases))


def test_phases_that_remember_different_things_are_refused():
    told = r"second remembers .*\(9, 2\).*first .*\(9, 1\)"
    with pytest.raises(UsageError, match=told):
        base.shared_memory({"first": Counting(), "second": Counting(rows=2)}, SHAPE, 9)
    shared = base.shared_memory({"first": Clean(), "second": Counting()}, SHAPE, 9)
    assert shared["visits"].shape == (9, 1)
    assert base.shared_memory({"first": Clean()}, SHAPE, 9) == ()


def test_clean_training_has_no_other_phase_before_it(small_config):
    small_config.defense, small_config.attack = {"name": "clean"}, {}
    small_config.clean_epochs = 1
    plan = settings.plan(settings.complete(small_config))
    assert [p.label for p in plan.phases] == ["defense"] and plan.warm_up == 0


def test_other_data_than_those_remembered_are_refused(config, tmp_path, monkeypatch):
    config.epochs = 1
    loop.run(config, tmp_path)
    config.epochs = 2
    fewer = small_source(60)
    monkeypatch.setattr(sources, "load", lambda *_: fewer)
    with pytest.raises(UsageError, match="trained on 49 images and now finds 45"):
        loop.run(config, tmp_path)


def test_flags_name_phases_and_their_ends():
    flags = [
        f"--config={ROOT}/configs/baselines/mnist5k_trades.py",
        "--config.phases.warm.name=adversarial",
        "--config.phases.warm.until=7",
        "--config.phases.warm.alpha=0.5",
    ]
    config = cli.resolve([*flags, "--config.epochs=9"], settings.KINDS)
    (phase, main) = settings.plan(config).phases
    assert (phase.label, phase.until, phase.defense.alpha) == ("warm", 7, 0.5)
    assert main.until == 9
