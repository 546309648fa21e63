"""Weights & Biases, by a fake of it and, where it is installed, offline."""

import dataclasses
import json
import os
import re
import subprocess
import sys
import types

import pytest

from jaxadv import checkpoints, parallel
from jaxadv.specs import UsageError
from jaxadv.training import log, loop, settings, wandb_writer
from tests.paths import ROOT


@dataclasses.dataclass
class Run:
    """What a run of the fake was told."""

    started: dict
    rows: list = dataclasses.field(default_factory=list)
    axes: list = dataclasses.field(default_factory=list)
    finished: bool = False

    def define_metric(self, name, step_metric):
        self.axes.append((name, step_metric))

    def log(self, values):
        self.rows.append(values)

    def finish(self):
        self.finished = True


@pytest.fixture
def runs(monkeypatch):
    """The runs that a fake of wandb has begun."""
    fake, begun = types.ModuleType("wandb"), []

    def init(**arguments):
        begun.append(Run(arguments))
        return begun[-1]

    fake.init, fake.Error = init, type("Error", (Exception,), {})
    monkeypatch.setitem(sys.modules, "wandb", fake)
    return begun


@pytest.fixture
def config(small_config):
    small_config.update({"epochs": 2, "log_steps": 1})
    small_config.data.validation = 16
    small_config.model = {"name": "small"}
    small_config.defense = {"name": "clean"}
    small_config.attack = {}
    small_config.log.wandb = "robust"
    return settings.complete(small_config)


def test_numbers_are_sent_as_tensorboard_has_them(runs, tmp_path):
    folder = tmp_path / "run"
    folder.mkdir()
    writer = wandb_writer.Writer("robust", folder, {"epochs": 2})
    writer.write(3, "train", {"loss": 0.5, "words": "no number", "lost": True})
    writer.close()
    (run,) = runs
    assert run.rows == [{"step": 3, "train/loss": 0.5, "train/lost": True}]
    assert run.axes == [("*", "step")] and run.finished
    told = {k: run.started[k] for k in ("project", "name", "dir", "resume", "config")}
    assert told == {
        "project": "robust",
        "name": "run",
        "dir": str(folder),
        "resume": "allow",
        "config": {"epochs": 2},
    }


def test_a_run_keeps_its_id_in_each_project(runs, tmp_path):
    for project in ("a", "b", "a"):
        wandb_writer.Writer(project, tmp_path, {})
    first, other, again = (run.started["id"] for run in runs)
    assert first == again != other and len(first) > 7
    assert json.loads((tmp_path / wandb_writer.FILE).read_text()) == {
        "a": first,
        "b": other,
    }


def test_an_interrupted_training_goes_on_in_the_same_run(
    runs, config, tmp_path, monkeypatch
):
    epoch, done = loop._Loop.epoch, []

    def once(self):
        if done:
            raise KeyboardInterrupt
        done.append(epoch(self))

    monkeypatch.setattr(loop._Loop, "epoch", once)
    with pytest.raises(KeyboardInterrupt):
        loop.run(config, tmp_path)
    monkeypatch.setattr(loop._Loop, "epoch", epoch)
    assert loop.run(config, tmp_path).finished == "2 epochs"
    first, second = runs
    assert first.started["id"] == second.started["id"] and first.finished
    rows = first.rows + second.rows
    assert [row["step"] for row in rows if "train/loss" in row] == [1, 2, 3, 4, 5, 6]
    assert [row["epoch/epoch"] for row in rows if "epoch/epoch" in row] == [1, 2]
    told = [row for row in log.read(tmp_path) if row["kind"] == "train"]
    assert [row["loss"] for row in told] == [
        row["train/loss"] for row in rows if "train/loss" in row
    ]
    assert "log" not in first.started["config"]
    page = (ROOT / "docs" / "watching.md").read_text()
    documented = set(re.findall(r"`((?:train|epoch)/\w+)`", page))
    assert {name for row in rows for name in row} - {"step"} <= documented
    # A finished run has nothing to tell.
    loop.run(config, tmp_path)
    assert len(runs) == 2


def test_who_is_told_may_change_when_a_run_is_resumed(runs, config, tmp_path):
    """And folders of earlier versions, which know nothing of it, are resumed."""
    kept = settings.kept(config)
    assert "log" not in kept
    checkpoints.write_config(tmp_path, kept)
    loop.run(config, tmp_path)
    assert json.loads((tmp_path / checkpoints.CONFIG).read_text()) == json.loads(
        json.dumps(kept)
    )
    config.log.wandb = None
    loop.run(config, tmp_path)
    assert len(runs) == 1
    # What a run keeps is a config too.
    found = checkpoints.load_classifier(tmp_path)[1]
    assert settings.plan(found) and settings.log(found).wandb is None


def test_only_the_first_process_sends(runs, config, tmp_path, monkeypatch):
    monkeypatch.setattr(parallel, "is_primary", lambda: False)
    monkeypatch.setattr(loop._Loop, "_report", lambda *_: None)
    loop.run(config, tmp_path)
    assert runs == []


def test_without_wandb_one_line_names_the_remedy(config, tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "wandb", None)
    with pytest.raises(UsageError, match=r'config.log.wandb .*"jaxadv\[wandb\]"'):
        loop.run(config, tmp_path / "run")
    assert not (tmp_path / "run").exists()
    config.log.wandb = None
    settings.plan(config)


def test_a_folder_that_wandb_has_made_is_not_taken_for_it(tmp_path, monkeypatch):
    monkeypatch.delitem(sys.modules, "wandb", raising=False)
    (tmp_path / "wandb" / "latest-run").mkdir(parents=True)
    monkeypatch.setattr(sys, "path", [str(tmp_path)])
    with pytest.raises(UsageError, match="needs the package wandb"):
        wandb_writer.check()


def test_what_wandb_refuses_is_one_line(runs, tmp_path, monkeypatch):
    fake = sys.modules["wandb"]

    def init(**arguments):
        raise fake.Error("api_key not configured")

    monkeypatch.setattr(fake, "init", init)
    with pytest.raises(UsageError, match="api_key not configured.*WANDB_MODE=offline"):
        wandb_writer.Writer("a", tmp_path, {})


@pytest.mark.parametrize("text", ["{", "[]", '{"a": 3}'])
def test_a_damaged_id_is_told(runs, tmp_path, text):
    (tmp_path / wandb_writer.FILE).write_text(text)
    with pytest.raises(UsageError, match="wandb.json is damaged; remove it"):
        wandb_writer.Writer("a", tmp_path, {})
    assert runs == []


def test_it_is_imported_only_where_it_is_asked_for():
    code = (
        "import sys; from jaxadv.training import loop, settings, wandb_writer; "
        "sys.exit('wandb' in sys.modules)"
    )
    environment = {**os.environ, "JAX_PLATFORMS": "cpu"}
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, env=environment)
    assert done.returncode == 0


OFFLINE = """\
import sys
from jaxadv.training import wandb_writer

for step in (1, 2):
    writer = wandb_writer.Writer("robust", sys.argv[1], {"attack": {"eps": 0.1}})
    writer.write(step, "train", {"loss": 1.0 / step})
    writer.close()
"""


def test_wandb_itself_takes_it_offline(tmp_path):
    pytest.importorskip("wandb")
    done = subprocess.run(
        [sys.executable, "-c", OFFLINE, str(tmp_path)],
        cwd=ROOT,
        env={**os.environ, "WANDB_MODE": "offline", "WANDB_SILENT": "true"},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    (name,) = json.loads((tmp_path / wandb_writer.FILE).read_text()).values()
    files = list(tmp_path.glob(f"wandb/offline-run-*/run-{name}.wandb"))
    assert files and all(b"train/loss" in path.read_bytes() for path in files)
