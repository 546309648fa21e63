"""How much of what people look at is foreground, before and after each attack."""

import numpy as np

from jaxadv.evaluation.metrics import accuracies
from jaxadv.evaluation.metrics.base import Metric, Section
from jaxadv.evaluation.writing.cells import percent

_ABOUT = (
    "The share of all looks that fall on the foreground, as the suite's saliency "
    "network expects them: means over the images that are correct without an attack, "
    "in percent."
)
_CLEAN = "clean/foreground"
_HEAD = ("foreground score", "clean images", "returned images", "change")


def _compute(table):
    """Label -> mean scores of clean and of returned images; empty if none is right."""
    correct = accuracies.clean_correct(table)
    if not np.any(correct):
        return {}

    def mean(column):
        return float(np.mean(table.columns[column][correct], dtype=np.float64))

    clean = mean(_CLEAN)
    return {
        label: {"clean": clean, "returned": mean(f"attack/{label}/foreground")}
        for label in table.attacks
    }


def _rows(report):
    rows: list[tuple[str, ...]] = [_HEAD]
    for label, found in report["foreground"].items():
        change = found["returned"] - found["clean"]
        cells = percent(found["clean"]), percent(found["returned"])
        rows.append((label, *cells, f"{100 * change:+.2f}"))
    return rows


def _sections(report):
    if report.get("foreground"):
        rows = _rows(report)
        title = "Where people are expected to look"
        yield Section(title, rows, about=_ABOUT, printed=rows)


FOREGROUND = Metric(
    "foreground",
    _compute,
    sections=_sections,
    csv=lambda report: _rows(report) if report.get("foreground") else (),
    about="how much of what people look at is foreground",
    needs=_CLEAN,
)
