"""Table 1 of the Lagrangian paper: what is searched, asked for and printed."""

import copy
import json
import sys

import pytest

import jaxadv as ja
from benchmarks.papers.lagrangian import methods, networks, tables
from jaxadv import configfiles
from jaxadv.sweep import budgets, match, plans
from tests import nets
from tests.paths import ROOT

PAIRS = [(data, name) for data, of in methods.DATA.items() for name in of.methods]


@pytest.mark.parametrize("data, name", PAIRS)
def test_the_budget_of_every_method_can_be_moved(data, name, tmp_path, monkeypatch):
    monkeypatch.chdir(ROOT)
    of = methods.DATA[data]
    one = methods.METHODS[methods.METHODS[name].like or name]
    request = plans.Request(
        f"configs/{one.config.format(of.configs)}.py", str(tmp_path), seeds=(0,),
        suite=None, flag="--budget", training=(*of.flags, *one.flags),
    )  # fmt: skip
    budget = budgets.budget([f"{one.budget}={of.ends[one.ends]}"])
    wanted = match.Wanted(request, budget, 0.8, 0.01, 6)
    for share, end in enumerate(of.ends[one.ends].split(",")):
        (found,) = wanted.plan(share)
        value = found.training
        for key in one.budget.split("."):
            value = value[key]
        assert value == pytest.approx(eval(end), rel=1e-3)
    # As eval.py is given it, with what follows the colon.
    assert configfiles.load(f"configs/suites/{of.suite}").attacks


@pytest.fixture(scope="module")
def real(tmp_path_factory):
    """A report as an evaluation writes it: what the tables read has its form."""
    model, (images, _) = nets.linear(), nets.batch(8)
    labels = nets.predicted(model, images)
    suite = {
        "attacks": {
            name: {"name": "fgsm", "threat": {"name": name, "eps": 0.1}}
            for name in ("linf", "l2")
        },
        "seen": ["linf"],
        "cascades": {"autoattack": ["linf", "l2"]},
        "unions": {},
    }
    folder = tmp_path_factory.mktemp("real")
    ja.evaluate(model, images, labels, suite, folder=folder, progress=False)
    return json.loads((folder / "report.json").read_text())


@pytest.fixture
def asked(monkeypatch, tmp_path, real):
    """Runs `tables` on reports of made numbers; the commands that it would have run."""
    commands = []

    def trained(method, args):
        folders = [f"{method}/seed={seed}" for seed in args.seeds]
        chosen = {"budget": {"attack.threat.eps": "0.1"}}
        return {"folders": folders, "chosen": chosen, "matched": method != "at_l2"}

    def evaluated(folder, suite, name, flags=(), examples=None, which="best"):
        assert ".py" not in name and name.endswith(which)
        folder = str(folder)
        commands.append((folder, suite, which, tuple(flags)))
        high = 0.1 * (folder.startswith("lagrangian")) + 0.02 * folder.endswith("1")
        found = copy.deepcopy(real)
        found["clean"] |= {"accuracy": 0.9, "n": 100}
        for part in found["attacks"].values():
            part["accuracy"] = 0.5 + high
        found["unseen_mean"] += 0.5 + high - real["unseen_mean"]
        found["union_mean"] += 0.45 + high - real["union_mean"]
        found["unions"]["autoattack"]["accuracy"] = 0.4 + high
        return found, None

    monkeypatch.setattr(tables, "trained", trained)
    monkeypatch.setattr(tables, "evaluated", evaluated)
    monkeypatch.setattr(tables, "alexnet", lambda args: ["--lpa"])

    def run(*flags):
        monkeypatch.setattr(sys, "argv", ["", str(tmp_path), *flags])
        tables.main()
        return commands

    return run


def test_the_table_has_the_rule_the_gap_and_lagrangian_s_place(asked, capsys):
    methods_ = ("at_l2", "at_linf_es", "lagrangian")
    commands = asked("--methods", *methods_, "--seeds", "0", "1", "--target=0.9")
    told = capsys.readouterr().out
    assert "rule: trainings are compared at equal clean accuracy" in told
    assert "of 90 %" in told and "100 test images, 2 seeds" in told
    told, _, differences = told.partition("| less Lagrangian, in points")
    # Seeds differ by two points, methods at equal seeds do not.
    assert "| AT ℓ2 | 0.0 ± 0.0 | -10.0 ± 0.0 | -10.0 ± 0.0 | -10.0 ± 0.0 |" in (
        differences
    )
    rows = {line.split(" | ")[0]: line for line in told.splitlines() if " | " in line}
    cells = rows["| Lagrangian"].strip("| ").split(" | ")
    # Budget, clean, linf, l2, unseen and union mean, AutoAttack and the gap to it.
    assert cells[1:4] == ["0.1", "90.0 ± 0.0", "61.0 ± 1.4"]
    assert cells[-2:] == ["51.0 ± 1.4", "10.0 ± 0.0"]
    assert "0.1 (not matched)" in rows["| AT ℓ2"]
    assert "unseen_mean: Lagrangian is number 1 of 2; the highest is Lagrangian" in told
    suites = {suite: flags for _, suite, _, flags in commands}
    assert suites["unseen_shapes.py"] == ("--lpa",)
    assert suites["autoattack.py:standard"] == ("--config.eps=0.1",)
    kinds = {folder.split("/")[0]: which for folder, _, which, _ in commands}
    assert kinds == {"at_l2": "last", "at_linf_es": "best", "lagrangian": "best"}


@pytest.mark.parametrize("version", ["standard", "apgd_ce+apgd_t"])
def test_autoattack_reports_one_union_whatever_it_is_called(version):
    suite = configfiles.load(f"configs/suites/autoattack.py:{version}")
    (name,) = suite.cascades
    report = {"unions": {name: {"accuracy": 0.3}}}
    assert networks.left(report) == {"accuracy": 0.3}


def test_a_method_is_searched_by_jaxadv_match(monkeypatch, tmp_path):
    commands = []

    def run(command, allowed=(0,)):
        commands.append((command, allowed))
        folder = tmp_path / "shapes" / "at_l2"
        folder.mkdir(parents=True)
        (folder / "match.json").write_text('{"folders": []}')

    monkeypatch.setattr(methods, "run", run)
    args = tables._arguments([str(tmp_path), "--seeds", "1", "--train", "--config.a=2"])
    assert methods.trained("at_l2_es", args) == {"folders": []}
    ((command, allowed),) = commands
    assert command[:2] == ["match", "configs/baselines/shapes_pgd_at.py"]
    assert f"--workdir={tmp_path / 'shapes' / 'at_l2'}" in command
    assert "--budget=attack.threat.eps=0.5,0.65" in command and 1 in allowed
    assert command[-2:] == ["--config.attack.threat.name=l2", "--config.a=2"]
