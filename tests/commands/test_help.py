"""`--help` explains every field, also those of the parts that a config names."""

import re

import pytest

from jaxadv import commands, configfiles
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
