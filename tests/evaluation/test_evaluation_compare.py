"""Runs side by side: what is read, which are comparable, and what is written."""

import csv
import json

import pytest

from jaxadv.evaluation.report import charts
from jaxadv.evaluation.tools import compare
from jaxadv.specs import UsageError


def share(correct, n=100):
    ends = {"low": correct / n - 0.05, "high": correct / n + 0.05}
    return {"accuracy": correct / n, "n": n, "correct": correct, **ends}


def report(name="pat", dataset="digits", attacks=None, seen=("a",), eps=0.1, **more):
    attacks = attacks or {"a": 60, "b": 40, "c": 20}
    mine = [n / 100 for k, n in attacks.items() if k in seen]
    unseen = [n / 100 for k, n in attacks.items() if k not in seen]
    content = {
        "name": name,
        "dataset": dataset,
        "split": "test",
        "suite": "perceptual",
        "examples": 100,
        "clean": share(90),
        "attacks": {k: {**share(n), "eps": eps} for k, n in attacks.items()},
        "unions": {"union": {**share(15), "attacks": list(attacks)}},
        "seen": list(seen),
        "seen_mean": sum(mine) / len(mine) if mine else None,
        "unseen_mean": sum(unseen) / len(unseen) if unseen else None,
    }
    return content | more


def save(path, content):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(content))
    return path


@pytest.fixture
def panels(monkeypatch):
    drawn, original = [], charts.tradeoff

    def watching(given, path):
        drawn.append(
            {title: [r["name"] for r in rows] for title, rows in given.items()}
        )
        original(given, path)

    monkeypatch.setattr(charts, "tradeoff", watching)
    return drawn


def test_runs_become_rows_with_means_of_seen_and_unseen(tmp_path, panels, capsys):
    run = tmp_path / "runs" / "pat"
    save(run / "eval" / "perceptual" / "report.json", report())
    other = report("at", attacks={"a": 70, "d": 10}, seen=())
    single = save(tmp_path / "other.json", other)
    out = tmp_path / "out"
    assert compare.main([str(run), str(single), "--output", str(out)]) == 0
    with open(out / "compare.csv", newline="") as file:
        first, second = csv.DictReader(file)
    expected = {
        "run": "pat",
        "n": "100",
        "clean": "90.00",
        "clean low": "85.00",
        "a": "60.00",
        "c high": "25.00",
        "d": "",
        "union": "15.00",
        "seen mean": "60.00",
        "unseen mean": "30.00",
    }
    assert {k: first[k] for k in expected} == expected
    assert (second["seen mean"], second["unseen mean"]) == ("", "40.00")
    assert (second["b"], second["d"]) == ("", "10.00")
    page = (out / "compare.md").read_text()
    row = "| at | digits test | 100 | 90.00 (85.00 - 95.00) | 70.00 (65.00 - 75.00) |"
    assert row + " - | - | 10.00 (5.00 - 15.00) | 15.00 (10.00 - 20.00) | - |" in page
    assert page.count("| not checked |") == 2 and "CR" not in page
    html = (out / "compare.html").read_text()
    assert "data:image/png;base64," in html and "<td>at</td>" in html
    assert (out / "compare.png").is_file() and "](compare.png)" in page
    printed = capsys.readouterr().out
    assert "pat" in printed and "90.00 (85.00 - 95.00)" in printed


@pytest.mark.parametrize(
    "other, together",
    [
        ({}, True),
        ({"clean": share(10)}, True),
        ({"dataset": "photos"}, False),
        ({"split": "train"}, False),
        ({"eps": 0.2}, False),
        ({"attacks": {"a": 1}}, False),
    ],
)
def test_only_equal_unions_share_a_panel(tmp_path, panels, other, together):
    first = save(tmp_path / "1.json", report())
    second = save(tmp_path / "2.json", report("at", **other))
    compare.compare([first, second], tmp_path)
    groups = list(panels[0].values())
    assert groups == ([["pat", "at"]] if together else [["pat"], ["at"]])
    assert list(panels[0])[0] == "digits test: union of a 0.1, b 0.1, c 0.1"


def test_equal_names_are_told_apart_and_a_report_counts_once(tmp_path, panels):
    for suite in ("x", "y"):
        save(tmp_path / "r" / "eval" / suite / "report.json", report(suite=suite))
    third = save(tmp_path / "z.json", report(suite="x"))
    rows = compare.compare([tmp_path / "r", third, third], tmp_path)
    x = tmp_path / "r" / "eval" / "x" / "report.json"
    names = [f"pat (x) ({x})", "pat (y)", f"pat (x) ({third})"]
    assert [row["name"] for row in rows] == names


def test_the_seen_mean_is_the_one_of_the_report(tmp_path, panels):
    """It counts a cascade once, which the accuracies alone do not tell."""
    content = report(seen=("a", "b"), cascades={"aa": ["a", "b"]}, seen_mean=0.4)
    (row,) = compare.compare([save(tmp_path / "1.json", content)], tmp_path)
    assert row["seen_mean"] == 0.4


def test_another_union_can_be_chosen(tmp_path, panels):
    unions = {"lp": {**share(33), "attacks": ["b"]}}
    path = save(tmp_path / "1.json", report(unions=unions))
    (row,) = compare.compare([path], tmp_path, "lp")
    assert row["union"]["accuracy"] == 0.33
    assert list(panels[0]) == ["digits test: lp of b 0.1"]


def test_how_near_each_run_is_to_the_best(tmp_path, panels):
    """By hand: 40 / 60 and 20 / 20; 60 / 60 and 10 / 20, the dead attack left out."""
    attacks = {"a": 40, "b": 20, "c": 0}, {"a": 60, "b": 10, "c": 0}
    paths = [
        save(tmp_path / f"{i}.json", report(str(i), attacks=one))
        for i, one in enumerate(attacks)
    ]
    first, second = (row["ratios"] for row in compare.compare(paths, tmp_path))
    assert first == (pytest.approx((2 / 3 + 1) / 2), pytest.approx(2 / 3), "a")
    assert second == (pytest.approx(0.75), 0.5, "b")
    with open(tmp_path / "compare.csv", newline="") as file:
        rows = list(csv.DictReader(file))
    assert [row["CR worst"] for row in rows] == ["66.7", "50.0"]
    page = (tmp_path / "compare.md").read_text()
    assert "| 83.3 | 66.7 | a | not checked |" in page and "Dai et al." in page


def test_specialists_are_given(tmp_path, panels):
    path = save(tmp_path / "1.json", report(attacks={"a": 40, "b": 20}))
    table = save(tmp_path / "ata.json", {"a": 0.8, "b": 0.2, "d": 0.5})
    (row,) = compare.compare([path], tmp_path, specialists=table)
    assert row["ratios"] == (pytest.approx(0.75), 0.5, "a")
    assert "ata.json" in (tmp_path / "compare.md").read_text()
    for content in ({}, [], {"a": 0}, {"a": 1.5}, {"a": "x"}, {"a": True}):
        save(table, content)
        with pytest.raises(UsageError, match="^--specialists: .*ata.json"):
            compare.compare([path], tmp_path, specialists=table)


def test_what_the_checks_and_sweeps_say(tmp_path, panels):
    sweeps = {"jpeg": {"uar": 0.625, "points": []}, "snow": {"uar": None, "points": []}}
    said = report(verdict="not sound: 1 of 9 checks failed", sweeps=sweeps)
    paths = [save(tmp_path / "1.json", said), save(tmp_path / "2.json", report("at"))]
    compare.compare(paths, tmp_path)
    with open(tmp_path / "compare.csv", newline="") as file:
        first, second = csv.DictReader(file)
    assert (first["checks"], second["checks"]) == ("not sound", "not checked")
    assert (first["UAR jpeg"], second["UAR jpeg"]) == ("62.5", "")
    assert "UAR snow" not in first


@pytest.mark.parametrize("count, first", [(2, "run"), (20, "run0")])
def test_a_terminal_has_the_narrower_table(tmp_path, panels, capsys, count, first):
    """Runs stand in columns where there are few, in rows where there are many."""
    paths = [save(tmp_path / f"run{i}.json", report(f"run{i}")) for i in range(count)]
    compare.main([*map(str, paths), "--output", str(tmp_path / "out")])
    lines = capsys.readouterr().out.splitlines()[: count + 1]
    assert lines[0].split()[:2] == (["run", "run0"] if count == 2 else ["run", "data"])
    assert (f"{first} " in lines[1]) == (count == 20)


@pytest.mark.parametrize(
    "content, words",
    [
        (None, ["there is no run or report", "r.json"]),
        ("{", ["r.json", "no report"]),
        ("[]", ["r.json", "'dataset' is missing"]),
        (report(unions={"lp": {}}), ["no union 'union'", "unions: lp", "--union"]),
        ("folder", ["no report.json", "jaxadv eval --checkpoint="]),
    ],
)
def test_mistakes_are_one_line(tmp_path, capsys, content, words):
    path = tmp_path / "r.json"
    if content == "folder":
        path.mkdir()
    elif isinstance(content, str):
        path.write_text(content)
    elif content is not None:
        save(path, content)
    out = tmp_path / "out"
    assert compare.main([str(path), "--output", str(out)]) == 2
    captured = capsys.readouterr()
    assert captured.err.startswith("error: ") and len(captured.err.splitlines()) == 1
    for word in words:
        assert word in captured.err
    assert not out.exists()
