"""The tables of a report as rows of text cells: for people, and as CSV files."""

from collections.abc import Mapping, Sequence
from typing import Any

from jaxadv.evaluation.cells import percent

HEADER = (
    "attack",
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
        ("clean", *_share(clean), "-", f"{clean['seconds']:.1f}", "1+0", "-"),
    ]
    for label, found in report["attacks"].items():
        passes = f"{found['forward_passes']:.1f}+{found['backward_passes']:.1f}"
        cells.append(
            (
                label,
                *_share(found),
                f"{found['mean_steps']:.1f}",
                f"{found['seconds']:.1f}",
                passes,
                f"{found['largest_size']:.4g} of {found['eps']:.4g}",
            )
        )
    for name, union in report["unions"].items():
        title = name if name == "union" else f"union {name}"
        cells.append((title, *_share(union), "-", "-", "-", "-"))
    for name in ("unseen_mean", "union_mean"):
        if report[name] is not None:
            n = str(report["examples"])
            every = "all" if report["means"] is None else "counted"
            titles = {"unseen_mean": "unseen mean"}
            title = titles.get(name, f"mean of {every} attacks")
            cells.append((title, percent(report[name]), n, "-", "-", "-", "-", "-"))
    return cells


def sweep_rows(report: Mapping[str, Any]) -> list[tuple[str, ...]]:
    """Accuracies of each sweep at its budgets, and UAR; header first, or nothing."""
    sweeps = report["sweeps"]
    if not sweeps:
        return []
    most = max(len(found["points"]) for found in sweeps.values())
    cells = [("accuracy % (at eps)", *(str(i + 1) for i in range(most)), "UAR")]
    for name, found in sweeps.items():
        shown = [
            f"{percent(point['accuracy'])} ({point['eps']:.4g})"
            for point in found["points"]
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

    `report.csv` is the main table. `sweeps.csv`, `curve.csv`, `distances.csv` and
    `broken_by.csv` have one number a cell, accuracies in percent, and every set.
    """
    found = {
        "report.csv": rows(report),
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
