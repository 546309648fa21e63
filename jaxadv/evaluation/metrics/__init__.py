"""Numbers computed from per-example results, and how each is told.

A metric is a `Metric` in a file of its own and a line in `METRICS`; summary, JSON, CSV
files, the printed tables and the page take all that stand there.
"""

from typing import Any

from jaxadv.evaluation.metrics.accuracies import (
    accuracy,
    area,
    attacked,
    broken,
    broken_by,
    clean_correct,
    counted,
    curve,
    distances,
    robust,
    seen_mean,
    standing_for,
    strongest,
    sweep,
    types,
    uar,
    union_mean,
    unseen_mean,
    unseen_mean_as_printed,
    whole,
    wilson,
)
from jaxadv.evaluation.metrics.base import Metric, Section, threat
from jaxadv.evaluation.metrics.cascades import CASCADES
from jaxadv.evaluation.metrics.clean import CLEAN
from jaxadv.evaluation.metrics.curves import CURVES
from jaxadv.evaluation.metrics.means import (
    AS_PRINTED,
    COUNTED,
    SEEN,
    SEEN_MEAN,
    UNION_MEAN,
    UNSEEN_MEAN,
)
from jaxadv.evaluation.metrics.means import labels as mean_labels
from jaxadv.evaluation.metrics.moved import DISTANCES
from jaxadv.evaluation.metrics.per_attack import ATTACKS
from jaxadv.evaluation.metrics.sets import BROKEN_BY
from jaxadv.evaluation.metrics.sweeps import SWEEPS
from jaxadv.evaluation.metrics.unions import UNIONS
from jaxadv.evaluation.table import Table

__all__ = [
    "METRICS",
    "Metric",
    "Section",
    "mean_labels",
    "threat",
    "accuracy",
    "area",
    "attacked",
    "broken",
    "broken_by",
    "clean_correct",
    "counted",
    "curve",
    "distances",
    "robust",
    "seen_mean",
    "standing_for",
    "strongest",
    "summarize",
    "sweep",
    "types",
    "uar",
    "union_mean",
    "unseen_mean",
    "unseen_mean_as_printed",
    "whole",
    "wilson",
]

# In the order in which they are told.
METRICS: dict[str, Metric] = {
    metric.name: metric
    for metric in (
        CLEAN,
        ATTACKS,
        UNIONS,
        SEEN,
        COUNTED,
        SEEN_MEAN,
        UNSEEN_MEAN,
        AS_PRINTED,
        UNION_MEAN,
        CASCADES,
        SWEEPS,
        DISTANCES,
        BROKEN_BY,
        CURVES,
    )
}


def summarize(table: Table) -> dict[str, Any]:
    """All numbers of a table as plain JSON; fractions, not percent."""
    return {
        name: metric.compute(table)
        for name, metric in METRICS.items()
        if metric.compute is not None
    }
