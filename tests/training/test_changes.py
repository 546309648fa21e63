"""A run that goes on with other settings: which may change, and what it becomes."""

import jax
import numpy as np
import pytest

from jaxadv import checkpoints, commands
from jaxadv.specs import UsageError
from jaxadv.training import changes, log, loop, settings
from jaxadv.training.validation import Validator


def trained(config, folder, change=(), **fields):
    """The notes of a run with `fields` of `config` set."""
    config = config.copy_and_resolve_references()
    config.update_from_flattened_dict(fields)
    return loop.run(config, folder, change=change)


def sums(folder):
    """The checksums of the newest checkpoint, and its notes."""
    meta = checkpoints.recorded(folder)[1]
    return {k: v for k, v in meta["checksums"].items() if k != "meta"}, meta


def test_more_epochs_are_the_run_that_had_them_at_once(small_config, tmp_path):
    small_config.ema_decay = 0.5
    whole = trained(small_config, tmp_path / "whole", epochs=2)
    trained(small_config, tmp_path / "parts", epochs=1)
    assert trained(small_config, tmp_path / "parts", epochs=2) == whole
    assert sums(tmp_path / "parts")[0] == sums(tmp_path / "whole")[0]
    meta = sums(tmp_path / "parts")[1]
    assert meta["changes"] == [{"step": 3, "field": "epochs", "old": 1, "new": 2}]
    assert meta["config"]["epochs"] == 2
    rows = [log.timeless(tmp_path / name) for name in ("whole", "parts")]
    assert rows[0] == rows[1]
    best = [
        checkpoints.load_classifier(tmp_path / name)[0].variables
        for name in ("whole", "parts")
    ]
    jax.tree.map(np.testing.assert_array_equal, *best)


def test_a_schedule_becomes_that_of_the_new_epochs(small_config, tmp_path, capsys):
    fields = {"schedule.name": "cosine", "optimizer.learning_rate": 0.5, "log_steps": 1}
    trained(small_config, tmp_path, epochs=1, **fields)
    (tmp_path / "eval").mkdir()
    capsys.readouterr()
    trained(small_config, tmp_path, epochs=2, **fields)
    output = capsys.readouterr().out
    cosine = lambda done: 0.25 * (1 + np.cos(np.pi * done))  # noqa: E731
    assert "step 3: config.epochs: 1 -> 2" in output
    assert f"was {cosine(2 / 3):.3g} in step 3 and is {cosine(3 / 6):.3g} in" in output
    assert "eval judges the weights of 1 epochs" in output
    rows = [r["learning_rate"] for r in log.read(tmp_path) if r["kind"] == "train"]
    expected = [cosine(s / 3) for s in range(3)] + [cosine(s / 6) for s in range(3, 6)]
    np.testing.assert_allclose(rows, expected, rtol=1e-5)


def test_fewer_epochs_than_done_are_refused(small_config, tmp_path, monkeypatch):
    trained(small_config, tmp_path / "run", epochs=2)
    before = (tmp_path / "run" / checkpoints.CONFIG).read_bytes()
    for change in ((), ("epochs",)):
        with pytest.raises(UsageError, match=r"epochs is 1, but the run .* trained 2;"):
            trained(small_config, tmp_path / "run", change, epochs=1)
    save = checkpoints.Checkpoints.save

    def interrupted(self, step, trees, meta):
        save(self, step, trees, meta)
        if step == 4:
            raise KeyboardInterrupt

    monkeypatch.setattr(checkpoints.Checkpoints, "save", interrupted)
    with pytest.raises(KeyboardInterrupt):
        trained(small_config, tmp_path / "half", checkpoint_steps=1, epochs=2)
    with pytest.raises(UsageError, match=r"epochs is 1, but .* has begun epoch 2;"):
        fields = {"checkpoint_steps": 1, "epochs": 1}
        trained(small_config, tmp_path / "half", ("epochs",), **fields)
    assert (tmp_path / "run" / checkpoints.CONFIG).read_bytes() == before
    # That is an unfinished run: more epochs are another plan, to be told as one.
    fields = {"checkpoint_steps": 1, "epochs": 3}
    with pytest.raises(UsageError, match=r"epochs: 2 -> 3; .* add --change=epochs$"):
        trained(small_config, tmp_path / "half", **fields)
    notes = trained(small_config, tmp_path / "half", ("epochs",), **fields)
    assert notes.finished == "3 epochs"


def test_what_its_patience_has_ended_needs_another_patience(
    small_config,
    tmp_path,
    monkeypatch,
):
    monkeypatch.setattr(Validator, "__call__", lambda *_: {"robust": 0.5, "clean": 0.5})
    notes = trained(small_config, tmp_path, epochs=4, patience=1)
    assert notes.finished == "no better validation score for 1 epochs"
    with pytest.raises(UsageError, match="ended after 2 of 4 epochs .*change=patience"):
        trained(small_config, tmp_path, epochs=5, patience=1)
    notes = trained(small_config, tmp_path, ("patience",), epochs=4, patience=2)
    assert notes.finished == "no better validation score for 2 epochs"
    assert sums(tmp_path)[1]["epoch"] == 3
    assert trained(small_config, tmp_path, epochs=4, patience=2) == notes


def test_every_field_that_differs_is_told(small_config, tmp_path):
    trained(small_config, tmp_path, epochs=1)
    fields = {"seed": 3, "optimizer.learning_rate": 0.25, "attack.threat.eps": 0.1}
    with pytest.raises(UsageError) as error:
        trained(small_config, tmp_path, epochs=1, **fields)
    told = (
        "other settings: config.attack.threat.eps: 0.05 -> 0.1; "
        "config.optimizer.learning_rate: 0.05 -> 0.25; config.seed: 0 -> 3; restore"
    )
    assert told in str(error.value) and "\n" not in str(error.value)
    assert "add --change=optimizer.learning_rate" in str(error.value)


def test_older_runs_have_the_default_of_newer_fields(small_config, tmp_path):
    fields = settings.plain(small_config)
    old = {k: v for k, v in fields.items() if k != "checkpoint_steps"}
    assert changes.between(old, fields) == []
    (change,) = changes.between(old, {**fields, "checkpoint_steps": 7})
    assert str(change) == "config.checkpoint_steps: 'absent' -> 7"
    (change,) = changes.between(fields, old)
    assert change.new == "absent"


def test_a_folder_is_enough_to_go_on(small_config, tmp_path, capsys):
    """Its own config, with every field a flag, None too."""
    run = tmp_path / "run"
    trained(small_config, run, epochs=1)
    flag = f"--workdir={run}"
    assert commands.train(["train.py", flag, "--config.epochs=2"]) == 0
    output = capsys.readouterr().out
    assert "resuming at step 3 of 6" in output and "finished: 2 epochs" in output
    assert commands.train(["train.py", flag, "--config.patience=2"]) == 2
    assert "config.patience: None -> 2" in capsys.readouterr().err
    assert commands.train(["train.py", f"--workdir={tmp_path / 'none'}"]) == 2
    assert "there is no run in" in capsys.readouterr().err
    assert not (tmp_path / "none").exists()


def test_the_learning_rate_of_a_run_is_changed_by_a_flag(
    small_config, tmp_path, monkeypatch, capsys
):
    """From the step where it stopped, for good, and for a run of no other momentum."""
    save, stops = checkpoints.Checkpoints.save, [2]

    def interrupted(self, step, trees, meta):
        save(self, step, trees, meta)
        if step in stops:
            raise KeyboardInterrupt

    monkeypatch.setattr(checkpoints.Checkpoints, "save", interrupted)
    small_config.update({"epochs": 2, "checkpoint_steps": 1, "log_steps": 1})
    with pytest.raises(KeyboardInterrupt):
        loop.run(small_config, tmp_path)
    stops.clear()
    flags = [f"--workdir={tmp_path}", "--config.optimizer.learning_rate=0.5"]
    assert commands.train(["train.py", *flags]) == 2
    error = capsys.readouterr().err
    assert "config.optimizer.learning_rate: 0.05 -> 0.5" in error
    for name in ("learningrate", "optimizer", "seed", "optimizer.momentum", ""):
        assert commands.train(["train.py", *flags, f"--change={name}"]) == 2
        error = capsys.readouterr().err
        assert f"--change: {name!r} cannot change in the middle of a run; " in error
    flags += ["--change", "config.optimizer.learning_rate"]
    assert commands.train(["train.py", *flags, "--config.seed=1"]) == 2
    assert "other settings: config.seed: 0 -> 1; restore" in capsys.readouterr().err
    assert commands.train(["train.py", *flags]) == 0
    output = capsys.readouterr().out
    assert "step 2: config.optimizer.learning_rate: 0.05 -> 0.5" in output
    assert "was 0.05 in step 2 and is 0.5 in the next" in output
    rows = [r["learning_rate"] for r in log.read(tmp_path) if r["kind"] == "train"]
    np.testing.assert_allclose(rows, [0.05] * 2 + [0.5] * 4)
    (change,) = sums(tmp_path)[1]["changes"]
    assert change == {
        "step": 2, "field": "optimizer.learning_rate", "old": 0.05, "new": 0.5
    }  # fmt: skip
    # Now it is the run's own, and needs no flag.
    assert commands.train(["train.py", f"--workdir={tmp_path}"]) == 0


@pytest.mark.parametrize("name", changes.FIELDS)
def test_fields_that_may_change_leave_what_is_remembered_alone(name, small_config):
    """The trees of a checkpoint have the same leaves, whatever the field is."""
    others = {
        "epochs": 9, "patience": 4, "log_steps": 7, "checkpoint_steps": 7,
        "checkpoint_seconds": 1.0, "accumulate_steps": 2, "data.data_dir": "x",
        "optimizer.learning_rate": 7.0, "optimizer.weight_decay": 7.0,
        "optimizer.clip_value": 7.0, "optimizer.clip_norm": 7.0,
        "schedule": {"name": "cosine"},
    }  # fmt: skip
    shapes = []
    for value in (None, others[name]):
        config = small_config.copy_and_resolve_references()
        if isinstance(value, dict):
            config[name].update(value)
        elif value is not None:
            config.update_from_flattened_dict({name: value})
        made = loop._Loop(config, settings.plan(config), "x").state
        trees = loop._trees(made)["training"]
        shapes.append([leaf.shape for leaf in jax.tree.leaves(trees)])
    assert shapes[0] == shapes[1]
