"""Malformed input of every command: one line, exit status 2, and nothing is written."""

import json
import os

import jax
import pytest

from jaxadv import cli, schema
from jaxadv.data import prepare, sources
from jaxadv.evaluation import command
from jaxadv.evaluation.tools import compare, study
from jaxadv.training import loop, settings
from jaxadv.weights import __main__ as weights
from tests import nets
from tests.paths import ROOT

HUGE = 10**20


@pytest.fixture
def place(monkeypatch, tmp_path):
    """An empty folder to work in; what trains would be seen."""

    def begin(*args, **kwargs):
        raise AssertionError("the training began")

    jax.devices()  # so that the number of devices is settled
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("JAXADV_DATA_DIR", raising=False)
    monkeypatch.setattr(loop, "create_state", begin)
    (tmp_path / "run").mkdir()
    (tmp_path / "a_file").write_text("text")
    (tmp_path / "binary").write_bytes(bytes(range(256)))
    return tmp_path


def tree(folder):
    """Every file below a folder, with its bytes."""
    return {
        path: path.read_bytes() if path.is_file() else None
        for path in sorted(folder.rglob("*"))
        if "__pycache__" not in path.parts
    }


def refused(capsys, place, words, main, *arguments):
    """Runs a command that must refuse its arguments."""
    before = tree(place)
    try:
        status = main(*arguments)
    except SystemExit as error:  # argparse
        status = error.code
    captured = capsys.readouterr()
    assert status == 2, captured
    assert captured.err.startswith("error: ") and captured.err.count("\n") == 1
    assert words in captured.err
    assert tree(place) == before


def train(place, *flags, config=ROOT / "configs" / "baselines" / "mnist5k_pgd_at.py"):
    arguments = ["train.py", f"--config={config}", f"--workdir={place / 'new'}"]
    return cli.main(
        [*arguments, *flags],
        loop.run,
        settings.plan,
        help_text="",
        fields=schema.explain(settings.Training),
        whole_batch=True,
    )


def digits(monkeypatch):
    images, labels = nets.batch(8)
    load = lambda *given: sources.from_arrays(images, labels)  # noqa: E731
    monkeypatch.setattr(sources, "load", load)


FLAGS = [
    ("--config.seed=-1", "config.seed is -1"),
    (f"--config.seed={2**32}", f"config.seed is {2**32}"),
    (f"--config.seed={HUGE}", f"config.seed is {HUGE}"),
    ("--config.seed=1.5", "1.5"),
    ("--config.seed=", "config.seed"),
    ("--config.epochs=0", "config.epochs is 0"),
    (f"--config.epochs={HUGE}", f"config.epochs is {HUGE}"),
    ("--config.batch_size=0", "config.batch_size is 0"),
    ("--config.batch_size=1e3", "1e3"),
    ("--config.clean_epochs=-1", "config.clean_epochs is -1"),
    ("--config.clean_epochs=500", "no epoch is left for the defense"),
    ("--config.log_steps=0", "config.log_steps is 0"),
    ("--config.checkpoint_seconds=-1", "config.checkpoint_seconds is -1"),
    ("--config.checkpoint_seconds=nan", "config.checkpoint_seconds is nan"),
    ("--config.ema_decay=1", "config.ema_decay is 1.0"),
    ("--config.ema_decay=inf", "config.ema_decay is inf"),
    ("--config.model=mlp", "give --config.model.name=mlp"),
    ("--config.data=mnist", "give --config.data.name=mnist"),
    ("--config.normalize=3", "give --config.normalize.mean"),
    ("--config.validation=pgd", "config.validation is 'pgd', but it is a group"),
    ("--config.attack.threat=l2", "give --config.attack.threat.name=l2"),
    ("--config.model.name=", "config.model.name is empty; give one of"),
    ("--config.attacks.a-b.name=pgd", "'a-b' can be no part of a flag"),
    ("--config.attacks..name=pgd", "'' can be no part of a flag"),
    ("--config.attacks.for.name=pgd", "'for' can be no part of a flag"),
    ("--config.defense.name=", "config.defense.name is empty; give one of"),
    ("--config.data.name=", "config.data.name is ''"),
    ("--config.data.data_dir=", "config.data.data_dir is ''"),
    ("--config.data.augment=(3,)", "config.data.augment[0] is 3"),
    ("--config.data.examples=0", "config.data.examples is 0"),
    ("--config.normalize.mean=()", "config.normalize.mean is ()"),
    ("--config.normalize.mean=('a',)", "config.normalize.mean is ('a',)"),
    ("--config.normalize.std=('a',)", "config.normalize.std is ('a',)"),
    ("--config.normalize.std=(inf,)", "config.normalize.std"),
    ("--config.attack.threat.eps=inf", "config.attack.threat.eps is inf"),
    ("--config.attack.threat.eps=-inf", "config.attack.threat.eps is -inf"),
    ("--config.attack.steps=0", "config.attack.steps is 0"),
    (f"--config.attack.steps={HUGE}", f"config.attack.steps is {HUGE}"),
    ("--config.attack.restarts=0", "restarts is 0"),
    ("--config.attack.step_size=inf", "config.attack.step_size is inf"),
    ("--config.optimizer.learning_rate=inf", "learning_rate is inf"),
    ("--config.optimizer.name=", "unknown name ''"),
    ("--config.schedule.drop_epochs=('a',)", "config.schedule.drop_epochs"),
    ("--config.validation.steps=0", "config.validation.steps is 0"),
    ("--config.data.data_dir=no/such", "there is no such folder"),
    (
        "--config.data.data_dir=gs2://bucket/data",
        "gs2://bucket/data/mnist5k cannot be read",
    ),
    ("--config.data.data_dir=a_file", "is no folder"),
    ("--workdir=", "--workdir: give the folder"),
    ("--workdir=gs://bucket/run", "gs:// is not supported, give a local folder"),
    ("--workdir=s3://bucket/run", "s3:// is not supported"),
    ("--workdir=a_file", "a_file is no folder"),
    ("--workdir=a_file/run", "a_file is no folder"),
    ("--workdir=" + "x" * 300, "File name too long"),
]


@pytest.mark.parametrize("flag, words", FLAGS)
def test_flags_of_training(place, capsys, monkeypatch, flag, words):
    if "data_dir" not in flag:
        digits(monkeypatch)
    refused(capsys, place, words, train, place, flag)


SETS = """\
from jaxadv.training import settings
from ml_collections import ConfigDict, config_dict

def get_config():
    config = settings.default_config()
    given = {}
    with config.unlocked():
        CHANGE
    return ConfigDict({**config.to_dict(), **given})
"""
CHANGES = [
    ("del config.seed", "config.seed is missing"),
    ("del config.data.name", "config.data.name is missing"),
    ("del config.optimizer", "config.optimizer is missing"),
    ("del config.model.name", "config.model: the field 'name' is missing"),
    ("del config.optimizer.name", "config.optimizer"),
    ("given['epochs'] = '3'", "config.epochs is '3'"),
    ("given['epochs'] = 3.0", "config.epochs is 3.0"),
    ("given['epochs'] = True", "config.epochs is True"),
    ("given['epochs'] = None", "config.epochs is None"),
    ("given['batch_size'] = '128'", "config.batch_size is '128'"),
    ("given['patience'] = 'long'", "config.patience is 'long'"),
    ("given['ema_decay'] = 'slow'", "config.ema_decay is 'slow'"),
    ("given['model'] = 3", "config.model is 3"),
    ("given['data'] = None", "config.data is None"),
    ("given['normalize'] = (0.5, 0.5)", "config.normalize is (0.5, 0.5)"),
    ("given['attacks'] = {'': {'name': 'fgsm'}}", "empty label"),
    ("given['attacks'] = {'a': 3}", "config.attacks.a is 3"),
    ("given['attack'] = {'name': ['pgd']}", "unknown name"),
    ("given['epoch'] = 3", "unknown field 'epoch' (did you mean 'epochs'?)"),
    ("given['data'] = {**config.data, 'nam': 'x'}", "unknown field 'nam'"),
    ("given['seed'] = config_dict.required_placeholder(int)", "seed"),
    ("given['defense'] = {'name': 'clean', 'x': object()}", "--config"),
]


@pytest.mark.parametrize("change, words", CHANGES)
def test_config_files(place, capsys, monkeypatch, change, words):
    digits(monkeypatch)
    (place / "config.py").write_text(SETS.replace("CHANGE", change))
    refused(capsys, place, words, lambda: train(place, config=place / "config.py"))


@pytest.mark.parametrize("file", ["binary", "run", "nothing", "a_file"])
def test_files_that_are_no_config(place, capsys, file):
    refused(capsys, place, f"{file}", lambda: train(place, config=place / file))


SUITE = """\
from ml_collections import ConfigDict

def get_config():
    linf = {"name": "linf", "eps": 0.1}
    suite = {
        "name": "tiny",
        "attacks": {"fgsm": {"name": "fgsm", "threat": linf},
                    "pgd": {"name": "pgd", "threat": linf, "rel_step_size": 0.5}},
        "unions": {"both": ("fgsm", "pgd")}, "eps": 0.1,
    }
    CHANGE
    return ConfigDict(suite)
"""
SUITES = [
    ("suite['name'] = ''", "config.name is ''"),
    ("suite['name'] = 3", "config.name is 3"),
    ("suite['eps'] = float('inf')", "config.eps is inf"),
    ("suite['eps'] = '0.1'", "config.eps is '0.1'"),
    ("suite['seed'] = 2**32", "config.seed is 4294967296"),
    ("suite['batch_size'] = '8'", "config.batch_size is '8'"),
    ("suite['split'] = ''", "config.split is ''"),
    ("suite['unions'] = {'x': ()}", "config.unions.x is ()"),
    ("suite['unions'] = {'x': 'fgsm'}", "config.unions.x is 'fgsm'"),
    ("suite['unions'] = {'': ('fgsm',)}", "config.unions: '' is no name"),
    ("suite['unions'] = ('fgsm',)", "config.unions is ('fgsm',)"),
    ("suite['cascades'] = {'x': ()}", "config.cascades.x is ()"),
    ("suite['sweeps'] = {'x': 3}", "config.sweeps.x is 3"),
    ("suite['sweeps'] = {'x': {'attacks': ()}}", "config.sweeps.x is ()"),
    ("suite['attacks'] = {'': suite['attacks']['pgd']}", "label ''"),
    ("suite['attacks'] = 'pgd'", "config.attacks is 'pgd'"),
    ("suite['attacks']['pgd']['steps'] = 0", "config.attacks.pgd.steps is 0"),
    ("suite['attacks']['pgd']['threat'] = {'name': 'l0', 'eps': 0.5}", "whole number"),
    ("suite['attacks']['pgd']['threat'] = 3", "config.attacks.pgd.threat is 3"),
    (
        "suite['curve'] = {'attack': 'fgsm', 'points': '3'}",
        "config.curve.points is '3'",
    ),
    (
        "suite['curve'] = {'attack': 'fgsm', 'up_to': float('inf')}",
        "curve.up_to is inf",
    ),
    ("suite['distances'] = {'': 'l2'}", "label ''"),
    ("suite['data'] = {'nam': 'mnist'}", "unknown field 'nam'"),
    ("suite['data'] = 'mnist'", "config.data is 'mnist'"),
    ("suite['seen'] = 'pgd'", "config.seen is 'pgd'"),
    ("suite['black_box'] = 3", "config.black_box is 3"),
    ("suite['corruptions'] = {'folder': ''}", "config"),
]


@pytest.mark.parametrize("change, words", SUITES)
def test_suites(place, capsys, change, words):
    (place / "suite.py").write_text(SUITE.replace("CHANGE", change))
    arguments = [f"--config={place / 'suite.py'}", f"--checkpoint={place / 'run'}"]
    refused(capsys, place, words, command.main, ["eval.py", *arguments])


@pytest.mark.parametrize(
    "flags, words",
    [
        (["--checkpoint=run", "--workdir=gs://bucket/e"], "gs:// is not supported"),
        (["--checkpoint=a_file"], "there is no folder 'a_file'"),
        (["--checkpoint="], "--checkpoint: give"),
        (["--checkpoint=run", "--config.unions.both=()"], "config.unions.both is ()"),
        (["--checkpoint=run", "--config.attacks=pgd"], "it is a group of fields"),
    ],
)
def test_flags_of_evaluation(place, capsys, flags, words):
    (place / "suite.py").write_text(SUITE.replace("CHANGE", ""))
    refused(
        capsys, place, words, command.main, ["eval.py", "--config=suite.py", *flags]
    )


@pytest.mark.parametrize(
    "arguments, words",
    [
        ([], "NAME"),
        (["mnist", "--form=x"], "--form"),
        ([""], "unknown name ''"),
        (["shapes/33"], "unknown name 'shapes/33'"),
        (["mnist", "--from", "no/such"], "no/such does not exist"),
        (["mnist", "--from", "a_file"], "the file is missing"),
        (["cifar10", "--from", "binary"], "binary"),
        (["cifar10", "--from", "run"], "no cifar-10-python.tar.gz"),
        (["imagenet100", "--from", "run"], "the folder is missing"),
        (["shapes", "--data_dir", "a_file/x"], "a_file is no folder"),
        (["shapes", "--data_dir", "gs://bucket"], "is written; give a local folder"),
    ],
)
def test_preparing_data(place, capsys, arguments, words):
    refused(capsys, place, words, prepare.main, arguments)


@pytest.mark.parametrize(
    "arguments, words",
    [
        ([], "COMMAND"),
        (["show"], "FILE"),
        (["show", "no/such.pth"], "is no file"),
        (["show", "run"], "is no file"),
        (["show", "binary"], "damaged or no PyTorch file"),
        (["convert", "binary", "out.safetensors", "--arch", "vgg"], "binary"),
        (["convert", "binary", "out.safetensors"], "give arch"),
    ],
)
def test_the_command_of_weights(place, capsys, arguments, words):
    refused(capsys, place, words, weights.main, arguments)


REPORTS = [
    ("no json", "no report"),
    ("[" * 100_000, "no report"),
    ("3", "no report"),
    ("{}", "no report of eval.py"),
    (json.dumps(dict.fromkeys(compare._KEYS, 3)), "no report of eval.py"),
    (json.dumps(dict.fromkeys(compare._KEYS, {"union": {}})), "no report of eval.py"),
]


@pytest.mark.parametrize("text, words", REPORTS, ids=range(len(REPORTS)))
def test_comparing(place, capsys, text, words):
    (place / "report.json").write_text(text)
    arguments = ["--output", "out", "report.json"]
    refused(capsys, place, words, compare.main, arguments)


@pytest.mark.parametrize(
    "arguments, words",
    [
        (["--output", "out"], "RUN_OR_REPORT"),
        (["--output", "out", "run"], "has no report.json"),
        (["--output", "out", "nothing"], "there is no run or report"),
        (["--output", "gs://bucket", "run"], "gs:// is not supported"),
        (["--output", "a_file/out", "run"], "a_file is no folder"),
    ],
)
def test_flags_of_comparing(place, capsys, arguments, words):
    refused(capsys, place, words, compare.main, arguments)


HEAD = "pair_id,pair_type,choice,original,adversarial\n1,x,same,a.png,b.png\n"
PAIR = {"id": 1, "size": "small", "original": "a.png", "adversarial": "b.png"}


@pytest.mark.parametrize(
    "answers, pairs, words",
    [
        ("", "[]", "column 'pair_id' is missing"),
        ("\0\0", "[]", "answers.csv"),
        (HEAD, "{", "no list of pairs"),
        (HEAD, "[" * 100_000, "no list of pairs"),
        (HEAD, "[3]", "must be a list of"),
        (HEAD, json.dumps([{**PAIR, "original": 3}]), "'original' is no file name"),
        (HEAD, json.dumps([PAIR]), "No such file"),
    ],
    ids=range(7),
)
def test_a_study(place, capsys, answers, pairs, words):
    (place / "answers.csv").write_text(answers)
    (place / "pairs.json").write_text(pairs)
    arguments = ["answers.csv", "--images", ".", "--output", "out", "--distance", "l2"]
    refused(capsys, place, words, study.main, arguments)


@pytest.mark.parametrize("text", [b"\xff\xfe\x00", b"{", b"[]", b"3", b""])
def test_a_damaged_config_of_a_run(place, capsys, monkeypatch, text):
    digits(monkeypatch)
    (place / "run" / "config.json").write_bytes(text)
    flag = f"--workdir={place / 'run'}"
    refused(capsys, place, "config.json is damaged", train, place, flag)


def test_a_folder_that_cannot_be_written(place, capsys, monkeypatch):
    digits(monkeypatch)
    monkeypatch.setattr(os, "access", lambda *given: False)
    refused(capsys, place, "cannot be written into", train, place)
