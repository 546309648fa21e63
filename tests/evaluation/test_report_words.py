"""Each picture and each word of a report says what was run, and what it is of."""

import json

import numpy as np
import pytest

from jaxadv import configfiles, evaluation
from jaxadv.evaluation import metrics, report
from jaxadv.evaluation.metrics.base import seconds as seconds_of
from jaxadv.evaluation.report import charts, drawing, plots, sheets
from jaxadv.evaluation.suite import config as configs
from jaxadv.evaluation.tools import compare
from jaxadv.specs import UsageError
from tests.evaluation import test_evaluation as base
from tests.evaluation import test_evaluation_compare as compared
from tests.evaluation import test_plots
from tests.evaluation.test_evaluation import CONFIG, MODEL, Quiet, pgd, source
from tests.evaluation.test_plots_charts import drawn as drawn
from tests.evaluation.test_report import written as written


def evaluate(folder, given, **more):
    return evaluation.evaluate(
        MODEL, source(), given, folder, progress=Quiet, show=lambda _: None, **more
    )


def table_of(broken, n=12, cascades=None):
    """A table of n correct images; label -> rows that it breaks."""
    columns = {"clean/margin": np.full(n, -1.0), "id": np.arange(n)}
    for label, rows in broken.items():
        columns[f"attack/{label}/success"] = np.isin(np.arange(n), rows)
    metadata = {"attacks": dict.fromkeys(broken), "cascades": cascades or {}}
    return evaluation.table.Table(columns, metadata)


@pytest.mark.parametrize("first", [0.02, 1.0])
def test_the_grid_of_a_part_of_a_cascade_shows_what_it_attacked(tmp_path, first):
    """None of what the part before it has broken, which at eps 1 is everything."""
    given = {
        **CONFIG,
        "attacks": {"small": pgd(eps=first), "pgd": pgd(eps=0.08)},
        "cascades": {"both": ("small", "pgd")},
        "pictures": 30,
    }
    outcome = base.run(tmp_path, given)
    found, shown = outcome.table, outcome.pictures["pgd"]
    reached = metrics.attacked(found, "pgd")
    assert 0 < reached.sum() < 27 or first == 1.0
    assert sorted(shown.ids) == found.columns["id"][reached].tolist()
    assert np.all(found.attack("pgd", "steps")[shown.ids] > 0)
    assert shown.success.sum() == metrics.broken(found, "pgd").sum()
    assert sorted(outcome.pictures["small"].ids) == sorted(
        found.columns["id"][metrics.clean_correct(found)]
    )
    if first == 2.0:
        content = evaluate(tmp_path, given)
        assert "pgd: there was no image left to attack" in report.notes(content)
        assert not (tmp_path / "pictures_pgd.png").exists()


@pytest.fixture
def curves(monkeypatch):
    """What `plots.curve` is told: attack, eps."""
    told, original = [], plots.curve

    def watching(points, path, **more):
        told.append(more)
        original(points, path, **more)

    monkeypatch.setattr(plots, "curve", watching)
    return told


def test_a_curve_is_named_by_what_it_ran_and_not_by_a_label(tmp_path, curves):
    """Its label is that of an attack of the table, which has more restarts."""
    attacks = {"a": pgd(eps=0.01), "pgd_linf": pgd(eps=0.05, restarts=2)}
    curve = {"attack": pgd(), "eps": (0.02, 0.04)}
    content = evaluate(
        tmp_path, {**CONFIG, "attacks": attacks, "curve": curve, "overlap": ()}
    )
    (told,) = curves
    assert (told["attack"], told["eps"]) == ("PGD-4", 0.05)
    assert content["curve_titles"] == {"pgd_linf": "PGD-4"}
    words = (
        "The curve is of PGD-4; the attack `pgd_linf` of the table is PGD-4 x 2 "
        "restarts."
    )
    assert words in (tmp_path / "report.md").read_text()


def test_the_curve_of_sizes_and_one_of_the_same_name_are_two():
    ddn = {"name": "ddn", "steps": 20, "search": 5, "threat": {"name": "l2", "eps": 9}}
    given = {"attacks": {"ddn_l2": ddn}, "curve": {"attack": ddn, "eps": (1.0,)}}
    plan = configs.resolve(given)
    assert plan.curve_label == "ddn_l2_curve"
    assert plan.behind("ddn_l2") is plan.attacks[0]
    assert plan.behind("ddn_l2_curve") is plan.curve[-1]


def test_a_bound_that_nothing_came_near_is_no_budget():
    far = {"name": "ddn", "steps": 20, "threat": {"name": "l2", "eps": 1e3}}
    attacks = {"ddn": far, "pgd": pgd("l2", eps=0.5)}
    points = [{"eps": 0.0}, {"eps": 2.0}]
    for given, eps in ((attacks, 0.5), ({"ddn": far}, None)):
        plan = configs.resolve({"attacks": given})
        assert drawing.marked(plan, "ddn", points) == eps
    assert drawing.marked(plan, "ddn", [{"eps": 800.0}]) == 1e3


@pytest.mark.parametrize("eps", [0.05, 0.2, 0.35])
def test_the_eps_of_the_suite_is_marked_wherever_a_curve_ends(
    monkeypatch, tmp_path, eps
):
    figures = []
    monkeypatch.setattr(plots, "write", lambda figure, path: figures.append(figure))
    given = {"attack": "a", "threat": "linf", "dataset": "d", "classes": 4}
    plots.curve(test_plots.POINTS, tmp_path / "a.png", eps=eps, **given)
    (axes,) = figures[0].axes
    marked = [line for line in axes.lines if line.get_label().startswith("eps of")]
    assert [line.get_xdata()[0] for line in marked] == [eps]
    assert axes.get_xlim()[1] > max(eps, 0.2)


@pytest.fixture
def overlaps(monkeypatch):
    """What `charts.overlap` is told: counts, labels, title."""
    told, original = [], charts.overlap

    def watching(counts, labels, path, *, title):
        told.append((dict(counts), list(labels), title))
        original(counts, labels, path, title=title)

    monkeypatch.setattr(charts, "overlap", watching)
    return told


def test_picture_and_table_count_the_same_attacks(tmp_path, overlaps):
    """Four, of which the last breaks most."""
    attacks = {k: pgd(eps=0.01 * (i + 1)) for i, k in enumerate("abcd")}
    content = evaluate(tmp_path, {**CONFIG, "attacks": attacks})
    ((counts, labels, title),) = overlaps
    assert labels == list("abcd") and "others" not in title
    assert counts == content["broken_by"]


def test_of_many_attacks_those_that_break_most_are_drawn(tmp_path, overlaps):
    rows = {f"a{k}": range(k) for k in range(12)}
    found = table_of(rows)
    found.metadata["dataset"] = "digits"
    plan = configs.resolve({"attacks": dict.fromkeys(rows, pgd())})
    drawing.compare(found, plan, tmp_path)
    ((_, labels, title),) = overlaps
    assert labels == [f"a{k}" for k in range(4, 12)]
    assert "whatever others do" in title


def test_a_part_that_stands_for_its_cascade_is_called_so():
    """Not by its own label, under which the table counts what it broke alone."""
    rows = {"a": [0], "b": [1], "c": [2], "d": [0, 2, 3]}
    found = table_of(rows, cascades={"abc": ["a", "b", "c"]})
    names = metrics.standing_for(found, ("c", "d"))
    assert names == {"c": "abc (cascade)"}
    counts = metrics.broken_by(found, ("c", "d"), names)
    assert counts["abc (cascade) + d"] == 1 and counts["d"] == 2
    assert metrics.standing_for(found, ("b", "d")) == {"b": "abc up to b (cascade)"}
    assert metrics.standing_for(found, "abcd") == {}


def test_one_attack_alone_is_not_called_a_mean(written, tmp_path):
    content = json.loads(json.dumps(written[0]))
    titles = [row[0] for row in sheets.rows(content)]
    assert "unseen, l2 alone" in titles and "unseen mean" not in titles
    content["seen"], content["means"] = [], ["l2"]
    titles = [row[0] for row in sheets.rows(content)]
    assert "unseen, l2 alone" in titles and not any("mean" in t for t in titles)
    content["means"] = None
    assert "unseen mean" in [row[0] for row in sheets.rows(content)]
    given = compared.report(seen=("a",), cascades={"x": ["b", "c"]})
    (row,) = compare.compare([compared.save(tmp_path / "1.json", given)], tmp_path)
    assert (row["seen_attacks"], row["unseen_attacks"]) == (["a"], ["c"])
    page = (tmp_path / "compare.md").read_text()
    assert "| 60.00 (a alone) | 30.00 (c alone) |" in page
    assert "seen attacks,unseen attacks\n" in (tmp_path / "compare.csv").read_text()


def seconds(folder):
    """The files that keep the seconds of the attack `pgd`."""
    return list((folder / "journal" / "pgd").rglob("seconds-000.json"))


def test_seconds_outlive_a_resume(tmp_path):
    first = base.run(tmp_path).timings["pgd"]
    assert first.measured == first.seconds
    (kept,) = seconds(tmp_path)
    kept.write_text('{"seconds": 100.0}')
    again = base.run(tmp_path).timings["pgd"]
    assert (again.resumed, again.measured) == (27, 100.0)
    assert json.loads(kept.read_text()) == {"seconds": 100.0}
    for lost in ("{", '{"seconds": "1"}', '{"seconds": NaN}', None):
        kept.write_text(lost) if lost else kept.unlink()
        assert base.run(tmp_path).timings["pgd"].measured is None
    shown = {"seconds": 0.0, "resumed": 27, "measured_seconds": None}
    assert seconds_of(shown) == "-" == seconds_of({**shown} | {"resumed": 1})


def test_seconds_of_a_killed_run_are_added(tmp_path):
    class Interrupting(Quiet):
        def update(self, done, broken):
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        base.run(tmp_path, progress=Interrupting)
    (kept,) = seconds(tmp_path)
    assert json.loads(kept.read_text())["seconds"] > 0
    kept.write_text('{"seconds": 100.0}')
    timing = base.run(tmp_path).timings["pgd"]
    assert 0 < timing.resumed < 27
    assert timing.measured == 100.0 + timing.seconds
    assert json.loads(kept.read_text())["seconds"] == timing.measured


def test_the_table_has_an_eps_and_seconds_of_all_runs(written):
    content = json.loads(json.dumps(written[0]))
    content["attacks"]["pgd"].update(seconds=0.0, measured_seconds=12.3, resumed=27)
    head, *rows = sheets.rows(content)
    found = {row[0]: dict(zip(head, row, strict=True)) for row in rows}
    assert (found["pgd"]["eps"], found["l2"]["eps"]) == ("0.05", "0.5")
    assert found["pgd"]["seconds"] == "12.3"
    assert "27 of 27 images were read from the journal; seconds count all runs" in (
        "\n".join(report.notes(content))
    )
    # A report that was written before these were kept.
    del content["attacks"]["pgd"]["measured_seconds"]
    assert dict(zip(head, sheets.rows(content)[2], strict=True))["seconds"] == "-"


def test_a_note_of_a_suite_stands_beside_the_accuracy(written, tmp_path):
    note = "without its authors' penalty"
    given = {**CONFIG, "attacks": {"a": pgd(), "b": pgd(eps=0.02)}, "pictures": 0}
    content = evaluate(tmp_path, {**given, "notes": {"a": note}, "overlap": ()})
    assert content["attacks"]["a"]["note"] == note
    assert content["attacks"]["b"]["note"] == ""
    assert f"a: {note}" in report.text(content).splitlines()
    assert f"- a: {note}\n" in (tmp_path / "report.md").read_text()
    table = (tmp_path / "report.csv").read_text().splitlines()
    assert table[0].endswith(",note") and table[2].endswith(f",{note}")
    assert table[3].endswith(",")
    for bad, told in (
        ({"c": note}, "config.notes names 'c'; attacks: a, b"),
        ({"a": 3}, "config.notes.a is 3"),
        ({"a": " "}, "config.notes.a is ' '"),
        ("a", "config.notes is 'a'"),
    ):
        with pytest.raises(UsageError, match=told):
            configs.resolve({**given, "notes": bad})


@pytest.mark.parametrize("name", ["narrow", "unseen"])
@pytest.mark.parametrize("data", ["cifar", "imagenet100"])
def test_suites_tell_which_attacks_are_not_searched_as_published(name, data):
    path = base.ROOT / "configs" / "suites" / f"{name}_{data}.py"
    suite = configfiles.load(str(path))
    assert set(suite.notes) == {"stadv", "recolor"} <= set(suite.attacks)
    for label, note in suite.notes.items():
        spec = suite.attacks[label]
        assert spec.name == "pgd" and "sign of the gradient" in note
        assert (
            "smooth" not in spec.threat and "penalty on roughness is left out" in note
        )


def test_what_is_not_known_of_the_training_is_said():
    (words,) = metrics.METRICS["seen"].words({"seen": [], "model": {}})
    assert "is not known" in words
    (words,) = metrics.METRICS["seen"].words(
        {"seen": [], "model": {"training": {"epochs": 1}}}
    )
    assert words == "Attacks seen in training: none."
