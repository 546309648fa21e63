"""Which exact set of attacks breaks an image."""

from jaxadv.evaluation.metrics import accuracies
from jaxadv.evaluation.metrics.base import Metric, Section

MOST = 15  # rows of a page, where a suite of many attacks breaks many sets
_HEAD = ("broken by exactly", "images")


def _sections(report):
    """Sets after the `MOST` most frequent are summed in one row."""
    sets = dict(report["broken_by"])
    unbroken = {"none": sets.pop("none")} if "none" in sets else {}
    shown = dict(list(sets.items())[:MOST])
    rest = len(sets) - len(shown)
    more = {f"{rest} other sets": sum(sets.values()) - sum(shown.values())}
    shown |= (more if rest else {}) | unbroken
    cells = [(name, str(count)) for name, count in shown.items()]
    yield Section("Which attacks break an image", [_HEAD, *cells])


def _csv(report):
    return [_HEAD, *report["broken_by"].items()]


BROKEN_BY = Metric(
    "broken_by",
    lambda table: accuracies.broken_by(table, table.attacks),
    sections=_sections,
    csv=_csv,
    about="how many images each exact set of attacks breaks",
)
