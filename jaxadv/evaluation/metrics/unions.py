"""Accuracies under several attacks together."""

from jaxadv.evaluation.metrics import accuracies
from jaxadv.evaluation.metrics.base import Metric, share
from jaxadv.evaluation.writing.escape import code
from jaxadv.evaluation.writing.escape import markdown as shown


def _compute(table):
    return {
        name: {
            **accuracies.accuracy(accuracies.robust(table, labels)),
            "attacks": list(labels),
        }
        for name, labels in table.metadata.get("unions", {}).items()
    }


def _title(name):
    return name if name == "union" else f"union {name}"


def _rows(report):
    for name, found in report["unions"].items():
        yield {"attack": _title(name), **share(found)}


def _words(report):
    for name, union in report["unions"].items():
        taken = shown(", ".join(union["attacks"]))
        yield f"{code(_title(name))} takes {taken} together."


UNIONS = Metric(
    "unions",
    _compute,
    rows=_rows,
    words=_words,
    about="accuracy under several attacks together",
)
