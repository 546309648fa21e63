"""The tables of a report as rows of text cells: for people, and as CSV files.

What stands in them is told by the metrics of `metrics.METRICS`, in their order.
"""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from jaxadv.evaluation import metrics
from jaxadv.evaluation.metrics.base import ROW

# Title of a column of the page -> the cell of a row.
_PAGE = {"attack": "attack", "norm": "norm", "eps": "budget"} | {
    name: name for name in ROW[2:]
}


def rows(report: Mapping[str, Any]) -> list[tuple[str, ...]]:
    """The main table: `ROW`, clean, the attacks, unions, means last."""
    return [ROW, *(_cells(row, ROW) for row in _rows(report))]


def page_rows(report: Mapping[str, Any]) -> list[tuple[str, ...]]:
    """`rows` as people read them: norm and eps, as 8/255, of every attack."""
    return [tuple(_PAGE), *(_cells(row, _PAGE.values()) for row in _rows(report))]


def _rows(report):
    for metric in metrics.chosen(report.get("metrics", ())):
        yield from metric.rows(report)


def _cells(row, names):
    return tuple(row.get(name, "-") for name in names)


def sections(report: Mapping[str, Any]) -> Iterator[metrics.Section]:
    """The other tables."""
    for metric in metrics.chosen(report.get("metrics", ())):
        yield from metric.sections(report)


def files(report: Mapping[str, Any]) -> dict[str, list[Sequence[Any]]]:
    """Name of a CSV file -> its rows, header first; no file for an empty table.

    `report.csv` is the main table, with the notes of the suite. The others, as
    `sweeps.csv`, are those of the metrics; they have one number a cell, accuracies in
    percent.
    """
    found: dict[str, list[Sequence[Any]]] = {"report.csv": [*_noted(report)]}
    for metric in metrics.chosen(report.get("metrics", ())):
        found[f"{metric.file or metric.name}.csv"] = list(metric.csv(report))
    return {name: cells for name, cells in found.items() if len(cells) > 1}


def _noted(report):
    """The main table with a last column of the suite's notes, if it has any."""
    notes = [row.get("note", "") for row in _rows(report)]
    head, *cells = rows(report)
    if not any(notes):
        return [head, *cells]
    noted = zip(cells, notes, strict=True)
    return [(*head, "note"), *((*row, note) for row, note in noted)]
