"""Accuracy against eps."""

from jaxadv.evaluation.metrics import accuracies
from jaxadv.evaluation.metrics.base import POINT, ROW, Metric, Section, point, share
from jaxadv.evaluation.writing.escape import code
from jaxadv.evaluation.writing.escape import markdown as shown


def _compute(table):
    labels = table.metadata.get("curves", {})
    return {label: accuracies.curve(table, label) for label in labels}


def _sections(report):
    for label, points in report["curves"].items():
        cells = [(f"{p['eps']:.4g}", *share(p).values()) for p in points]
        yield Section(
            f"Accuracy by eps, {label}",
            [ROW[1:5], *cells],
            before=_ran(report, label),
            numbers=True,
        )


def _ran(report, label):
    """What was run for a curve, where that is known, and what the table ran."""
    title = report.get("curve_titles", {}).get(label)
    if title is None:
        return []
    table = report["attacks"].get(label, {}).get("title", title)
    other = f"; the attack {code(label)} of the table is {shown(table)}"
    return [f"The curve is of {shown(title)}{other if table != title else ''}.", ""]


def _csv(report):
    return [
        ("curve", *POINT),
        *(
            (label, *point(p))
            for label, points in report["curves"].items()
            for p in points
        ),
    ]


CURVES = Metric(
    "curves",
    _compute,
    sections=_sections,
    csv=_csv,
    file="curve",
    about="accuracy against eps",
)
