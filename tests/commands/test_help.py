"""`--help` explains every field, also those of the parts that a config names."""

import os
import re
import shutil
import sys

import pytest

from jaxadv import cli, commands, configfiles
from tests.paths import ROOT

FIELD = re.compile(r"^  --config\.(\S+?)=.*$", re.MULTILINE)
TRAINING = ["configs/demo.py", "configs/minmax/mnist5k_gat.py"]
SUITES = ["configs/suites/linf.py", "configs/suites/minimal.py"]


@pytest.mark.parametrize("path", TRAINING + SUITES)
def test_every_field_has_a_sentence(path, monkeypatch, capsys):
    monkeypatch.chdir(ROOT)
    command = "eval" if path in SUITES else "train"
    assert commands.main([command, f"--config={path}", "--help"]) == 0
    told = {m[1]: m[0] for m in FIELD.finditer(capsys.readouterr().out)}
    assert len(told) > 30
    # A label is the user's own; what its group is has been said.
    bare = [path for path, line in told.items() if not re.search(r"=.*?  \S", line)]
    assert not [path for path in bare if not path.endswith(".name")]


@pytest.mark.parametrize("command", ["train", "eval"])
def test_the_usage_line_has_the_flag_that_is_needed(command, monkeypatch, capsys):
    monkeypatch.chdir(ROOT)
    commands.main([command, "--help"])
    flag = {"train": "--workdir=FOLDER", "eval": "--checkpoint=RUN"}[command]
    usage = f"usage: jaxadv {command} --config=FILE {flag}\n"
    assert usage in capsys.readouterr().out


def test_choices_and_sentences_come_from_the_part(monkeypatch, capsys):
    monkeypatch.chdir(ROOT)
    commands.main(["train", "--config=configs/demo.py", "--help"])
    told = {m[1]: m[0] for m in FIELD.finditer(capsys.readouterr().out)}
    assert "one of best, last" in told["attack.keep"]
    assert "the budget, in [0, 1] units" in told["attack.threat.eps"]
    assert "decay of Adam's first moment" in told["optimizer.b1"]


def test_shipped_configs_are_explained_from_any_folder(monkeypatch, tmp_path, capsys):
    monkeypatch.chdir(tmp_path)
    assert configfiles.load("configs/demo.py")
    assert commands.main(["train", "--config=configs/demo.py", "--help"]) == 0
    assert "--config.attack.steps=7" in capsys.readouterr().out


@pytest.mark.parametrize("terminal", [True, False])
def test_lines_fit_a_narrow_terminal_and_stay_whole_elsewhere(monkeypatch, terminal):
    monkeypatch.setattr(sys.stdout, "isatty", lambda: terminal, raising=False)
    monkeypatch.setattr(shutil, "get_terminal_size", lambda: os.terminal_size((52, 30)))
    long = "  --config.attack.lam=2.0  " + "the last multiplier and more " * 4
    found = cli._wrapped(f"usage: a\n\n{long.rstrip()}").split("\n")
    assert found[:2] == ["usage: a", ""]
    if not terminal:
        assert found[2:] == [long.rstrip()]
        return
    assert len(found) > 4 and max(map(len, found)) <= 52
    assert found[2].startswith("  --config.attack.lam=2.0  the")
    assert all(line.startswith(" " * 6) for line in found[3:])
    assert " ".join(" ".join(found[2:]).split()) == " ".join(long.split())
