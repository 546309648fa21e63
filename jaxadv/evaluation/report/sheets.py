"""The tables of a report as rows of text cells: for people, and as CSV files."""

from collections.abc import Collection, Mapping, Sequence
from typing import Any

from jaxadv.evaluation.report import headline
from jaxadv.evaluation.writing.cells import budget, percent

HEADER = (
    "attack",
    "eps",
    "accuracy %",
    "n",
    "95 % interval",
    "steps",
    "seconds",
    "passes/image",
    "largest size",
)
_POINT = ("eps", "accuracy %", "n", "low %", "high %")
MOST_SETS = 15  # rows of a page, where a suite of many attacks breaks many sets


def rows(report: Mapping[str, Any]) -> list[tuple[str, ...]]:
    """The main table: `HEADER`, clean, the attacks, unions, means last."""
    clean = report["clean"]
    cells = [
        HEADER,
        ("clean", "-", *_share(clean), "-", _seconds(clean), "1+0", "-"),
    ]
    for label, found in report["attacks"].items():
        passes = f"{found['forward_passes']:.1f}+{found['backward_passes']:.1f}"
        cells.append(
            (
                label,
                f"{found['eps']:.4g}",
                *_share(found),
                f"{found['mean_steps']:.1f}",
                _seconds(found),
                passes,
                f"{found['largest_size']:.4g}",
            )
        )
    for name, union in report["unions"].items():
        title = name if name == "union" else f"union {name}"
        cells.append((title, "-", *_share(union), "-", "-", "-", "-"))
    for title, value in _means(report):
        n = str(report["examples"])
        cells.append((title, "-", percent(value), n, "-", "-", "-", "-", "-"))
    return cells


def page_rows(report: Mapping[str, Any]) -> list[tuple[str, ...]]:
    """`rows` as people read them: norm and eps, as 8/255, of every attack."""
    head, *others = rows(report)
    cells = [(head[0], "norm", *head[1:])]
    for (first, _, *more), attack in zip(others, _attacks(report), strict=True):
        name = headline.threat(attack) if attack else "-"
        eps = budget(attack["eps"], name) if attack else "-"
        cells.append((first, name, eps, *more))
    return cells


def _attacks(report):
    """The attack of each row of `rows`, None for the others."""
    several = len(report["unions"]) + len(list(_means(report)))
    return [None, *report["attacks"].values(), *[None] * several]


def _means(report):
    """Titles and values of the means: one attack alone is not called a mean."""
    counted = mean_labels(report)
    unseen = [label for label in counted if label not in report["seen"]]
    if report["unseen_mean"] is not None:
        alone = f"unseen, {unseen[0]} alone" if len(unseen) == 1 else "unseen mean"
        yield alone, report["unseen_mean"]
    if report["union_mean"] is not None and len(counted) > 1:
        every = "all" if report["means"] is None else "counted"
        yield f"mean of {every} attacks", report["union_mean"]


def mean_labels(report: Mapping[str, Any]) -> list[str]:
    """What means count: the suite's choice, or every attack, of a cascade the last."""
    if report.get("means") is not None:
        return list(report["means"])
    cascades: Collection = (report.get("cascades") or {}).values()
    parts = {label for some in cascades for label in some[:-1]}
    return [label for label in report["attacks"] if label not in parts]


def _seconds(found):
    """Of all runs that made the results; - where an earlier one did not keep them."""
    fresh = None if found.get("resumed") else found["seconds"]
    measured = found.get("measured_seconds", fresh)
    return "-" if measured is None else f"{measured:.1f}"


def sweep_rows(
    report: Mapping[str, Any], fractions: bool = False
) -> list[tuple[str, ...]]:
    """Accuracies of each sweep at its budgets, and UAR; header first, or nothing.

    With `fractions` an eps is written as 8/255 where it is one.
    """

    def at(point):
        attack = report["attacks"].get(point["attack"], {})
        name = headline.threat(attack) if fractions else ""
        return budget(point["eps"], name)

    sweeps = report["sweeps"]
    if not sweeps:
        return []
    most = max(len(found["points"]) for found in sweeps.values())
    cells = [("accuracy % (at eps)", *(str(i + 1) for i in range(most)), "UAR")]
    for name, found in sweeps.items():
        shown = [
            f"{percent(point['accuracy'])} ({at(point)})" for point in found["points"]
        ]
        shown += ["-"] * (most - len(shown))
        score = "-" if found["uar"] is None else f"{100 * found['uar']:.1f}"
        cells.append((name, *shown, score))
    return cells


def distance_rows(report: Mapping[str, Any]) -> list[tuple[str, ...]]:
    """Mean and median distance of the images that each attack breaks; header first.

    Empty where the suite measured no distances.
    """
    attacks = report["attacks"]
    names = list(dict.fromkeys(n for a in attacks.values() for n in a["distances"]))
    if not names:
        return []
    cells = [("distance: mean / median", "broken", *names)]
    for label, found in attacks.items():
        middles = [_middle(found["distances"].get(name)) for name in names]
        cells.append((label, str(found["broken"]), *middles))
    return cells


def point_rows(points: Sequence[Mapping[str, Any]]) -> list[tuple[str, ...]]:
    """Accuracy at each eps of a curve; header first."""
    cells = [(f"{point['eps']:.4g}", *_share(point)) for point in points]
    return [("eps", "accuracy %", "n", "95 % interval"), *cells]


def broken_rows(report: Mapping[str, Any]) -> list[tuple[str, ...]]:
    """Images broken by each exact set of attacks; header first.

    Sets after the `MOST_SETS` most frequent are summed in one row.
    """
    sets = dict(report["broken_by"])
    unbroken = {"none": sets.pop("none")} if "none" in sets else {}
    shown = dict(list(sets.items())[:MOST_SETS])
    rest = len(sets) - len(shown)
    more = {f"{rest} other sets": sum(sets.values()) - sum(shown.values())}
    shown |= (more if rest else {}) | unbroken
    cells = [(name, str(count)) for name, count in shown.items()]
    return [("broken by exactly", "images"), *cells]


def files(report: Mapping[str, Any]) -> dict[str, list[Sequence[Any]]]:
    """Name of a CSV file -> its rows, header first; no file for an empty table.

    `report.csv` is the main table, with the notes of the suite. `sweeps.csv`,
    `curve.csv`, `distances.csv` and `broken_by.csv` have one number a cell,
    accuracies in percent, and every set.
    """
    found = {
        "report.csv": _noted(report),
        "sweeps.csv": [
            ("sweep", "attack", *_POINT, "UAR"),
            *(
                (name, point["attack"], *_numbers(point), _score(sweep["uar"]))
                for name, sweep in report["sweeps"].items()
                for point in sweep["points"]
            ),
        ],
        "curve.csv": [
            ("curve", *_POINT),
            *(
                (label, *_numbers(point))
                for label, points in report["curves"].items()
                for point in points
            ),
        ],
        "distances.csv": [
            ("attack", "broken", "distance", "mean", "median"),
            *(
                (label, attack["broken"], name, middle["mean"], middle["median"])
                for label, attack in report["attacks"].items()
                for name, middle in attack["distances"].items()
            ),
        ],
        "broken_by.csv": [
            ("broken by exactly", "images"),
            *report["broken_by"].items(),
        ],
    }
    return {name: cells for name, cells in found.items() if len(cells) > 1}


def _noted(report):
    """The main table with a last column of the suite's notes, if it has any."""
    notes = {k: a.get("note", "") for k, a in report["attacks"].items()}
    head, *cells = rows(report)
    if not any(notes.values()):
        return [head, *cells]
    return [(*head, "note"), *((*row, notes.get(row[0], "")) for row in cells)]


def _numbers(point):
    accuracy, low, high = (percent(point[key]) for key in ("accuracy", "low", "high"))
    return point["eps"], accuracy, point["n"], low, high


def _score(uar):
    return "" if uar is None else f"{100 * uar:.1f}"


def _share(found):
    interval = f"{percent(found['low'])} - {percent(found['high'])}"
    return percent(found["accuracy"]), str(found["n"]), interval


def _middle(found):
    if not found or found["mean"] is None:
        return "-"
    return f"{found['mean']:.4g} / {found['median']:.4g}"
