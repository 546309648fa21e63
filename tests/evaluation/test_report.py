"""Reports of a suite: the table, the pages and what they are built from."""

import base64
import csv
import dataclasses
import json
import re
from pathlib import Path

import jax
import numpy as np
import pytest

from jaxadv import evaluation
from jaxadv.evaluation import metrics, report, table
from jaxadv.evaluation.metrics import sets
from jaxadv.evaluation.report import sheets
from jaxadv.evaluation.suite import config as configs
from jaxadv.evaluation.writing import files
from jaxadv.evaluation.writing.cells import percent
from jaxadv.specs import UsageError
from tests.evaluation.test_evaluation import CONFIG, MODEL, Quiet, pgd, run, source
from tests.evaluation.test_evaluation import straight as straight


@pytest.fixture(scope="module")
def written(tmp_path_factory):
    """A whole evaluation: (report, folder, printed lines)."""
    folder, lines = tmp_path_factory.mktemp("written"), []
    given = {
        **CONFIG,
        "attacks": {"pgd": pgd(eps=None, restarts=2), "l2": pgd("l2", eps=0.5)},
        "eps": 0.05,
        "curve": {"attack": pgd(eps=None), "points": 2},
        "unions": {"union": None, "only l2": ("l2",)},
        "pictures": 3,
        "about": {"authors": "A. Author", "venue": "Test"},
    }
    training = {"attack": pgd(eps=0.05)}
    info = {"name": "net", "architecture": "conv", "training": training}
    content = evaluation.evaluate(
        MODEL, source(), given, folder, info=info, show=lines.append, progress=Quiet
    )
    return content, folder, lines


ROBUSTBENCH = (
    "link name authors additional_data number_forward_passes dataset venue "
    "architecture eps clean_acc reported autoattack_acc external footnote unreliable"
).split()


def test_report_begins_with_the_verdict_and_the_robustbench_keys(written):
    content, folder, _ = written
    stored = json.loads((folder / "report.json").read_text())
    assert stored == json.loads(json.dumps(content))
    assert list(stored)[: 2 + len(ROBUSTBENCH)] == ["verdict", "why", *ROBUSTBENCH]
    assert stored["clean_acc"] == "90.00"
    assert stored["autoattack_acc"] == ""
    assert (stored["authors"], stored["architecture"]) == ("A. Author", "conv")
    assert stored["environment"]["jax"] == jax.__version__
    assert stored["environment"]["devices"] == 8
    assert stored["seen"] == ["pgd"]


def test_report_repeats_the_table(written):
    content, folder, _ = written
    found = table.load(folder / "table.npz")
    for label in ("pgd", "l2"):
        part, robust = content["attacks"][label], metrics.robust(found, [label])
        assert part["accuracy"] == robust.mean()
        assert part["largest_size"] == found.attack(label, "size").max() > 0
        assert part["feasible"] == 1
        assert part["forward_passes"] == part["mean_steps"] > 0
        assert 0 <= part["compile_seconds"] <= part["seconds"]
    assert content["unseen_mean"] == metrics.robust(found, ["l2"]).mean()
    assert content["unseen_mean_as_printed"] == content["unseen_mean"] / 2
    union = content["unions"]["union"]["accuracy"]
    assert union == metrics.robust(found, ["pgd", "l2"]).mean()


def test_one_table_is_printed_with_clean_first_and_means_last(written):
    content, folder, lines = written
    rows = lines[1].splitlines()
    starts = ["attack", "clean", "pgd", "l2", "union", "union only l2"]
    starts += ["unseen, l2 alone", "mean of all attacks"]
    assert len(rows) == len(starts)
    for row, start in zip(rows, starts, strict=True):
        assert row.startswith(start)
    assert "90.00  30  74.38 - 96.54" in rows[1]
    for line in lines[2:]:
        assert Path(line.split(": ")[1]).is_file()
    assert {"report.html", "curve_pgd_linf.png", "pictures_pgd.png"} <= {
        Path(line).name for line in lines[2:]
    }


def test_markdown_shows_the_table_and_the_pictures(written):
    content, folder, _ = written
    page = (folder / "report.md").read_text()
    for cells in sheets.page_rows(content):
        assert "| " + " | ".join(cells) + " |" in page
    for point in content["curves"]["pgd_linf"]:
        assert f"| {point['eps']:.4g} | {percent(point['accuracy'])} |" in page
    for name in ("curve_pgd_linf.png", "pictures_pgd.png", "pictures_l2.png"):
        assert f"]({name})" in page


def test_the_page_opens_without_its_folder(written):
    content, folder, _ = written
    page = (folder / "report.html").read_text()
    pictures = re.findall(r'<img [^>]*src="([^"]*)"', page)
    files = sorted(folder.glob("*.png"))
    assert len(pictures) == len(files) > 2
    stored = {base64.b64decode(p.partition("base64,")[2]) for p in pictures}
    assert stored == {file.read_bytes() for file in files}
    assert "http:" not in page and "https:" not in page
    assert page.count("<tr>") > len(sheets.rows(content))


def read(path):
    return [tuple(row) for row in csv.reader(path.read_text().splitlines())]


def test_every_table_is_a_csv_file(written):
    content, folder, _ = written
    assert read(folder / "report.csv") == sheets.rows(content)
    head, first, second, third = read(folder / "curve.csv")
    assert head == ("curve", "eps", "accuracy %", "n", "low %", "high %")
    assert first == ("pgd_linf", "0.0", "90.00", "30", "74.38", "96.54")
    assert (second[1], third[1]) == ("0.05", "0.1")
    counts = {name: str(n) for name, n in content["broken_by"].items()}
    assert dict(read(folder / "broken_by.csv")[1:]) == counts
    names = {path.name for path in folder.glob("*.csv")}  # no file without a row
    assert names == {"report.csv", "curve.csv", "broken_by.csv"}
    more = json.loads(json.dumps(content))
    more["attacks"]["pgd"].update(broken=7)
    more["attacks"]["pgd"]["distances"] = {"l2": {"mean": 0.5, "median": 0.25}}
    assert sheets.files(more)["distances.csv"][1:] == [("pgd", 7, "l2", 0.5, 0.25)]


def test_rare_sets_of_broken_images_are_summed_on_the_page(written):
    content = json.loads(json.dumps(written[0]))
    counts = {f"a_{k}": 40 - k for k in range(20)} | {"none": 1}
    content["broken_by"] = counts
    (section,) = metrics.METRICS["broken_by"].sections(content)
    rows = section.rows
    assert len(rows) == 1 + sets.MOST + 2 and rows[1] == ("a_0", "40")
    rest = sum(40 - k for k in range(sets.MOST, 20))
    assert rows[-2:] == [("5 other sets", str(rest)), ("none", "1")]
    assert f"| 5 other sets | {rest} |" in report.markdown(content, {})
    assert len(sheets.files(content)["broken_by.csv"]) == 1 + len(counts)


def test_a_sweep_is_one_row_with_uar(tmp_path):
    """The sum of the accuracies over that of the given ones, by hand."""
    attacks = {f"pgd_{i}": pgd(eps=0.03 * i) for i in (1, 2, 3)}
    labels, ata = tuple(attacks), (0.9, 0.8, 0.7)
    given = {**CONFIG, "attacks": attacks, "curve": None}
    sweeps = {"pgd": {"attacks": labels, "ata": ata}, "raw": {"attacks": labels[:2]}}
    plan = configs.resolve({**given, "sweeps": sweeps})
    outcome = run(tmp_path, {**given, "sweeps": sweeps})
    content = report.build(metrics.summarize(outcome.table), outcome, plan, {}, "1")
    found = [content["attacks"][label]["accuracy"] for label in labels]
    assert found == sorted(found, reverse=True) and len(set(found)) > 1
    assert np.isclose(content["sweeps"]["pgd"]["uar"], sum(found) / 2.4)
    (section,) = metrics.METRICS["sweeps"].sections(content)
    head, row, raw = section.rows
    assert row[1] == f"{100 * found[0]:.2f} (0.03)" and len(row) == len(head) == 5
    assert row[-1] == f"{100 * sum(found) / 2.4:.1f}"
    assert raw[-2:] == ("-", "-")
    assert "## Accuracy by budget" in report.markdown(content, {})
    lines = sheets.files(content)["sweeps.csv"]
    ends = [f"{100 * content['attacks']['pgd_1'][end]:.2f}" for end in ("low", "high")]
    shown = f"{100 * found[0]:.2f}"
    assert lines[1] == ("pgd", "pgd_1", 0.03, shown, 30, *ends, row[-1])
    assert len(lines) == 6 and lines[-1][-1] == ""
    for bad, message in (
        ({"attacks": labels[::-1]}, "they must ascend"),
        ({"attacks": labels, "ata": (1.0,)}, "ata has 1 numbers"),
        ({"attacks": ("x",)}, "sweeps.pgd names 'x'"),
    ):
        with pytest.raises(UsageError, match=message):
            configs.resolve({**given, "sweeps": {"pgd": bad}})


def test_means_count_a_cascade_once():
    broken = {"a": [1, 0, 0, 0], "b": [1, 1, 0, 0], "c": [0, 0, 0, 1]}
    columns = {f"attack/{k}/success": np.array(v, bool) for k, v in broken.items()}
    columns["clean/margin"] = np.full(4, -1.0)
    metadata = {"attacks": {k: {} for k in "abc"}, "cascades": {"x": ["a", "b"]}}
    found = table.Table(columns, metadata)
    assert metrics.whole(found) == ["b", "c"]
    assert metrics.union_mean(found) == (0.5 + 0.75) / 2
    assert metrics.unseen_mean(found, ("b",)) == 0.75
    assert metrics.seen_mean(found, ("b",)) == 0.5


def test_the_means_of_a_published_table_are_told_where_a_suite_asks(written):
    content = json.loads(json.dumps(written[0]))
    assert "would be" not in report.markdown(content, {})
    content["means"] = ["l2", "pgd"]
    page = report.markdown(content, {})
    assert "means count l2, pgd." in page and "would be" in page
    assert "| mean of counted attacks |" in page
    with pytest.raises(UsageError, match="config.means names 'x'"):
        configs.resolve({**CONFIG, "means": ("x",)})


def test_autoattack_is_filled_from_its_union_and_eps_is_a_fraction(straight):
    given = {**CONFIG, "attacks": {"pgd": pgd(eps=8 / 255)}}
    plan = configs.resolve({**given, "unions": {"autoattack": ("pgd",)}})
    plan = dataclasses.replace(plan, attacks=plan.attacks)
    renamed = straight.table.metadata | {"unions": {"autoattack": ["pgd"]}}
    outcome = dataclasses.replace(
        straight, table=table.Table(straight.table.columns, renamed)
    )
    content = report.build(metrics.summarize(outcome.table), outcome, plan, {}, "1")
    robust = metrics.robust(straight.table, ["pgd"]).mean()
    assert content["autoattack_acc"] == f"{100 * robust:.2f}"
    assert content["eps"] == "8/255"


@pytest.mark.parametrize(
    ("attacks", "more", "eps"),
    [
        ({"a": ("l2", 0.5), "b": ("linf", 8 / 255)}, {}, "8/255"),
        ({"a": ("l2", 128 / 255)}, {}, "0.501961"),
        ({"a": ("linf", 8 / 255), "b": ("l2", 0.5)}, {"autoattack": ("b",)}, "0.5"),
    ],
)
def test_eps_and_draws_are_those_robustbench_asks_for(straight, attacks, more, eps):
    given = {label: pgd(*threat) for label, threat in attacks.items()}
    plan = configs.resolve({**CONFIG, "attacks": given, "cascades": more, "draws": 20})
    summary = metrics.summarize(straight.table)
    timings = dict.fromkeys((*attacks, "clean"), straight.timings["pgd"])
    outcome = dataclasses.replace(
        straight, timings=timings, unconfirmed=dict.fromkeys(attacks, 0)
    )
    summary["attacks"] = dict.fromkeys(attacks, summary["attacks"]["pgd"])
    content = report.build(summary, outcome, plan, {}, "1")
    assert (content["eps"], content["number_forward_passes"]) == (eps, "20")


def test_notes_tell_of_resumed_and_infeasible_results(written):
    content = json.loads(json.dumps(written[0]))
    assert report.notes(content) == []
    content["attacks"]["pgd"].update(resumed=5, feasible=0.9)
    resumed, infeasible = report.notes(content)
    assert "5 of 27 images" in resumed and "10.00 %" in infeasible


def test_files_hold_json_that_every_reader_takes(tmp_path):
    content = {"kappa": float("inf"), "rows": [(0.5, float("nan"))]}
    files.write_json(tmp_path / "new" / "a.json", content)

    def refuse(name):
        raise AssertionError(name)

    stored = (tmp_path / "new" / "a.json").read_text()
    found = json.loads(stored, parse_constant=refuse)
    assert found == {"kappa": "inf", "rows": [[0.5, "nan"]]}
    assert [path.name for path in (tmp_path / "new").iterdir()] == ["a.json"]
