"""The loop: from a config to checkpoints, also in parts."""

import types

import jax
import numpy as np
import pytest

from jaxadv import checkpoints
from jaxadv.data import sources
from jaxadv.files import locks
from jaxadv.specs import UsageError
from jaxadv.training import log, loop, settings
from jaxadv.training.validation import Validator
from tests.training.small import CLASSES, SHAPE, small_source


def test_run_learns_and_tells(small_config, tmp_path, capsys):
    small_config.clean_epochs = 1
    small_config.epochs = 6
    small_config.optimizer.learning_rate = 0.2
    small_config.ema_decay = 0.5
    small_config.model.compute_dtype = "bfloat16"
    notes = loop.run(small_config, tmp_path / "run")
    assert notes.finished == "6 epochs" and notes.best > 0.6
    output = capsys.readouterr().out
    assert "training from step 0 of 18: 49 images, 3 steps an epoch" in output
    for what in ("the training step", "the step of the clean epochs", "the validation"):
        assert output.count(f"compiling {what} …\n") == 1
    assert "epoch 6/6  loss" in output and "images/s  eta 0:00" in output
    rows = log.read(tmp_path / "run")
    epochs = [row for row in rows if row["kind"] == "epoch"]
    assert [row["epoch"] for row in epochs] == [1, 2, 3, 4, 5, 6]
    assert "train_clean_accuracy" in epochs[0]  # the clean epoch
    assert "train_robust_accuracy" in epochs[1]
    steps = [row["step"] for row in rows if row["kind"] == "train"]
    assert steps == list(range(2, 19, 2))
    assert list((tmp_path / "run" / "tensorboard").iterdir())
    again = loop.run(small_config, tmp_path / "run")
    assert again == notes
    assert "is finished: 6 epochs" in capsys.readouterr().out
    other = small_config.copy_and_resolve_references()
    other.seed = 1
    with pytest.raises(UsageError, match=r"other settings: config\.seed: 0 -> 1"):
        loop.run(other, tmp_path / "run")
    # The best checkpoint is the one with the best robust validation accuracy.
    classifier, config, info = checkpoints.load_classifier(tmp_path / "run")
    scores = [row["validation_robust"] for row in epochs]
    assert info["epoch"] == notes.best_epoch == 1 + int(np.argmax(scores))
    assert info["num_classes"] == CLASSES and info["image_shape"] == SHAPE
    assert config.attack.threat.eps == 0.05
    assert classifier.apply.module.compute_dtype == "bfloat16"
    assert {v.dtype.name for v in jax.tree.leaves(classifier.variables)} == {"float32"}
    source = sources.load()
    held_out = sources.split_train_validation(source, 15, small_config.seed)[1]
    images = held_out.get(np.arange(15))["image"]
    predicted = np.argmax(jax.vmap(classifier)(images), 1)
    assert np.mean(predicted == held_out.labels) == pytest.approx(info["clean"])


def test_run_in_parts_is_the_run_in_one(small_config, tmp_path, monkeypatch):
    """An exception at any step, and the same call again, end in the same bits."""
    small_config.checkpoint_steps = 1
    whole = loop.run(small_config, tmp_path / "whole")
    save, stops = checkpoints.Checkpoints.save, [2, 3]

    def interrupted(self, step, trees, meta):
        save(self, step, trees, meta)
        if stops and step == stops[0]:
            stops.pop(0)
            raise KeyboardInterrupt

    monkeypatch.setattr(checkpoints.Checkpoints, "save", interrupted)
    for _ in range(2):
        with pytest.raises(KeyboardInterrupt):
            loop.run(small_config, tmp_path / "parts")
    assert loop.run(small_config, tmp_path / "parts") == whole
    rows = [log.timeless(tmp_path / name) for name in ("whole", "parts")]
    assert rows[0] == rows[1]
    for which in ("best", "last"):
        a, b = (
            checkpoints.load_classifier(tmp_path / name, which)[0].variables
            for name in ("whole", "parts")
        )
        jax.tree.map(np.testing.assert_array_equal, a, b)


def test_memory_of_examples_survives_an_interruption(
    small_config, tmp_path, monkeypatch
):
    """Each example's weights, bit for bit, and those of the held out unmoved."""
    with small_config.unlocked():
        attack = {"name": "pgd", "steps": 2, "rel_step_size": 0.5}
        small_config.attack = {}
        small_config.attacks = {
            name: {**attack, "threat": {"name": name, "eps": eps}}
            for name, eps in (("linf", 0.05), ("l2", 0.2))
        }
        small_config.defense = {"name": "generalized", "weight_step": 0.3}
    config = settings.complete(small_config)
    config.epochs, config.checkpoint_steps = 2, 1
    save, stops, memory = checkpoints.Checkpoints.save, [], {}

    def interrupted(self, step, trees, meta):
        save(self, step, trees, meta)
        memory[step] = np.array(trees["training"]["memory"])
        if stops and step == stops[0]:
            stops.pop(0)
            raise KeyboardInterrupt

    monkeypatch.setattr(checkpoints.Checkpoints, "save", interrupted)
    loop.run(config, tmp_path / "whole")
    whole, stops[:] = memory.copy(), [4]
    memory.clear()
    with pytest.raises(KeyboardInterrupt):
        loop.run(config, tmp_path / "parts")
    loop.run(config, tmp_path / "parts")
    assert memory.keys() == whole.keys()
    for step, rows in whole.items():
        np.testing.assert_array_equal(memory[step], rows)
    assert whole[6].shape == (49, 2)
    moved = np.any(whole[6] != 0.5, axis=1)
    assert moved.sum() > 40 and np.any(whole[6] != whole[3])


def test_collapse_is_reported_and_stops_early(
    small_config, tmp_path, monkeypatch, capsys
):
    scores = iter([(0.5, 0.9), (0.1, 0.95)])

    def fake(self, *_):
        return dict(zip(("robust", "clean"), next(scores), strict=True))

    monkeypatch.setattr(Validator, "__call__", fake)
    small_config.patience = 1
    notes = loop.run(small_config, tmp_path)
    assert notes.finished == "no better validation score for 1 epochs"
    rows = [r for r in log.read(tmp_path) if r["kind"] == "epoch"]
    assert [r["epoch"] for r in rows] == [1, 2]
    assert checkpoints.load_classifier(tmp_path)[2]["epoch"] == 1
    output = capsys.readouterr().out
    assert "WARNING: catastrophic overfitting: robust validation accuracy" in output
    assert [r["catastrophic_overfitting"] for r in rows] == [False, True]


def test_nan_stops_with_the_step_and_the_ids(small_config, tmp_path, monkeypatch):
    source = small_source(64)
    images = source.get(np.arange(64))["image"]
    train, _ = sources.split_train_validation(source, 15, small_config.seed)

    # The first image of every batch turns bad after the first epoch.
    def read(rows, draw):
        found = {"image": images[rows], "label": source.labels[rows]}
        if draw is not None and draw[1] == 1:
            found["image"][0] = np.nan
        return found

    bad = types.SimpleNamespace(**{**vars(source), "read": read})
    monkeypatch.setattr(sources, "load", lambda *_: sources.Source(**vars(bad)))
    with pytest.raises(UsageError, match=r"step 4: loss is nan \(example ids \d") as e:
        loop.run(small_config, tmp_path)
    order = np.random.default_rng((small_config.seed, 1)).permutation(len(train))
    assert ", ".join(map(str, order[:16])) in str(e.value)
    variables = checkpoints.load_classifier(tmp_path, "last")[0].variables
    assert all(np.isfinite(leaf).all() for leaf in jax.tree.leaves(variables))


def test_a_folder_has_one_run_at_a_time(small_config, tmp_path):
    with locks.hold(tmp_path / "run"):
        with pytest.raises(UsageError, match="--workdir: .* is in use by process "):
            loop.run(small_config, tmp_path / "run")
        assert [p.name for p in (tmp_path / "run").iterdir()] == [locks.FILE]
    assert not (tmp_path / "run").exists()
