"""Numbers computed from per-example results, and how each is told.

A metric is a `Metric` in a file of its own and a line in `METRICS`; summary, JSON, CSV
files, the printed tables and the page take all that stand there.
"""

from collections.abc import Iterable
from typing import Any

from jaxadv import specs
from jaxadv.evaluation.metrics import foreign
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
from jaxadv.evaluation.metrics.draws import DRAWS
from jaxadv.evaluation.metrics.foreground import FOREGROUND
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
from jaxadv.evaluation.metrics.queries import QUERIES
from jaxadv.evaluation.metrics.sets import BROKEN_BY
from jaxadv.evaluation.metrics.sweeps import SWEEPS
from jaxadv.evaluation.metrics.unions import UNIONS
from jaxadv.evaluation.table import Table
from jaxadv.plugins import Registry

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
    "chosen",
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
METRICS = Registry(
    "metrics",
    {
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
            DRAWS,
            QUERIES,
            FOREGROUND,
            BROKEN_BY,
            CURVES,
        )
    },
    made=Metric,
)


# Other entries of report.json.
TAKEN = frozenset(
    (
        "additional_data architecture authors autoattack_acc batch_size_per_device "
        "check_timing checks classes clean_acc curve_timing curve_titles dataset "
        "environment eps examples external fingerprint footnote link metrics model "
        "name number_forward_passes reported seed split suite unreliable venue verdict "
        "why"
    ).split()
)


def chosen(more: Iterable[str]) -> tuple[Metric, ...]:
    """Our own metrics, and those of packages that `more` names.

    Raises:
      UsageError: one is unknown, or has the name of another.
    """
    found = dict(METRICS.data)
    for name in more:
        metric: Any = specs.lookup(name, METRICS, "config.metrics")
        if metric.name in TAKEN:
            raise specs.UsageError(
                f"config.metrics: {name} calls itself {metric.name!r}, which is "
                "another entry of a report; give its Metric another name"
            )
        if metric.name in found:
            raise specs.UsageError(
                f"config.metrics: {name} calls itself {metric.name!r}, as another "
                "metric does; give its Metric another name"
            )
        found[metric.name] = foreign.guarded(metric, name)
    return tuple(found.values())


def summarize(table: Table) -> dict[str, Any]:
    """All numbers of a table as plain JSON; fractions, not percent."""
    return {
        metric.name: metric.compute(table)
        for metric in chosen(table.metadata.get("metrics", ()))
        if metric.compute is not None and metric.applies(table)
    }
