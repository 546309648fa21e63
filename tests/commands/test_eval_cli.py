"""eval.py from its flags to its files, and one line for each mistake."""

import importlib.util
import json
import os
import socket
import subprocess
import sys
from pathlib import Path

import jax
import numpy as np
import pytest

from jaxadv import configfiles
from jaxadv.checkpoints import Checkpoints
from jaxadv.data import sources
from jaxadv.evaluation import command, table
from jaxadv.evaluation.suite import config
from jaxadv.files import locks
from jaxadv.specs import UsageError
from jaxadv.training import settings
from jaxadv.weights import packages
from tests import nets
from tests.paths import ROOT

SUITE = """
from ml_collections import ConfigDict
from ml_collections.config_dict import placeholder

def get_config():
    linf = lambda: {"name": "linf", "eps": placeholder(float)}
    return ConfigDict({
        "name": "tiny",
        "examples": 20,
        "batch_size": 2,
        "eps": placeholder(float),
        "attacks": {
            "fgsm": {"name": "fgsm", "threat": linf()},
            "noise": {"name": "uniform_noise", "threat": linf(), "steps": 2},
        },
        "pictures": 0,
    })
"""


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A run with a best and a last checkpoint, and a suite."""
    root = tmp_path_factory.mktemp("cli")
    (root / "suite.py").write_text(SUITE)
    config = settings.default_config()
    config.model = {"name": "mlp"}
    config.attack = {"name": "fgsm", "threat": {"name": "linf", "eps": 0.1}}
    config.defense = {"name": "adversarial"}
    config = settings.complete(config)
    module = settings.network(config, nets.CLASSES)
    params = module.init(jax.random.key(0), np.zeros((1, *nets.SHAPE)))["params"]
    meta = {
        "config": settings.plain(config),
        "num_classes": nets.CLASSES,
        "image_shape": nets.SHAPE,
        "score": 0.5,
    }
    store = Checkpoints(root / "run")
    store.save_best(3, {"params": params}, meta)
    last = {"params": jax.tree.map(lambda x: x * 2.0, params)}
    store.save(5, {"model": last, "training": {"step": np.array(5)}}, meta)
    store.close()
    return root


@pytest.fixture(autouse=True)
def digits(monkeypatch):
    """The data set that the checkpoint names, without preparing it."""
    images, labels = nets.batch(24)
    asked = []

    def load(name, split, data_dir=None):
        asked.append((name, split))
        return sources.from_arrays(images, labels, class_names="abcd", name=name)

    monkeypatch.setattr(sources, "load", load)
    return asked


def call(folder, *flags, checkpoint="run"):
    own = [f"--config={folder / 'suite.py'}", f"--checkpoint={folder / checkpoint}"]
    return command.main(["eval.py", *own, *flags])


def test_evaluates_into_the_checkpoint_by_default(folder, digits, capsys):
    assert call(folder) == 0
    out = capsys.readouterr().out
    assert "sound: " in out.splitlines()[0] and "\nattack " in out
    assert "page: " in out
    written = folder / "run" / "eval" / "tiny"
    report = json.loads((written / "report.json").read_text())
    assert digits == [("mnist5k", "test")]
    assert report["architecture"] == "mlp" and report["name"] == "run"
    assert report["attacks"]["fgsm"]["eps"] == 0.1  # the training's
    assert report["seen"] == ["fgsm", "noise"] and report["examples"] == 20
    assert report["model"]["step"] == 3
    assert len(table.load(written / "table.npz")) == 20


def test_overrides_and_the_last_checkpoint(folder, tmp_path):
    flags = ["--which", "last", f"--workdir={tmp_path / 'o'}", "--config.eps=0.3"]
    assert call(folder, *flags, "--config.examples=0", "--checks=none") == 0
    report = json.loads((tmp_path / "o" / "report.json").read_text())
    assert report["verdict"] == "not checked"
    assert report["model"]["step"] == 5 and report["model"]["which"] == "last"
    assert report["attacks"]["noise"]["eps"] == 0.3 and report["examples"] == 24


def test_a_suite_takes_all_where_there_are_fewer(folder, tmp_path, capsys):
    """What a user asks for by a flag is not made fewer: see the mistakes below."""
    many = tmp_path / "many.py"
    many.write_text(SUITE.replace('"examples": 20', '"examples": 200'))
    flags = [f"--config={many}", f"--workdir={tmp_path / 'out'}", "--checks=none"]
    assert call(folder, *flags) == 0
    assert "the suite takes 200 images, 'test' has 24: all of them" in (
        capsys.readouterr().out
    )


@pytest.mark.parametrize(
    "flags, words",
    [
        (["--config.exmples=3"], ["config.exmples", "examples"]),
        (["--config.examples=many"], ["examples", "many"]),
        (["--checks=thorough"], ["checks", "thorough", "cheap, full, none"]),
        (["--config.examples=99"], ["config.examples is 99", "24"]),
        (["--config.attacks.noise.steps=-1"], ["steps is -1", "noise"]),
        (["--which=newest"], ["newest", "best", "last"]),
        (["--checkpoit=x"], ["checkpoit"]),
        (["--checkpoint=/nowhere"], ["--checkpoint", "/nowhere"]),
        (["--checkpoint"], ["--checkpoint", "training run"]),
        (["--config=nothing.py"], ["--config", "nothing.py"]),
    ],
)
def test_mistakes_are_one_line_and_write_nothing(
    folder, tmp_path, capsys, flags, words
):
    assert call(folder, f"--workdir={tmp_path / 'out'}", *flags) == 2
    captured = capsys.readouterr()
    assert captured.out == "" and len(captured.err.splitlines()) == 1
    assert captured.err.startswith("error: ")
    for word in words:
        assert word in captured.err
    assert not (tmp_path / "out").exists()


def test_a_workdir_in_use_is_told(folder, tmp_path, capsys):
    out = tmp_path / "out"
    with locks.hold(out):
        assert call(folder, f"--workdir={out}") == 2
        error = capsys.readouterr().err
    assert error.startswith(f"error: --workdir: {out} is in use by process ")
    assert error.count("\n") == 1 and not out.exists()


def test_a_folder_without_a_checkpoint_is_told(folder, tmp_path, capsys):
    (folder / "empty").mkdir(exist_ok=True)
    assert call(folder, f"--workdir={tmp_path / 'o'}", checkpoint="empty") == 2
    assert "no checkpoint here" in capsys.readouterr().err
    assert not (tmp_path / "o").exists()


def test_images_of_another_shape_are_refused(folder, tmp_path, monkeypatch, capsys):
    """A network may run on them all the same, and its mean would be broadcast."""
    images = np.zeros((24, *nets.SHAPE[:2], 4 - nets.SHAPE[2]), np.uint8)

    def load(name, split, data_dir=None):
        return sources.from_arrays(images, np.zeros(24, int), class_names="abcd")

    monkeypatch.setattr(sources, "load", load)
    assert call(folder, f"--workdir={tmp_path / 'o'}") == 2
    error = capsys.readouterr().err
    assert "config.data.name is 'mnist5k', whose images are" in error
    assert error.count("\n") == 1 and not (tmp_path / "o").exists()


@pytest.mark.parametrize("name", ["linf", "quick"])
def test_the_suites_of_the_project_are_complete(name, folder, monkeypatch):
    asked = []
    monkeypatch.setattr(command, "evaluate", lambda *args: asked.append(args[:4]))
    suite = f"--config={ROOT / 'configs' / 'suites' / name}.py"
    assert call(folder, suite, "--config.attacks.pgd_linf.threat.eps=0.2") == 0
    ((plan, run, workdir, _),) = asked
    assert run.about["which"] == "best"
    assert Path(workdir) == Path(run.path) / "eval" / name
    eps = {planned.label: planned.eps for planned in plan.attacks}
    assert eps["pgd_linf"] == 0.2  # one override does not spread to the others
    assert eps["fgsm_linf"] == eps["noise_linf"] == 0.1


def test_a_suite_is_resolved_once_for_the_run_that_it_judges(
    folder, tmp_path, monkeypatch, capsys
):
    resolved = []
    resolve = config.resolve

    def once(given, training=None, usual=None):
        assert not usual  # the training says the eps
        resolved.append(training)
        return resolve(given, training)

    monkeypatch.setattr(config, "resolve", once)
    assert call(folder, f"--workdir={tmp_path / 'o'}") == 0
    (training,) = resolved
    assert training["attack"]["threat"]["eps"] == 0.1
    assert (
        table.load(tmp_path / "o" / "table.npz").metadata["attacks"]["fgsm"]["eps"]
        == 0.1
    )
    # A mistake in the suite is told first; an eps that only the run knows is none.
    (tmp_path / "empty").mkdir()
    for flag, words in (
        ("pictures=-1", "config.pictures is -1"),
        ("examples=1", "no check"),
    ):
        assert call(folder, f"--config.{flag}", checkpoint=tmp_path / "empty") == 2
        assert words in capsys.readouterr().err


def _plan(path, *text):
    spec = importlib.util.spec_from_file_location("suite", path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    training = {"attack": {"threat": {"name": "linf", "eps": 0.1}}}
    config = settings.plain(module.get_config(*text)) | {"eps": 0.1}
    config |= {"distances": {}, "saliency": None}
    for name in ("lpa", "ppgd", "salient"):  # they need a trained network
        if config["attacks"].pop(name, None):
            config |= {"unions": {}, "seen": None}
    return command.evaluation.config.resolve(config | {"overlap": ()}, training)


@pytest.mark.parametrize(
    "path", sorted((ROOT / "configs" / "suites").glob("[a-z]*.py"))
)
def test_every_suite_can_be_planned(path, packaged):
    if path.stem not in ("base", "certify", "corruptions"):  # they run no attack
        assert _plan(path).attacks


@pytest.mark.parametrize(
    ("name", "more"),
    [("narrow_cifar", []), ("narrow_imagenet100", ["jpeg"])],
)
def test_suites_of_published_tables_leave_perceptual_attacks_out_of_means(name, more):
    plan = _plan(ROOT / "configs" / "suites" / f"{name}.py")
    narrow = {"linf_square", "l2_square", "stadv", "recolor", *more}
    assert set(plan.means) == narrow


@pytest.mark.parametrize("version", ["plus", "rand", "plus,l2", "plus,l1", "square"])
def test_versions_of_autoattack(version):
    plan = _plan(ROOT / "configs" / "suites" / "autoattack.py", version)
    labels = [planned.label for planned in plan.attacks]
    name = "cascade" if version in ("square", "plus,l1") else "autoattack"
    assert plan.cascades[name] == plan.unions[name] == tuple(labels)
    assert ("square" in labels) == (version not in ("rand", "plus,l1"))
    assert ("fab_t" in labels) == (version not in ("rand", "square"))
    # One lucky draw of a random network must not end a search.
    stops = {p.attack.early_stop for p in plan.attacks if "apgd" in p.label}
    assert stops == {"rand": {False}, "square": set()}.get(version, {True})


def test_components_of_autoattack_may_attack_all_images_each():
    path = ROOT / "configs" / "suites" / "autoattack.py"
    plan = _plan(path, "standard,l2,individual")
    labels = tuple(planned.label for planned in plan.attacks)
    assert not plan.cascades and plan.unions == {"autoattack": labels}
    assert plan.name == "autoattack_standard_l2_individual" and len(labels) == 4
    for text, told in (("custom", "no version or component"), (",l2,all", "no 'all'")):
        with pytest.raises(UsageError, match=told):
            _plan(path, text)


def test_l1_autoattack_has_stages_in_its_standard_version():
    path = ROOT / "configs" / "suites" / "autoattack.py"
    for version, restarts, targets, stages in (
        ("standard,l1", 5, 5, (3.0, 2.0, 1.0)),
        ("plus,l1", 5, 9, (1.0,)),
        ("apgd_ce+apgd_t,l1", 1, 9, (1.0,)),
    ):
        found = {p.label: p.attack for p in _plan(path, version).attacks}
        assert found["apgd_ce"].restarts == restarts
        assert found["apgd_t"].restarts == targets
        for name in ("apgd_ce", "apgd_t"):
            assert found[name].stages == stages


@pytest.mark.parametrize(
    "file,text,count",
    [
        ("uar.py", "cifar10", 42),
        ("uar.py", "imagenet100", 60),
        ("uar.py", "cifar10,elastic", 6),
        ("unseen_cifar.py", "budgets", 6),
        ("unseen_shapes.py", "budgets", 6),
    ],
)
def test_sweeps_are_planned(file, text, count):
    plan = _plan(ROOT / "configs" / "suites" / file, text)
    assert len(plan.attacks) == count
    assert sum(len(sweep.attacks) for sweep in plan.sweeps.values()) == count


@pytest.mark.parametrize(
    "name", ["narrow_cifar", "narrow_imagenet100", "unseen_cifar", "unseen_imagenet100"]
)
def test_suites_with_alexnet_run_without_its_weights(
    name, folder, tmp_path, monkeypatch, capsys
):
    monkeypatch.setenv("JAXADV_WEIGHTS_DIR", str(tmp_path))
    monkeypatch.setattr(packages.Packaged, "path", None)
    asked = []
    monkeypatch.setattr(command, "evaluate", lambda *args: asked.append(args[:4]))
    suite = f"--config={ROOT / 'configs' / 'suites' / name}.py"
    assert call(folder, suite) == 2
    error = capsys.readouterr().err
    assert "no weights of " in error and f"{name[:6]}_*.py:no_alexnet" in error
    assert "'name': 'stlpips_alexnet' (pip install stlpips_pytorch" in error
    assert call(folder, f"{suite}:no_alex") == 2
    assert "no 'no_alex'; allowed: attacks, no_alexnet" in capsys.readouterr().err
    shapes = ["--config.data.name=shapes/64", "--config.split=test"]
    assert call(folder, f"{suite}:no_alexnet") == 0
    assert call(folder, f"{suite}:no_alexnet", *shapes) == 0
    (own, *_), (other, _, workdir, _) = asked
    # ImageNet-100 has no test images, other data sets have.
    assert own.split == ("validation" if "imagenet" in name else "test")
    assert (other.split, other.data["name"]) == ("test", "shapes/64")
    assert Path(workdir).name == f"{name}_no_alexnet"
    assert not {"ppgd", "lpa"} & {planned.label for planned in own.attacks}
    assert {"stadv", "recolor"} <= {planned.label for planned in own.attacks}
    trained = [p.label for p in own.attacks if p.spec["threat"]["name"] == "linf"]
    unseen = name.startswith("unseen")
    assert own.seen == (("linf", "l2") if unseen else tuple(trained))


def _load(file, text):
    return configfiles.load(f"{ROOT / 'configs' / 'suites' / file}:{text}")


def test_uar_has_the_published_steps_and_the_split_of_the_data():
    for data, split in (("cifar10", "test"), ("imagenet100", "validation")):
        config = _load("uar.py", data)
        assert config.split == split
        for label, spec in config.attacks.items():
            short = label.split("_")[0] in ("fog", "gabor", "snow")
            assert spec.rel_step_size == (0.002236 if short else 200**-0.5)
            assert spec.steps == 200 and spec.step_size is None


def test_lpa_has_as_many_steps_as_published():
    for name, steps in (("unseen", 200), ("narrow", 40)):
        for data in ("cifar", "imagenet100"):
            lpa = _load(f"{name}_{data}.py", "attacks").attacks.lpa
            assert (lpa.rounds, lpa.round_steps) == (5, steps)


BEFORE_THE_NETWORK = """
import sys
import jax
from jaxadv.evaluation import command

command.evaluate = lambda *_: print(jax.local_device_count(), jax.process_count())
sys.exit(command.main(sys.argv))
"""


def test_devices_and_processes_are_settled_before_a_network_is_loaded(folder):
    """Of a distance's network, which is among what is checked."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        address = f"127.0.0.1:{probe.getsockname()[1]}"
    suite = ROOT / "configs" / "suites" / "perceptual.py"
    network = f"network.path={folder / 'run'}"
    done = subprocess.run(
        [sys.executable, "-c", BEFORE_THE_NETWORK, f"--config={suite}",
         f"--checkpoint={folder / 'run'}", f"--config.attacks.lpa.threat.{network}",
         f"--config.distances.lpips_external.{network}", "--cpu_devices=2",
         "--distributed", f"--coordinator={address}", "--processes=1",
         "--process_id=0"],
        cwd=ROOT,
        env={**os.environ, "JAX_PLATFORMS": "cpu"},
        capture_output=True,
        text=True,
        timeout=120,
    )  # fmt: skip
    assert (done.returncode, done.stdout) == (0, "2 1\n"), done.stderr


def test_help_explains_every_flag():
    """In a process of its own, which also proves that eval.py starts."""
    config = "--config=configs/suites/linf.py"
    done = subprocess.run(
        [sys.executable, "eval.py", "--help", config],
        cwd=ROOT,
        env={**os.environ, "JAX_PLATFORMS": "cpu"},
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert done.returncode == 0, done.stderr
    for flag in "checkpoint which checks workdir config cpu_devices".split():
        assert f"  --{flag}: " in done.stdout
    for field in command.FIELDS:
        assert f"--config.{field}" in done.stdout
