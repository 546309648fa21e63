"""Parts of other packages: found by path and by entry point, looked at, and used."""

import importlib.metadata
import os
import re
import subprocess
import sys

import pytest

from jaxadv import plugins, specs
from jaxadv.attacks import ATTACKS
from jaxadv.data import sources
from jaxadv.defenses import DEFENSES
from jaxadv.defenses.base import Network
from jaxadv.evaluation import metrics
from jaxadv.models import MODELS
from jaxadv.objectives import OBJECTIVES
from jaxadv.specs import UsageError, UsageWarning
from jaxadv.threats import THREATS, Linf
from tests.paths import ROOT

PAGE = ROOT / "docs/plugins.md"
FILE = re.compile(r"^### `([^`]+)`\n.*?^```\w+\n(.*?)^```$", re.S | re.M)


@pytest.fixture
def module(tmp_path, monkeypatch):
    """Writes a module into the working folder; its name."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", list(sys.path))
    made = []

    def write(text):
        name = f"own_parts_{len(made)}"
        made.append(name)
        (tmp_path / f"{name}.py").write_text(text)
        return name

    yield write
    for name in made:
        sys.modules.pop(name, None)


THREAT = """
from jaxadv import specs, struct
from jaxadv.threats import Linf

@struct.dataclass
class Twice(Linf):
    '''Twice as large.'''
    times: float = specs.leaf(2.0, minimum=1.0)

def made(eps: float, more: int = 1):
    return Twice(eps * more)

def wrong(eps: float):
    return 3

@struct.dataclass
class Empty:
    eps: float = specs.leaf(minimum=0.0)

import dataclasses
@dataclasses.dataclass(frozen=True)
class Plain(Linf):
    more: float = 1.0

class NoData:
    pass

number = 3
"""


def test_a_path_names_a_part(module):
    name = module(THREAT)
    spec = {"name": f"{name}:Twice", "eps": "8/255", "times": 3}
    made = specs.build(spec, THREATS, "config.threat")
    assert (made.eps, made.times) == (8 / 255, 3.0)
    assert THREATS.name_of(type(made)) == f"{name}:Twice"
    attack = {"name": "pgd", "threat": f"{name}:made", "steps": 1, "step_size": 0.1}
    attack["threat"] = {"name": f"{name}:made", "eps": 0.1, "more": 2}
    assert specs.build(attack, ATTACKS, "config.attack").threat.eps == 0.2
    own = specs.build({"name": "jaxadv.threats.lp:Linf", "eps": 1}, THREATS, "t")
    assert own == Linf(1.0)
    assert THREATS.name_of(type(own)) == "linf"


@pytest.mark.parametrize(
    "part, fields, message",
    [
        ("Twice", {"eps": 1, "times": 0.5}, "times is 0.5; it must be >= 1"),
        ("Twice", {"eps": -1}, "eps is -1; it must be >= 0.0"),
        (
            "Twice",
            {"eps": 1, "tims": 2},
            "unknown field 'tims' (did you mean 'times'?)",
        ),
        ("Twise", {"eps": 1}, "has no 'Twise' (did you mean 'Twice'?)"),
        (
            "Empty",
            {"eps": 1},
            "Empty has no apply, budget, direction, init, project, s",
        ),
        ("Plain", {"eps": 1}, "make Plain a jaxadv.struct.dataclass"),
        ("NoData", {}, "is a class; it must be a jaxadv.struct.dataclass"),
        ("number", {}, "is a int; it must be a jaxadv.struct.dataclass"),
        ("wrong", {"eps": 1}, "makes a int"),
        ("made", {"eps": "much"}, "eps is 'much'; it must be of type float"),
    ],
)
def test_what_a_path_leads_to_is_looked_at(module, part, fields, message):
    spec = {"name": f"{module(THREAT)}:{part}", **fields}
    with pytest.raises(UsageError, match=re.escape(message)) as raised:
        specs.build(spec, THREATS, "config.threat")
    assert str(raised.value).startswith("config.threat")


def test_a_part_of_another_kind_is_refused(module):
    name = module(THREAT)
    for registry in (ATTACKS, OBJECTIVES, DEFENSES, MODELS):
        with pytest.raises(UsageError, match="Twice has no"):
            registry[f"{name}:Twice"]


@pytest.mark.parametrize(
    "text, message",
    [
        ("import nothing_there_at_all", "importing {0} fails: No module named"),
        ("x = 1 / 0", "importing {0} fails: ZeroDivisionError: division by zero ("),
        ("def x(:", "importing {0} fails: SyntaxError"),
        ("raise SystemExit(3)", "importing {0} fails: SystemExit: 3"),
    ],
)
def test_a_module_that_fails_is_told_in_one_line(module, text, message):
    name = module(text)
    with pytest.raises(UsageError, match=re.escape(message.format(name))) as raised:
        specs.lookup(f"{name}:X", THREATS, "config.threat")
    assert "\n" not in str(raised.value)


@pytest.mark.parametrize("name", ["not_there.parts:X", "jaxadv.not_there:X"])
def test_a_module_that_is_not_there(name):
    missing = name.partition(":")[0] if "jaxadv" in name else "not_there"
    with pytest.raises(UsageError, match=f"there is no module '{missing}'; install"):
        specs.lookup(name, THREATS, "config.threat")


@pytest.mark.parametrize(
    "name", ["os.system", "a b:c", "a:b:c", ":x", "x:", "1a:b", ""]
)
def test_what_is_no_path_is_an_unknown_name(name):
    assert name not in THREATS
    with pytest.raises(UsageError, match="unknown name"):
        specs.lookup(name, THREATS, "config.threat")


def test_names_of_installed_packages_are_known_but_take_no_place(monkeypatch):
    entries = [("threats.mine", "jaxadv.threats.lp:L2"), ("threats.linf", "a:B")]
    entries += [
        ("attacks.mine", "a:B"),
        ("threats.other", "a"),
        ("threats.mine", "z:Z"),
    ]
    found = tuple(importlib.metadata.EntryPoint(*e, plugins.GROUP) for e in entries)
    monkeypatch.setattr(plugins, "_entries", lambda: found)
    plugins._installed.cache_clear()
    with pytest.warns(UsageWarning) as told:
        assert {*THREATS} - {*THREATS.data} == {"mine", "other"}
    assert [str(w.message).partition(" is not")[0] for w in told] == [
        "threats: 'linf' of another package",
        "threats: 'mine' of another package",
    ]
    assert THREATS["mine"] is THREATS["l2"] and "mine" in ATTACKS
    assert THREATS["linf"] is Linf
    with pytest.raises(UsageError, match="must be package.module:Name"):
        THREATS["other"]
    with pytest.raises(UsageError, match="did you mean 'mine'.*known: .*, mine, other"):
        specs.lookup("mien", THREATS, "config.threat")
    monkeypatch.undo()
    plugins._installed.cache_clear()


@pytest.fixture(scope="module")
def package(tmp_path_factory):
    """The page's package, installed into a folder; an environment that has it."""
    source, target = tmp_path_factory.mktemp("source"), tmp_path_factory.mktemp("site")
    for name, text in FILE.findall(PAGE.read_text()):
        (source / name).parent.mkdir(exist_ok=True)
        (source / name).write_text(text)
    pip = [sys.executable, "-m", "pip", "install", "--quiet", "--no-index"]
    options = ["--no-deps", "--no-build-isolation", "--target", target, source]
    subprocess.run([*pip, *options], check=True, capture_output=True, text=True)
    path = os.pathsep.join((str(target), str(ROOT)))
    return os.environ | {"PYTHONPATH": path, "JAX_PLATFORMS": "cpu"}


def run(package, folder, *arguments):
    found = subprocess.run(
        [sys.executable, "-m", "jaxadv", *map(str, arguments)],
        cwd=folder, env=package, capture_output=True, text=True,
    )  # fmt: skip
    assert found.returncode == 0, found.stderr
    return found.stdout


def test_an_installed_package_is_listed(package, tmp_path):
    listed = run(package, tmp_path, "list", "threats", "models", "data")
    assert re.search(r"brightness +Adds one number .* \(jaxadv-extras\)", listed)
    assert re.search(r"stripes +8x8 images .* \(jaxadv-extras\)", listed)
    assert re.search(r"folder:DIR +images with one subfolder a class", listed)
    assert re.search(r"linear +One dense layer .* \(jaxadv-extras\)", listed)


def test_an_installed_package_trains_and_is_judged(package, tmp_path):
    flags = [
        "--config=configs/baselines/mnist5k_pgd_at.py", f"--workdir={tmp_path}/run",
        "--config.epochs=1", "--config.data.name=stripes", "--config.batch_size=64",
        "--config.data.validation=32", "--config.model.name=linear",
        "--config.model.bias=False", "--config.defense.name=hardest_seen",
        "--config.attack.name=extras.attacks:SignedWalk", "--config.attack.steps=2",
        "--config.attack.threat.name=brightness", "--config.attack.threat.eps=0.2",
        "--config.attack.objective.name=log_probability",
        "--config.data.augment=('invert',)", "--cpu_devices=1",
    ]  # fmt: skip
    run(package, tmp_path, "train", *flags)
    run(
        package, tmp_path, "eval", "--config=configs/suites/quick.py",
        f"--checkpoint={tmp_path}/run", "--cpu_devices=1", "--config.eps=0.1",
        "--config.examples=16",
        "--config.attacks.own.name=signed_walk",
        "--config.attacks.own.threat.name=extras.threats:Brightness",
        "--config.attacks.own.threat.eps=0.1", "--config.checks=none",
        "--config.metrics=('extras.metrics:SPREAD',)",
    )  # fmt: skip
    report = (tmp_path / "run/eval/quick/report.md").read_text()
    assert "`hardest_seen`, against extras.attacks:SignedWalk of 2 steps" in report
    assert "# run on stripes (test)" in report
    assert re.search(r"Attacks differ by up to [\d.]+ points\.", report)
    assert re.search(
        r"^\| own \| extras.threats:Brightness \| 0.1 \| [\d.]+ \| 16 \|", report, re.M
    )


METRICS_OF_OTHERS = """
import numpy as np
from jaxadv.evaluation.metrics import Metric

MEAN = Metric("mean_margin", lambda t: np.float32(0.5), words=lambda r: ["half"])
ROWS = Metric("rows_of", lambda t: {"a": np.arange(3)})
RAISES = Metric("raises", lambda t: 1 / 0)
STRANGE = Metric("strange", lambda t: object())
WORDS = Metric("words_of", lambda t: 1, words=lambda r: [r["nothing"]])
TAKEN = Metric("examples", lambda t: 10)
OURS = Metric("clean", lambda t: 10)
"""


def test_metrics_of_others_are_made_plain_or_told(module):
    name = module(METRICS_OF_OTHERS)

    def chosen(part):
        return metrics.chosen([f"{name}:{part}"])[-1]

    assert chosen("MEAN").compute(None) == 0.5 and chosen("MEAN").words({}) == ["half"]
    assert type(chosen("MEAN").compute(None)) is float
    assert chosen("ROWS").compute(None) == {"a": [0, 1, 2]}
    for part, message in {
        "RAISES": "ZeroDivisionError",
        "STRANGE": "object is",
    }.items():
        with pytest.raises(UsageError, match=f"{part} fails: .*{message}"):
            chosen(part).compute(None)
    with pytest.raises(UsageError, match="WORDS fails: KeyError: 'nothing'"):
        chosen("WORDS").words({})
    for part, message in {
        "TAKEN": "another entry of",
        "OURS": "another metric",
    }.items():
        with pytest.raises(UsageError, match=message):
            chosen(part)


FACTORIES = """
from jaxadv.data import sources
import numpy as np

def fails(eps: float = 0.1):
    raise ValueError("no such thing")

def only_train(split):
    seed = {"train": 0}[split]
    images = np.random.default_rng(seed).random((40, 4, 4, 1), np.float32)
    return sources.from_arrays(images, np.arange(40) % 2)

def arrays(split):
    return np.zeros(3)

def nothing():
    return None
"""


def test_factories_that_fail_are_told(module):
    name = module(FACTORIES)
    with pytest.raises(
        UsageError, match="config.threat: .* fails: ValueError: no such"
    ):
        specs.build({"name": f"{name}:fails"}, THREATS, "config.threat")
    for part, message in {"arrays": "give a .*Source", "nothing": "TypeError"}.items():
        with pytest.raises(UsageError, match=message):
            sources.load(f"{name}:{part}", "train")


def test_a_set_of_others_without_a_test_split_has_one_carved(module):
    name = f"{module(FACTORIES)}:only_train"
    with pytest.raises(UsageError, match="KeyError: 'test'"):
        sources.load(name, "test")
    train, test = (sources.load(name, split, test=0.25) for split in ("train", "test"))
    assert (len(train), len(test)) == (30, 10) and test.name == name


NETWORKS = """
import jax.numpy as jnp
from flax import linen as nn

class Few(nn.Module):
    num_classes: int = 10
    @nn.compact
    def __call__(self, images, train=False):
        return nn.Dense(3)(images.reshape(len(images), -1))

class NoTrain(nn.Module):
    num_classes: int = 10
    @nn.compact
    def __call__(self, images):
        return nn.Dense(self.num_classes)(images.reshape(len(images), -1))
"""


@pytest.mark.parametrize(
    "part, message", [("Few", r"Few gives \(2, 3\)"), ("NoTrain", "NoTrain fails on")]
)
def test_networks_that_do_not_fit_are_told_before_training(module, part, message):
    made = MODELS[f"{module(NETWORKS)}:{part}"](num_classes=10)
    with pytest.raises(UsageError, match=f"config.model: {message}"):
        Network(made).check((4, 4, 1), 10)


def test_our_networks_fit():
    Network(MODELS["mlp"](num_classes=4)).check((4, 4, 1), 4)
