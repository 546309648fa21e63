"""Accuracy without an attack."""

from jaxadv.evaluation.metrics import accuracies
from jaxadv.evaluation.metrics.base import Metric, seconds, share


def _rows(report):
    found = report["clean"]
    yield {
        "attack": "clean",
        **share(found),
        "seconds": seconds(found),
        "passes/image": "1+0",
    }


CLEAN = Metric(
    "clean",
    lambda table: accuracies.accuracy(accuracies.clean_correct(table)),
    rows=_rows,
    about="accuracy without an attack",
)
