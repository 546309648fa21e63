"""Means over attacks: those that training has seen, those that it has not, all."""

from collections.abc import Collection, Mapping
from typing import Any

from jaxadv.evaluation.metrics import accuracies
from jaxadv.evaluation.metrics.base import Metric
from jaxadv.evaluation.writing.cells import percent
from jaxadv.evaluation.writing.escape import markdown as shown


def labels(report: Mapping[str, Any]) -> list[str]:
    """What means count: the suite's choice, or every attack, of a cascade the last."""
    if report.get("means") is not None:
        return list(report["means"])
    cascades: Collection = (report.get("cascades") or {}).values()
    parts = {label for some in cascades for label in some[:-1]}
    return [label for label in report["attacks"] if label not in parts]


def _seen(table):
    return table.metadata.get("seen", ())


def _seen_words(report):
    known = report["seen"] or (report.get("model") or {}).get("training")
    if not known:
        yield "How the network was trained is not known: no attack counts as seen."
        return
    yield f"Attacks seen in training: {shown(', '.join(report['seen']) or 'none')}."


def _counted_words(report):
    if report["means"] is not None:
        counted = shown(", ".join(report["means"]))
        yield f"Unseen and union means count {counted}."


def _unseen_rows(report):
    """One attack alone is not called a mean."""
    if report["unseen_mean"] is None:
        return
    unseen = [label for label in labels(report) if label not in report["seen"]]
    title = f"unseen, {unseen[0]} alone" if len(unseen) == 1 else "unseen mean"
    yield _row(report, title, report["unseen_mean"])


def _all_rows(report):
    if report["union_mean"] is None or len(labels(report)) < 2:
        return
    every = "all" if report["means"] is None else "counted"
    yield _row(report, f"mean of {every} attacks", report["union_mean"])


def _row(report, title, value):
    return {"attack": title, "accuracy %": percent(value), "n": str(report["examples"])}


def _printed_words(report):
    value = report["unseen_mean_as_printed"]
    if report["means"] is not None and value is not None:
        yield (
            "The unseen mean divided by the number of all of them, as some published "
            f"tables print it, would be {percent(value)} %."
        )


SEEN = Metric(
    "seen",
    lambda table: list(_seen(table)),
    words=_seen_words,
    about="the attacks that training has seen",
)
COUNTED = Metric(
    "means",
    lambda table: table.metadata.get("means"),
    words=_counted_words,
    about="the attacks that means count",
)
SEEN_MEAN = Metric(
    "seen_mean",
    lambda table: accuracies.seen_mean(table, _seen(table)),
    about="mean accuracy over seen attacks",
)
UNSEEN_MEAN = Metric(
    "unseen_mean",
    lambda table: accuracies.unseen_mean(table, _seen(table)),
    rows=_unseen_rows,
    about="mean accuracy over the other attacks",
)
AS_PRINTED = Metric(
    "unseen_mean_as_printed",
    lambda table: accuracies.unseen_mean_as_printed(table, _seen(table)),
    words=_printed_words,
    about="the same, with clean errors counted as papers do",
)
UNION_MEAN = Metric(
    "union_mean",
    accuracies.union_mean,
    rows=_all_rows,
    about="mean accuracy over all attacks",
)
