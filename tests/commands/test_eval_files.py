"""eval.py on a weight file: what it must be told, and one line where it is not."""

import json

import jax
import numpy as np
import pytest

from jaxadv import weights
from jaxadv.data import sources
from jaxadv.evaluation import command
from jaxadv.models import MODELS
from tests.weights.layouts import state_of
from tests.weights.pickled import write_state

SUITE = """
from ml_collections import ConfigDict
from ml_collections.config_dict import placeholder

def get_config():
    return ConfigDict({
        "name": "tiny", "examples": 6, "batch_size": 3, "pictures": 0,
        "eps": placeholder(float),
        "attacks": {
            "fgsm": {
                "name": "fgsm", "threat": {"name": "linf", "eps": placeholder(float)},
            },
        },
    })
"""
SIDE, CLASSES = 8, 7


@pytest.fixture(autouse=True)
def pictures(monkeypatch):
    """A data set, whatever it is called."""
    rng = np.random.default_rng(0)
    images = rng.integers(0, 256, (6, SIDE, SIDE, 3), np.uint8)

    def load(name, split, data_dir=None):
        names = "abcdefg"
        return sources.from_arrays(
            images, np.arange(6) % CLASSES, class_names=names, name=name
        )

    monkeypatch.setattr(sources, "load", load)


@pytest.fixture
def own(tmp_path):
    """A file that says what it is."""
    module = MODELS["mlp"](num_classes=CLASSES)
    images = np.zeros((1, SIDE, SIDE, 3), np.float32)
    variables = jax.jit(module.init)(jax.random.key(0), images)
    path = tmp_path / "net.safetensors"
    weights.save(path, weights.Weights(module, variables, (0.5,), (0.25,)))
    return path


@pytest.fixture
def foreign(tmp_path):
    tensors = {k: np.abs(v) for k, v in state_of("resnet18").items()}
    return write_state(tmp_path / "net.pt", tensors)


def call(path, *flags):
    suite = path.parent / "suite.py"
    suite.write_text(SUITE)
    own = [f"--config={suite}", f"--checkpoint={path}"]
    return command.main(["eval.py", *own, *flags])


def planned(monkeypatch, path, *flags):
    """The suite that would be run."""
    asked = []
    monkeypatch.setattr(command, "evaluate", lambda *args: asked.append(args))
    assert call(path, *flags) == 0
    return asked[0]


def test_a_file_is_judged_beside_itself(own, tmp_path, capsys):
    assert call(own, "--data=cifar10", "--checks=none") == 0
    folder = tmp_path / "net_eval" / "tiny"
    report = json.loads((folder / "report.json").read_text())
    assert report["dataset"] == "cifar10" and report["examples"] == 6
    assert report["attacks"]["fgsm"]["eps"] == pytest.approx(8 / 255)
    model = report["model"]
    assert model["checkpoint"] == str(own) and model["architecture"] == "MLP"
    assert model["file"]["normalization"] == [[0.5], [0.25]]
    assert str(own) in (folder / "report.md").read_text()


def test_flags_tell_what_a_file_does_not(foreign, monkeypatch):
    flags = ("--arch=resnet18", "--normalization=cifar10", "--data=cifar100")
    suite, run, workdir, *_ = planned(monkeypatch, foreign, *flags)
    assert suite.attacks[0].eps == pytest.approx(8 / 255)
    assert suite.data["name"] == "cifar100" and workdir.endswith("net_eval/tiny")
    mean, std = weights.NORMALIZATIONS["cifar10"]
    np.testing.assert_allclose(run.model.mean, mean, rtol=1e-6)
    np.testing.assert_allclose(run.model.std, std, rtol=1e-6)
    suite, *_ = planned(monkeypatch, foreign, *flags, "--config.eps=0.1")
    assert suite.attacks[0].eps == 0.1


@pytest.mark.parametrize(
    ("flags", "words"),
    [
        (["--normalization=none", "--data=cifar10"], ["give arch (--arch)"]),
        (["--arch=resnet18", "--data=cifar10"], ["cifar10_robustness"]),
        (["--arch=resnet18", "--normalization=none"], ["--data"]),
        (["--arch=resnet18", "--normalization=none", "--data=shapes"], ["config.eps"]),
        (["--arch=resnet20", "--data=cifar10"], ["did you mean"]),
        (["--arch=vgg16", "--normalization=none", "--data=cifar10"], ["features.0"]),
        (["--which=last"], ["--which"]),
    ],
)  # fmt: skip
def test_what_is_missing_is_one_line(foreign, capsys, flags, words):
    assert call(foreign, *flags) == 2
    captured = capsys.readouterr()
    assert captured.err.startswith("error: ") and captured.err.count("\n") == 1
    for word in words:
        assert word in captured.err
    assert not (foreign.parent / "net_eval").exists()


def test_files_and_runs_are_told_apart(tmp_path, own, capsys):
    assert call(tmp_path / "absent.pt", "--data=cifar10") == 2
    assert "there is no file" in capsys.readouterr().err
    assert call(tmp_path / "absent", "--data=cifar10") == 2
    assert ".safetensors, .pth, .pt" in capsys.readouterr().err
    assert call(tmp_path, "--arch=resnet18") == 2
    assert "a run knows its network" in capsys.readouterr().err


def test_images_that_a_network_does_not_take(own, capsys):
    module = MODELS["mlp"](num_classes=CLASSES)
    images = np.zeros((1, 2 * SIDE, SIDE, 3), np.float32)
    variables = jax.jit(module.init)(jax.random.key(0), images)
    weights.save(own, weights.Weights(module, variables, (0.5,), (0.25,)))
    assert call(own, "--data=cifar10") == 2
    error = capsys.readouterr().err
    assert "whose images are 8 x 8 x 3" in error and error.count("\n") == 1
