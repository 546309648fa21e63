"""A metric is one file and one line: what tells of an evaluation takes all of them."""

import csv
import json
import re
from pathlib import Path

import numpy as np
import pytest

from jaxadv.evaluation import metrics, report
from jaxadv.evaluation.metrics import base
from jaxadv.evaluation.report import sheets
from tests.golden import make_report

PACKAGE = Path(metrics.__file__).parent


def section(content):
    yield metrics.Section(
        "How sure it is",
        [("attack", "margin"), ("all", content["surest"]["shown"])],
        about="The largest margin.",
        printed=[("toy", "margin"), ("all", content["surest"]["shown"])],
    )


def compute(table):
    value = float(-np.min(table.columns["clean/margin"]))
    return {"value": value, "shown": f"{value:.1f}"}


# All that a new metric's file has.
TOY = metrics.Metric(
    "surest",
    compute,
    rows=lambda content: [{"attack": "surest", "accuracy %": "12.34"}],
    words=lambda content: ["The surest image has a margin."],
    sections=section,
    csv=lambda content: [("margin",), (content["surest"]["value"],)],
)


@pytest.fixture
def folder(monkeypatch, tmp_path):
    """Everything that is written of the stored table, with one more metric."""
    monkeypatch.setitem(metrics.METRICS, TOY.name, TOY)
    content = make_report.content(make_report.made())
    report.write(content, {}, tmp_path)
    (tmp_path / "report.txt").write_text(report.text(content))
    return tmp_path


def read(path):
    return [tuple(row) for row in csv.reader(path.read_text().splitlines())]


def test_a_new_metric_is_told_everywhere(folder):
    assert metrics.summarize(make_report.made())["surest"]["value"] == 1.0
    stored = json.loads((folder / "report.json").read_text())
    assert stored["surest"] == {"value": 1.0, "shown": "1.0"}
    assert read(folder / "surest.csv") == [("margin",), ("1.0",)]
    (row,) = [r for r in read(folder / "report.csv") if r[0] == "surest"]
    assert row == ("surest", "-", "12.34", *["-"] * 6, "")
    page = (folder / "report.md").read_text()
    assert "| surest | - | - | 12.34 |" in page
    assert "training: strong. Unseen and union means" in page
    assert "The surest image has a margin." in page
    assert "## How sure it is\n\n| attack | margin |\n" in page
    assert "| all | 1.0 |\n\nThe largest margin.\n" in page
    assert "<h2>How sure it is</h2>" in (folder / "report.html").read_text()
    lines = (folder / "report.txt").read_text().splitlines()
    assert any(line.startswith("surest ") and "12.34" in line for line in lines)
    assert "toy  margin" in lines


def test_without_it_nothing_of_it_is_left(tmp_path):
    report.write(make_report.content(make_report.made()), {}, tmp_path)
    assert not (tmp_path / "surest.csv").exists()
    assert "surest" not in (tmp_path / "report.md").read_text()


def test_every_metric_of_a_file_stands_in_the_registry():
    pattern = re.compile(r"^[A-Z_]+ = Metric\(\s*\"(\w+)\"", re.M)
    texts = [path.read_text() for path in PACKAGE.glob("*.py")]
    declared = [name for text in texts for name in pattern.findall(text)]
    assert sorted(declared) == sorted(metrics.METRICS)
    assert all(name == metric.name for name, metric in metrics.METRICS.items())


def test_no_file_hides_a_function_of_its_name():
    modules = {path.stem for path in PACKAGE.glob("*.py")}
    assert not modules & set(metrics.__all__)


def test_no_two_metrics_write_one_file():
    names = [metric.file or metric.name for metric in metrics.METRICS.values()]
    assert len(names) == len(set(names)) and "report" not in names


def test_no_metric_takes_the_place_of_another_entry_of_a_report():
    made = make_report.made()
    others = set(make_report.content(made)) - set(metrics.summarize(made))
    assert {"verdict", "suite", "checks", "environment"} <= others
    assert not others & set(metrics.METRICS)
    assert others <= metrics.TAKEN


def test_rows_have_columns_of_the_table():
    content = make_report.content(make_report.made())
    known = {*base.ROW, "norm", "budget", "note"}
    for metric in metrics.METRICS.values():
        for row in metric.rows(content):
            assert set(row) <= known and row["attack"]
    assert len(sheets.rows(content)[0]) == len(base.ROW)
