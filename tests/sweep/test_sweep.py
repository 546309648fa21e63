"""A sweep whose trainings and evaluations are only told of: plans, order, table."""

import csv
import json
import os
import re
import shlex
import signal
import statistics
import sys
import threading
import time

import numpy as np
import pytest

from jaxadv import commands
from jaxadv.evaluation import metrics
from jaxadv.specs import UsageError
from jaxadv.sweep import command, grid, plans, results, steps
from tests.paths import ROOT
from tests.sweep import fakes

CONFIG = "configs/demo.py"


@pytest.fixture(autouse=True)
def at_home(monkeypatch):
    monkeypatch.chdir(ROOT)


def planned(root, *axes, seeds=(0, 1), **more):
    more = {"suite": "quick", "judging": ["--config.examples=10"], **more}
    request = plans.Request(
        CONFIG, str(root), grid.axes(axes), seeds=seeds, **more
    )  # fmt: skip
    return plans.plan(request)


# What is planned --------------------------------------------------------------------


def test_every_combination_has_its_config_suite_and_folder(tmp_path):
    grids = ("attack.threat.eps=2/255,8/255", "attack.name=pgd,apgd")
    found = planned(tmp_path, *grids, training=["--config.epochs=3"])
    assert len(found) == 2 * 2 * 2
    assert [one.seed for one in found[:3]] == [0, 1, 0]
    one = found[5]
    assert one.point == {"attack.threat.eps": "8/255", "attack.name": "pgd"}
    assert one.name == "attack.name=pgd,attack.threat.eps=8_255,seed=1"
    attack = one.training["attack"]
    assert (attack["name"], attack["threat"]["eps"]) == ("pgd", 8 / 255)
    assert (one.training["seed"], one.training["epochs"]) == (1, 3)
    assert "rho" in found[2].training["attack"]  # APGD's own field
    # The suite takes the eps that it leaves open from this training.
    assert {p.eps for p in one.suite.attacks} == {8 / 255}
    assert one.suite.examples == 10
    assert not list(tmp_path.iterdir())


def test_the_seed_is_the_configs_where_none_is_given(tmp_path):
    flags = {"seeds": None, "training": ["--config.seed=7"]}
    (one,) = planned(tmp_path, **flags)
    assert (one.name, one.seed, one.training["seed"]) == ("seed=7", 7, 7)


@pytest.mark.parametrize(
    "axes, more, words",
    [
        (
            ["attack.threat.epss=2/255"],
            {},
            "--grid attack.threat.epss=2/255: .*did you mean config.attack.threat.eps",
        ),
        (["attack.name=pgd,apdg"], {}, "--grid attack.name=apdg: .*mean 'apgd'"),
        (["epochs=1,0"], {}, "--grid epochs=0: config.epochs is 0"),
        (["attack.threat.eps=0.5,1/2"], {}, "eps=0.5 and .*eps=1/2 are the same"),
        (["data.data_dir=a/b,a_b"], {}, "would share the folder"),
        (["epochs=1"], {"training": ["--config.epochs=2"]}, "are both given"),
        ([], {"training": ["--config.seed=2"]}, "--config.seed and --seeds are both"),
        ([], {"suite": "quik"}, "--suite: there is no 'quik' .did you mean 'quick'"),
        ([], {"suite": "nothing.py"}, "--suite: there is no file 'nothing.py'"),
        (
            [],
            {"suite": "configs/suites/corruptions.py", "judging": []},
            "--suite: corruptions attacks nothing",
        ),
        (
            [],
            {"judging": ["--config.example=3"]},
            "^--suite.example: .*did you mean config.examples",
        ),
        (["defense.name=trades,trade"], {}, "--grid defense.name=trade: "),
    ],
)
def test_mistakes_are_told_before_anything_is_written(tmp_path, axes, more, words):
    with pytest.raises(UsageError, match=words) as told:
        planned(tmp_path, *axes, **more)
    assert "\n" not in str(told.value)
    assert not list(tmp_path.iterdir())


def test_a_folder_with_another_training_is_told_before_the_first_run(tmp_path):
    fakes.train(planned(tmp_path)[1])
    with pytest.raises(UsageError, match="seed=1 has .*batch_size: .* -> 32"):
        planned(tmp_path, training=["--config.batch_size=32"])


# What is run ------------------------------------------------------------------------


class Machine:
    """Runs commands as fakes; `fails` are parts of commands that do not work."""

    def __init__(self, combinations, fails=()):
        self.known = {one.train: (one, fakes.train) for one in combinations}
        self.known |= {one.judge: (one, fakes.judge) for one in combinations}
        self.fails, self.ran, self.told = fails, [], []

    def __call__(self, arguments):
        assert arguments[:3] == [sys.executable, "-m", "jaxadv"]
        one, act = self.known[tuple(arguments[3:])]
        self.ran.append((arguments[3], one.name))
        if self.ran[-1] in self.fails:
            return 2
        act(one)
        return 0

    def run(self, combinations):
        return steps.run(combinations, self, self.told.append)


def test_all_are_trained_and_judged_in_order_and_then_skipped(tmp_path):
    found = planned(tmp_path, "attack.threat.eps=0.1,0.2")
    machine = Machine(found)
    assert machine.run(found) == []
    expected = [(kind, one.name) for one in found for kind in ("train", "eval")]
    assert machine.ran == expected
    assert machine.told[0] == "[1/4] attack.threat.eps=0.1,seed=0: train"
    again = Machine(found)
    assert again.run(found) == [] and again.ran == []
    assert again.told[3] == "[4/4] attack.threat.eps=0.2,seed=1: finished before"


def test_one_that_fails_is_told_and_the_others_go_on(tmp_path):
    found = planned(tmp_path, seeds=(0, 1, 2))
    machine = Machine(found, fails=[("train", "seed=0"), ("eval", "seed=1")])
    failed = machine.run(found)
    assert failed == [
        "seed=0: train failed (exit 2)",
        "seed=1: eval failed (exit 2)",
    ]
    # What has no weights is not judged.
    assert ("eval", "seed=0") not in machine.ran and len(machine.ran) == 5
    assert "[1/3] seed=0: train failed (exit 2)" in machine.told
    again = Machine(found)
    assert again.run(found) == []
    assert again.ran == [("train", "seed=0"), ("eval", "seed=0"), ("eval", "seed=1")]


def test_an_interrupted_sweep_goes_on_where_it_stopped(tmp_path):
    found = planned(tmp_path)

    class Interrupted(Machine):
        def __call__(self, arguments):
            if len(self.ran) == 3:
                raise KeyboardInterrupt
            return super().__call__(arguments)

    with pytest.raises(KeyboardInterrupt):
        Interrupted(found).run(found)
    machine = Machine(found)
    assert machine.run(found) == [] and machine.ran == [("eval", "seed=1")]


@pytest.mark.parametrize(
    "change, left",
    [
        (None, 0),
        (lambda one: fakes.judge(one, step=3), 1),  # of an earlier checkpoint
        (lambda one: fakes.judge(one, fingerprint="x"), 1),  # table and report differ
        (lambda one: (one.results / "report.json").unlink(), 1),
        (lambda one: (one.results / "table.npz").write_bytes(b"x"), 1),
    ],
)
def test_what_is_finished(tmp_path, change, left):
    (one,) = planned(tmp_path, seeds=(0,))
    fakes.train(one)
    fakes.judge(one)
    if change is not None:
        change(one)
    assert len(steps.left(one)) == left


@pytest.mark.parametrize(
    "flag", ["examples=9", "eps=0.3", "seed=1", "attacks.pgd_linf.steps=3"]
)
def test_another_suite_of_the_same_name_judges_again(tmp_path, flag):
    (one,) = planned(tmp_path, seeds=(0,))
    fakes.train(one)
    fakes.judge(one)
    (other,) = planned(
        tmp_path, seeds=(0,), judging=["--config.examples=10", f"--config.{flag}"]
    )  # fmt: skip
    assert steps.left(one) == [] and steps.left(other) == [other.judge]


def test_a_training_that_is_not_over_goes_on(tmp_path):
    (one,) = planned(tmp_path, seeds=(0,))
    fakes.train(one, finished="")
    fakes.judge(one)
    assert steps.left(one) == [one.train, one.judge]


def test_each_command_has_a_process_and_its_status():
    code = ["-c", "import sys; sys.exit(int(sys.argv[1]))"]
    assert steps._execute([sys.executable, *code, "3"]) == 3
    assert steps._execute([sys.executable, *code, "0"]) == 0


WAITING = """\
import os, sys, time
from pathlib import Path

mark, pid = Path(sys.argv[1]), str(os.getpid())
try:
    mark.write_text(pid)
    time.sleep(60)
except KeyboardInterrupt:
    mark.write_text(f"{pid} interrupted")
"""


def test_a_sweep_that_is_asked_to_end_ends_its_command(tmp_path):
    """By a scheduler, say: an orphan would hold the run's folder."""
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
        pytest.skip("this process was started with interruptions ignored")
    mark, code = tmp_path / "pid", tmp_path / "wait.py"
    code.write_text(WAITING)

    def end():
        while not (mark.exists() and mark.read_text()):
            time.sleep(0.01)
        os.kill(os.getpid(), signal.SIGTERM)

    before = signal.getsignal(signal.SIGTERM)
    thread = threading.Thread(target=end)
    thread.start()
    with pytest.raises(KeyboardInterrupt):
        steps._execute([sys.executable, str(code), str(mark)])
    thread.join()
    assert signal.getsignal(signal.SIGTERM) == before
    pid, said = mark.read_text().split()
    assert said == "interrupted"
    with pytest.raises(ProcessLookupError):
        os.kill(int(pid), 0)


# The table --------------------------------------------------------------------------


def accuracies(rng, one):
    """A judged combination of random columns; its numbers as the report has them."""
    correct = rng.random(10) < 0.8
    broken = {p.label: rng.random(10) < 0.3 for p in one.suite.attacks}
    fakes.train(one)
    summary = metrics.summarize(_filled(fakes.judge(one, correct, broken)))
    robust = {k: v["accuracy"] for k, v in summary["attacks"].items()}
    worst = summary["unions"]["union"]["accuracy"]
    return [summary["clean"]["accuracy"], *robust.values(), worst]


def _filled(table):
    """With the columns that the report reads too."""
    for label in table.attacks:
        for field in ("size", "steps", "feasible"):
            zeros = np.zeros(len(table))
            table.columns[f"attack/{label}/{field}"] = zeros
    return table


def test_rows_are_means_and_sample_deviations_of_the_reports_numbers(tmp_path):
    found = planned(tmp_path, "attack.threat.eps=0.1,0.2", seeds=(0, 1, 2))
    rng = np.random.default_rng(0)
    judged = found[:3] + found[3:4]  # of the second point one seed only
    numbers = np.array([accuracies(rng, one) for one in judged])
    rows = results.rows(found, steps.judged, steps.read)
    titles = ["clean", "fgsm_linf", "noise_linf", "pgd_linf", "worst case"]
    assert [title for title, _ in rows[0].columns] == titles
    for i, (_, column) in enumerate(rows[0].columns):
        assert column.mean == pytest.approx(np.mean(numbers[:3, i]))
        assert column.deviation == pytest.approx(np.std(numbers[:3, i], ddof=1))
        assert list(column.values.values()) == list(numbers[:3, i])
    for i, (_, column) in enumerate(rows[1].columns):
        assert column.mean == numbers[3, i] and column.deviation is None
    head, first, second = results.cells(rows)
    assert head == ("attack.threat.eps", *titles, "seeds")
    mean, spread = np.mean(numbers[:3, 0]), statistics.stdev(numbers[:3, 0])
    assert first[:2] == ("0.1", f"{100 * mean:.2f} ± {100 * spread:.2f}")
    assert (first[-1], second[-1]) == ("3/3", "1/3")
    assert second[1] == f"{100 * numbers[3, 0]:.2f} ± –"


def test_budgets_that_differ_are_told(tmp_path):
    """The suite leaves eps open, so each training is judged at its own."""
    axis, rng = "attack.threat.eps=0.1,0.2", np.random.default_rng(0)
    found = planned(tmp_path / "a", axis)
    for one in found:
        accuracies(rng, one)
    rows = results.rows(found, steps.judged, steps.read)
    assert results.cells(rows)[1][2].endswith("(eps 0.1)")
    assert "rows are not judged alike; --suite.eps" in results.notes(rows)[0]
    same = planned(tmp_path / "b", axis, judging=["--config.eps=0.1"])
    rows = results.rows(same, lambda one: None, steps.read)
    assert results.notes(rows) == []
    assert results.cells(rows)[1][1:] == ("–",) * 5 + ("0/2",)


def test_unsound_runs_are_told(tmp_path):
    (one,) = planned(tmp_path, seeds=(0,))
    fakes.train(one)
    fakes.judge(one, unreliable=True)
    rows = results.rows([one], steps.judged, steps.read)
    assert results.notes(rows) == [f"{one.folder}: not sound, see its report"]


# The command ------------------------------------------------------------------------

FLAGS = ["--suite=quick", "--suite.examples=10", "--seeds=0,1", "--cpu_devices=1"]


def call(root, *more):
    return commands.main(["sweep", CONFIG, f"--workdir={root}", *FLAGS, *more])


def test_printed_lines_are_for_a_shell(tmp_path, capsys):
    root = tmp_path / "a b"
    grids = ("--grid", "data.augment=('flip',),()")
    assert call(root, *grids, "--print") == 0
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) == 4 and not root.exists()
    first = shlex.split(lines[0])
    at = first.index("&&")
    train, judge = first[:at], first[at + 1 :]
    folder = f"{root}/data.augment=flip,seed=0"
    start = [sys.executable, "-m", "jaxadv"]
    assert train[:5] == [*start, "train", f"--config={CONFIG}"]
    assert {"--config.data.augment=('flip',)", "--config.seed=0"} <= set(train)
    assert {f"--workdir={folder}", "--cpu_devices=1"} <= set(train)
    assert judge[:5] == [*start, "eval", "--config=configs/suites/quick.py"]
    assert {"--config.examples=10", f"--checkpoint={folder}"} <= set(judge)
    assert call(root, *grids, "--dry_run") == 0
    assert capsys.readouterr().out.splitlines() == lines


def test_it_runs_all_and_writes_the_table(tmp_path, capsys, monkeypatch):
    axis = "attack.threat.eps=0.1,0.2"
    flags = ["--grid", axis, "--suite.eps=0.1"]
    judging = ["--config.examples=10", "--config.eps=0.1"]
    found = planned(tmp_path, axis, judging=judging, devices=["--cpu_devices=1"])
    machine = Machine(found, fails=[("train", found[3].name)])
    monkeypatch.setattr(steps, "_execute", machine)
    assert call(tmp_path, *flags) == command.FAILED
    output = capsys.readouterr()
    assert "[1/4] attack.threat.eps=0.1,seed=0: train" in output.out
    assert output.err == f"error: {found[3].name}: train failed (exit 2)\n"
    assert re.search(r"\n0.2 +100.00 ± – .* 1/2\n", output.out)
    with open(tmp_path / "sweep.csv", newline="") as file:
        rows = list(csv.DictReader(file))
    assert [row["attack.threat.eps"] for row in rows] == ["0.1", "0.2"]
    assert rows[0]["worst case"] == "100.00" and rows[0]["seeds"] == "2"
    assert (rows[0]["clean deviation"], rows[1]["clean deviation"]) == ("0.00", "")
    content = json.loads((tmp_path / "sweep.json").read_text())
    assert content["suite_flags"] == judging and content["config"] == CONFIG
    assert content["rows"][1]["worst_case"]["values"] == {"0": 1.0}
    ran = len(machine.ran)
    assert call(tmp_path, *flags, "--table") == 0
    assert len(machine.ran) == ran
    assert re.search(r"\n0.2 +100.00 ± – .* 1/2\n", capsys.readouterr().out)
    machine.fails = ()
    assert call(tmp_path, *flags) == 0
    assert machine.ran[ran:] == [("train", found[3].name), ("eval", found[3].name)]


@pytest.mark.parametrize(
    "flags, words",
    [
        (["--grid", "epocs=1"], "did you mean config.epochs?"),
        (["--gird=epochs=1"], "'--gird=epochs=1' is no flag of sweep"),
        (["--config.epochs", "3"], "--config.epochs=VALUE"),
        (["--suite.eps=x"], "eps"),
    ],
)
def test_mistakes_are_one_line(tmp_path, capsys, flags, words):
    assert call(tmp_path / "run", *flags) == 2
    error = capsys.readouterr().err
    assert error.startswith("error: ") and error.count("\n") == 1 and words in error
    assert not (tmp_path / "run").exists()


def test_a_table_of_nothing_is_said(tmp_path, capsys):
    assert call(tmp_path / "run", "--table") == 0
    assert capsys.readouterr().out == f"nothing is finished in {tmp_path / 'run'}\n"
    assert not (tmp_path / "run").exists()
