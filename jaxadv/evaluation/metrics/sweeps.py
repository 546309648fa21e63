"""One attack at ascending budgets, and UAR where calibrated accuracies are given."""

from jaxadv.evaluation.metrics import accuracies
from jaxadv.evaluation.metrics.base import POINT, Metric, Section, point, threat
from jaxadv.evaluation.writing.cells import budget, percent


def _compute(table):
    names = table.metadata.get("sweeps", {})
    return {name: accuracies.sweep(table, name) for name in names}


def _sections(report):
    if report["sweeps"]:
        yield Section(
            "Accuracy by budget",
            _rows(report, lambda p: budget(p["eps"], _threat(report, p))),
            about="UAR is the sum of a row's accuracies over that of networks trained "
            "against the same attack at each budget, times 100.",
            printed=_rows(report, lambda p: f"{p['eps']:.4g}"),
        )


def _threat(report, found):
    return threat(report["attacks"].get(found["attack"], {}))


def _rows(report, eps):
    """A row a sweep: accuracies with the eps of each, as `eps` writes it, and UAR."""
    sweeps = report["sweeps"]
    most = max(len(found["points"]) for found in sweeps.values())
    cells = [("accuracy % (at eps)", *(str(i + 1) for i in range(most)), "UAR")]
    for name, found in sweeps.items():
        shown = [f"{percent(p['accuracy'])} ({eps(p)})" for p in found["points"]]
        shown += ["-"] * (most - len(shown))
        cells.append((name, *shown, _score(found["uar"], "-")))
    return cells


def _score(uar, nothing):
    return nothing if uar is None else f"{100 * uar:.1f}"


def _csv(report):
    return [
        ("sweep", "attack", *POINT, "UAR"),
        *(
            (name, p["attack"], *point(p), _score(sweep["uar"], ""))
            for name, sweep in report["sweeps"].items()
            for p in sweep["points"]
        ),
    ]


SWEEPS = Metric(
    "sweeps",
    _compute,
    sections=_sections,
    csv=_csv,
    about="accuracy of one attack at several budgets, and UAR",
)
