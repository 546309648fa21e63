"""The search for the budget of a clean accuracy; its trainings are only told of."""

import csv
import json
import math
import sys

import pytest

from jaxadv.specs import UsageError
from jaxadv.sweep import budgets, grid, match, plans, steps
from tests.paths import ROOT
from tests.sweep import fakes

FIELD = "attack.threat.eps"


@pytest.fixture(autouse=True)
def at_home(monkeypatch):
    monkeypatch.chdir(ROOT)


def wanted(root, target, *ends, trials=6, tolerance=0.01, seeds=(0, 1), more=()):
    request = plans.Request(
        "configs/demo.py", str(root), seeds=seeds, suite=None, flag="--budget",
        training=more,
    )  # fmt: skip
    budget = budgets.budget(ends or [f"{FIELD}=0.05,0.2"])
    return match.Wanted(request, budget, target, tolerance, trials)


class Trainer:
    """Trains by a formula: eps -> clean accuracy, and a little by seed."""

    def __init__(self, accuracy):
        self.accuracy, self.trained = accuracy, []

    def run(self, combinations, show, todo):
        for one in combinations:
            if todo(one):
                self.trained.append(one.name)
                fakes.train(one)
        return []

    def read(self, one):
        eps = one.training["attack"]["threat"]["eps"]
        return self.accuracy(eps) + (0.002 if one.seed else -0.002)

    def search(self, wanted):
        return match.search(wanted, self.run, self.read, show=lambda line: None)


def line(eps):
    return 1 - 2 * eps


def curved(eps):
    return 1 / (1 + (eps / 0.3) ** 2)


@pytest.mark.parametrize("accuracy", [line, curved])
@pytest.mark.parametrize("target", [0.95, 0.8, 0.7, 0.45])
def test_the_budget_of_a_target_is_found_inside_and_outside(tmp_path, accuracy, target):
    trainer = Trainer(accuracy)
    found = trainer.search(wanted(tmp_path, target))
    chosen = budgets.nearest(found.trials, target)
    eps = float(budgets.budget([f"{FIELD}=0.05,0.2"]).at(chosen.share)[FIELD])
    assert abs(accuracy(eps) - target) <= 0.01
    assert chosen.mean == pytest.approx(accuracy(eps))  # over the two seeds
    for trial in found.trials:
        far = abs(trial.clean[0] - target) > 0.08
        assert list(trial.clean) == ([0] if far else [0, 1])
    assert len(trainer.trained) == sum(len(trial.clean) for trial in found.trials)


def test_the_nearest_trial_of_one_seed_is_not_chosen_beside_one_of_all(tmp_path):
    trainer = Trainer(lambda eps: {0.05: 0.9, 0.2: 0.72}.get(eps, 0.9))
    asked = wanted(tmp_path, 0.8, trials=2, tolerance=0.0105)
    found = trainer.search(asked)
    assert [len(trial.clean) for trial in found.trials] == [1, 2]
    assert match._chosen(asked, found) is found.trials[1]


def test_a_budget_that_raises_the_accuracy_is_searched_the_same(tmp_path):
    trainer = Trainer(lambda lam: 1 - 0.02 / lam)
    found = trainer.search(wanted(tmp_path, 0.85))
    assert abs(budgets.nearest(found.trials, 0.85).mean - 0.85) <= 0.01


def test_it_stops_at_its_trials_and_goes_on_with_more(tmp_path):
    trainer = Trainer(lambda eps: 0.9 if eps < 0.12 else 0.5)  # a jump has no middle
    short = trainer.search(wanted(tmp_path, 0.7, trials=3))
    assert len(short.trials) == 3 and len(trainer.trained) == 3
    longer = trainer.search(wanted(tmp_path, 0.7, trials=5))
    assert longer.trials[:3] == short.trials
    assert len(trainer.trained) == 5  # nothing twice, and far off one seed is enough


def test_an_accuracy_that_is_off_by_the_tolerance_itself_matches(tmp_path):
    asked = wanted(tmp_path, 0.9)
    assert asked.fits(budgets.Trial(0.0, {0: 0.91}))
    assert asked.fits(budgets.Trial(0.0, {0: 0.89}))
    assert not asked.fits(budgets.Trial(0.0, {0: 0.912}))


def test_a_training_that_fails_ends_the_search(tmp_path):
    trainer = Trainer(line)
    trainer.run = lambda *_, **__: ["seed=0: train failed (exit 1)"]
    found = trainer.search(wanted(tmp_path, 0.8))
    assert found.trials == [] and found.failed == ["seed=0: train failed (exit 1)"]


def test_fields_move_together_by_equal_factors():
    budget = budgets.budget(["a=1/4,1", "--config.b=2,8"])
    assert budget.at(0.5) == {"a": "0.5", "b": "4"}
    assert budget.at(2.0) == {"a": "4", "b": "32"}
    assert budget.at(-1.0) == {"a": "0.0625", "b": "0.5"}


def test_no_trial_is_near_the_ends_of_its_bracket():
    def trials(*pairs):
        return [budgets.Trial(share, {0: mean}) for share, mean in pairs]

    both = trials((0.0, 0.9), (1.0, 0.5))
    assert budgets.following(both[:1], 0.7) == 1.0
    assert budgets.following(both, 0.7) == pytest.approx(0.5)
    assert budgets.following(both, 0.899) == pytest.approx(0.1)
    assert budgets.following(both, 0.4) == 2.0
    assert budgets.following(both, 0.95) == -1.0
    three = [*both, *trials((0.5, 0.8))]
    assert budgets.following(three, 0.7) == pytest.approx(0.69, abs=0.03)
    noisy = trials((0.0, 0.9), (1.0, 0.5), (0.5, 0.95))
    assert 0.5 < budgets.following(noisy, 0.7) < 1


@pytest.mark.parametrize(
    "texts, words",
    [
        ([], "--budget is missing"),
        (["eps"], "--budget is 'eps'"),
        (["eps=1"], "--budget eps is 1; give two different numbers above 0"),
        (["eps=0,1"], "two different numbers above 0"),
        (["eps=a,b"], "two different numbers above 0"),
        (["eps=1,1"], "names '1' twice"),
        (["eps=1,inf"], "two different numbers above 0"),
    ],
)
def test_bad_budgets_are_refused(texts, words):
    with pytest.raises(UsageError, match=words):
        budgets.budget(texts)


def test_a_field_that_the_config_lacks_is_named_before_anything_runs(tmp_path):
    with pytest.raises(UsageError, match="--budget attack.threat.epz=1: .*threat.eps"):
        wanted(tmp_path, 0.8, "attack.threat.epz=1,2").plan(0.0)
    both = wanted(tmp_path, 0.8, more=[f"--config.{FIELD}=0.1"])
    with pytest.raises(UsageError, match="and --budget attack.threat.eps are both"):
        both.plan(0.0)


def test_the_command_tells_the_rule_the_table_and_the_folders(
    tmp_path, monkeypatch, capsys
):
    trainer = Trainer(line)
    monkeypatch.setattr(match, "clean_accuracy", trainer.read)
    original = match.search
    monkeypatch.setattr(
        match, "search", lambda w, show: original(w, trainer.run, None, show)
    )
    arguments = [
        "configs/demo.py", f"--workdir={tmp_path}", f"--budget={FIELD}=0.05,0.2",
        "--target=0.8", "--seeds=0,1",
    ]  # fmt: skip
    assert match.main(arguments) == 0
    told = capsys.readouterr().out
    assert "within 1 points of 80 %" in told and "rule: trainings are compared" in told
    content = json.loads((tmp_path / "match.json").read_text())
    assert content["matched"] and content["rule"] in told
    assert math.isclose(content["chosen"]["mean"], 0.8, abs_tol=0.01)
    for folder in content["folders"]:
        assert folder in told and folder.startswith(str(tmp_path))
    with (tmp_path / "match.csv").open() as file:
        rows = list(csv.reader(file))
    assert [row[-1] for row in rows].count("chosen") == 1
    assert len(rows) == 1 + len(content["trials"])
    # Too few trials: the nearest is told, the status says that none matches.
    few = [*arguments[:3], "--target=0.2", "--trials=2"]
    few[1] = f"--workdir={tmp_path / 'few'}"
    assert match.main(few) == 1
    assert "no budget is within 1.00 points after 2 trials" in capsys.readouterr().out
    assert match.main([*arguments, "--trials=x"]) == 2
    assert match.main([*arguments[:3], "--target=80"]) == 2
    assert "--target is '80'; it must be a number in [0, 1]" in capsys.readouterr().err


def test_the_clean_accuracy_is_the_best_checkpoints_on_held_out_images(tmp_path):
    (one, _) = wanted(tmp_path, 0.8).plan(0.0)
    with pytest.raises(UsageError, match="hold images out with --config.data.valid"):
        match.clean_accuracy(one)
    fakes.train(one)
    path = next((one.folder / "best").glob("*/meta/metadata"))
    path.write_text(json.dumps({**json.loads(path.read_text()), "clean": 0.75}))
    assert match.clean_accuracy(one) == 0.75
    assert one.suite is None and steps.left_to_train(one) == []
    assert grid.shown(one.point) == f"{FIELD}=0.05"
    assert sys.executable in steps.command(one.train)
