"""Accuracy against the queries that attacks without a gradient have spent."""

import numpy as np

from jaxadv.evaluation.metrics import accuracies
from jaxadv.evaluation.metrics.base import Metric, Section
from jaxadv.evaluation.writing.cells import percent

_ABOUT = (
    "A query is one forward pass of the network on one image. An attack that does not "
    "stop at its first success has spent all its queries on every image. One that runs "
    "after others of a cascade begins with what these have left."
)
_MARKS = (1, 10, 100, 1000, 10_000, 100_000)
_HEAD = ("attack", "median queries", "most queries")


def _compute(table):
    """Label -> queries [ascending] at which an image broke, and what they leave."""
    found = {}
    for label in table.attacks:
        each = _queries(table, label)
        if each is None:
            continue
        spent = each * table.attack(label, "steps")
        broken = accuracies.broken(table, label)
        at, counts = np.unique(spent[broken], return_counts=True)
        reached = int(np.sum(accuracies.attacked(table, label)))
        left = reached - np.concatenate([[0], np.cumsum(counts)])
        found[label] = {
            "queries": [0, *at.tolist()],
            "accuracy": (left / max(len(table), 1)).tolist(),
            "most": int(np.max(spent, initial=0)),
            "median": float(np.median(spent[broken])) if np.any(broken) else None,
        }
    return found


def _queries(table, label):
    """The queries of a step; None of an attack with a gradient."""
    return (table.metadata["attacks"][label] or {}).get("queries")


def _asked(table):
    return any(_queries(table, label) is not None for label in table.attacks)


def after(found, queries) -> float:
    """The accuracy that a number of queries leaves."""
    place = np.searchsorted(found["queries"], queries, side="right") - 1
    return found["accuracy"][place]


def _rows(report):
    told = report["queries"]
    most = max(found["most"] for found in told.values())
    marks = [mark for mark in _MARKS if mark <= most]
    rows: list[tuple[str, ...]] = [(*_HEAD, *(f"after {m:,}" for m in marks))]
    for label, found in told.items():
        median = "-" if found["median"] is None else f"{found['median']:.0f}"
        left = [percent(after(found, mark)) for mark in marks]
        rows.append((label, median, str(found["most"]), *left))
    return rows


def _sections(report):
    if report.get("queries"):
        rows = _rows(report)
        yield Section("Accuracy by queries, %", rows, about=_ABOUT)


def _csv(report):
    rows = [("attack", "queries", "accuracy %")]
    for label, found in report.get("queries", {}).items():
        pairs = zip(found["queries"], found["accuracy"], strict=True)
        rows += [(label, str(at), percent(left)) for at, left in pairs]
    return rows


QUERIES = Metric(
    "queries",
    _compute,
    sections=_sections,
    csv=_csv,
    about="accuracy against the queries of attacks without a gradient",
    needs=_asked,
)
