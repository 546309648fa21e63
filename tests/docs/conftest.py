"""Commands that are understood up to where they would begin their work."""

import argparse
import importlib
import shlex
import sys
import types
from pathlib import Path

import pytest

from jaxadv import checkpoints, commands, configfiles, loading, parallel, weights
from jaxadv.evaluation import command
from jaxadv.files import remote
from jaxadv.perceptual import networks, saliency
from jaxadv.sweep import steps
from jaxadv.training import loop, settings, wandb_writer
from tests import nets
from tests.docs.pages import Parsed


@pytest.fixture
def parse(monkeypatch, tmp_path):
    """`parse(line)` runs a command up to where it would begin its work."""
    monkeypatch.chdir(tmp_path)
    config = configfiles.load("configs/demo.py")
    info = {"image_shape": (28, 28, 1), "num_classes": 10}

    def understood(*_, **__):
        raise Parsed

    read = argparse.ArgumentParser.parse_args

    def parsed(parser, *given):
        read(parser, *given)
        raise Parsed

    folder = tmp_path / "runs" / "a"
    folder.mkdir(parents=True)
    checkpoints.write_config(folder, settings.kept(config))
    model = nets.linear((28, 28, 1), 10)
    monkeypatch.setattr(
        checkpoints, "load_classifier", lambda *_: (model, config, info)
    )
    (tmp_path / "weights.pt").touch()
    about = weights.Weights(None, {}, (0.0,), (1.0,))
    monkeypatch.setattr(loading, "load_file", lambda *_: (model, about))
    monkeypatch.setattr(networks, "pretrained", lambda *_: model)
    monkeypatch.setattr(networks, "run", lambda *_: model)
    monkeypatch.setattr(networks, "_absent", lambda *_: "")
    looks = saliency.Saliency({}, saliency.SaliencyNet())
    monkeypatch.setattr(saliency, "load", lambda path: looks)
    monkeypatch.setattr(parallel, "initialize", lambda *_: None)
    is_dir = Path.is_dir
    monkeypatch.setattr(Path, "is_dir", lambda p: p.name != "checkpoints" or is_dir(p))
    there = types.SimpleNamespace(is_file=True)
    monkeypatch.setattr(remote, "look", lambda url: there)
    monkeypatch.setattr(loop, "run", understood)
    monkeypatch.setattr(steps, "run", understood)
    monkeypatch.setattr(wandb_writer, "check", lambda: None)
    monkeypatch.setattr(command, "evaluate", understood)
    monkeypatch.setattr(argparse.ArgumentParser, "parse_args", parsed)

    def run(line):
        words = shlex.split(line)
        if words[:2] == ["python", "train.py"]:
            return commands.main(["train", *words[2:]])
        if words[:2] == ["python", "eval.py"]:
            return commands.main(["eval", *words[2:]])
        if words[0] == "jaxadv":
            return commands.main(words[1:])
        try:
            module = importlib.import_module(words[2])
        except ModuleNotFoundError as error:
            pytest.skip(f"{error.name} is not installed")
        monkeypatch.setattr(sys, "argv", words[2:])
        return module.main()

    return run
