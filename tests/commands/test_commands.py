"""The command `jaxadv`: its commands are reached, and `list` tells all there is."""

import os
import subprocess
import sys

import pytest

import jaxadv
from jaxadv import commands
from jaxadv.attacks import ATTACKS
from tests.paths import ROOT


def test_without_a_command_all_are_told(capsys):
    assert commands.main([]) == 0
    output = capsys.readouterr().out
    for name in ("train", "eval", "list", *commands.OTHERS):
        assert f"\n  {name} " in output


def test_an_unknown_command_is_a_mistake(capsys):
    assert commands.main(["tarin"]) == 2
    assert "error: 'tarin' is no command" in capsys.readouterr().err


def test_the_versions_that_a_report_of_a_fault_needs(capsys):
    assert commands.main(["--version"]) == 0
    assert capsys.readouterr().out.startswith(f"jaxadv {jaxadv.__version__}, jax 0.")


@pytest.mark.parametrize("name", ["train", "eval"])
def test_train_and_eval_have_their_flags(name, capsys):
    assert commands.main([name, "--help"]) == 0
    assert "--config" in capsys.readouterr().out


@pytest.mark.parametrize("name", commands.OTHERS)
def test_other_commands_have_their_help(name, capsys):
    with pytest.raises(SystemExit) as ended:
        commands.main([name, "--help"])
    assert ended.value.code == 0 and "usage" in capsys.readouterr().out


def test_every_part_has_a_line():
    for kind in ("configs", "suites", *commands.PARTS):
        lines = commands.listed(kind)
        assert lines, kind
        if kind != "data":
            assert all(lines.values()), kind
    assert set(commands.listed("attacks")) == set(ATTACKS)
    assert "configs/demo.py" in commands.listed("configs")
    assert "configs/suites/linf.py" in commands.listed("suites")


def test_list_takes_kinds(capsys):
    assert commands.main(["list", "threats"]) == 0
    output = capsys.readouterr().out
    assert output.startswith("threats:\n") and "  linf" in output
    with pytest.raises(SystemExit) as ended:
        commands.main(["list", "attack"])
    assert ended.value.code == 2


def test_configs_are_found_from_any_folder(tmp_path):
    done = subprocess.run(
        [sys.executable, "-m", "jaxadv", "train", "--config=configs/demo.py", "--help"],
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": str(ROOT), "JAX_PLATFORMS": "cpu"},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    assert "config.attack.steps" in done.stdout
