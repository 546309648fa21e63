"""What a long evaluation says of itself while it works."""

import jaxadv as ja
from jaxadv import evaluation
from jaxadv.evaluation.run import meters
from jaxadv.evaluation.suite import config
from tests.evaluation.test_evaluation import IMAGES, LABELS, MODEL, Quiet, source

PGD = {"name": "pgd", "threat": {"name": "linf", "eps": 0.1}, "steps": 2,
       "rel_step_size": 0.5}  # fmt: skip
SUITE = {
    "attacks": {"pgd": PGD},
    "curve": {"attack": PGD, "eps": (0.1, 0.2), "examples": 20},
    "checks": "cheap",
    "batch_size": 2,
}


def test_checks_curve_and_report_say_that_they_begin(tmp_path, capsys):
    plan = config.resolve(SUITE)
    evaluation.evaluate(MODEL, source(), plan, tmp_path, progress=Quiet)
    lines = capsys.readouterr().err.splitlines()
    told = [line for line in lines if "compiling" not in line]
    assert told[:2] == [
        "curve pgd_linf: 2 values of eps on 20 images",
        "checks: is the result sound? (cheap)",
    ]
    begins = f"report: tables and pictures in {tmp_path}"
    assert lines.index(told[0]) < lines.index(told[1]) < lines.index(begins)


def test_what_does_not_happen_is_not_told(capsys):
    found = {"progress": False, "examples": 8}
    ja.evaluate(MODEL, IMAGES, LABELS, SUITE, **found)
    assert capsys.readouterr().err == ""
    few = {"attacks": {"pgd": PGD}, "checks": "none"}
    ja.evaluate(MODEL, IMAGES, LABELS, few, examples=8)
    error = capsys.readouterr().err
    assert "curve" not in error and "checks" not in error and "report" not in error


def test_a_stage_says_more_where_it_takes_long(capsys, monkeypatch):
    now = [0.0]
    monkeypatch.setattr(meters.time, "monotonic", lambda: now[0])
    stage = meters.Stage("checks", "is the result sound?")
    for seconds, what in ((3, "a"), (3, "b"), (3, "c"), (3, "d")):
        now[0] += seconds
        stage(what)
    lines = capsys.readouterr().err.splitlines()
    assert lines == ["checks: is the result sound?", "checks: b", "checks: d"]


def test_every_check_and_picture_is_told_before_it_is_made(tmp_path, monkeypatch):
    heard = []

    class Hears:
        def __init__(self, label, begins):
            self._label = label

        def __call__(self, what):
            heard.append((self._label, what))

    monkeypatch.setattr("jaxadv.evaluation.run.runner.Stage", Hears)
    monkeypatch.setattr(meters, "Stage", Hears)
    plan = config.resolve({**SUITE, "checks": "full"})
    report = evaluation.evaluate(MODEL, source(), plan, tmp_path, progress=Quiet)
    checks = [what for label, what in heard if label == "checks"]
    assert "noise around survivors" in checks and "other budgets" in checks
    # One line each, and one for the attacks that two of them need.
    assert len(checks) == len(set(checks)) == len(report["checks"]) + 1
    drawn = [what for label, what in heard if label == "report"]
    assert drawn == ["curve_pgd_linf.png", "attacks side by side", "pictures_pgd.png"]
