"""The report of an evaluation as one Markdown document, what matters most first."""

from collections.abc import Mapping
from typing import Any

from jaxadv.evaluation.report import explained, headline, judged, sheets
from jaxadv.evaluation.writing.cells import page_table, percent
from jaxadv.evaluation.writing.escape import code
from jaxadv.evaluation.writing.escape import markdown as shown

_READING = (
    "An image counts as correct under an attack if it is correct without one and "
    "no returned image that is inside the budget and [0, 1], checked again at the "
    "highest precision, is misclassified. Intervals are Wilson 95 %. Steps and "
    "passes (forward + backward, verification excluded) are means over the "
    "attacked images; seconds include compilation."
)


def markdown(report: Mapping[str, Any], files: Mapping[str, str]) -> str:
    """The report as a page; `files` names pictures relative to it."""
    lines = [
        f"# {shown(report['name'] or 'Model')} on {shown(report['dataset'])} "
        f"({shown(report['split'])})",
        "",
        f"**{shown(headline.sentence(report))}**",
        "",
        *_verdict(report),
        "## What was judged",
        "",
        *judged.lines(report),
        "",
        "## Accuracy",
        "",
        *_table(sheets.page_rows(report)),
        "",
        *_list(notes(report)),
        _READING,
        "",
        *_unions(report),
        *_checks(report),
        *_sweeps(report),
        *_distances(report),
        "## Which attacks break an image",
        "",
        *_table(sheets.broken_rows(report)),
        "",
    ]
    for label, points in report["curves"].items():
        head, *cells = sheets.point_rows(points)
        lines += [f"## Accuracy by eps, {shown(label)}", ""]
        lines += _curve(report, label)
        lines += [*page_table(head, cells, first="---:"), ""]
    for name, file in files.items():
        if file.endswith(".png"):
            title = shown(name[:1].upper() + name[1:])
            lines += [f"## {title}", "", f"![{title}]({file})", ""]
    if report["checks"]:
        lines += ["## What the checks look at", "", *explained.table(), ""]
    return "\n".join(lines)


def notes(report: Mapping[str, Any]) -> list[str]:
    """Lines that a reader of the table must know."""
    attacks = report["attacks"].items()
    found = [f"{k}: {attack['note']}" for k, attack in attacks if attack.get("note")]
    for labels in report["cascades"].values():
        found.append(
            f"{', '.join(labels)}: each attacks what those before have left, and its "
            "accuracy is what all of them leave; steps, passes and broken images are "
            "its own"
        )
    for label, attack in attacks:
        if not attack.get("attacked", 1):
            found.append(f"{label}: there was no image left to attack")
        if attack["resumed"]:
            known = attack.get("measured_seconds") is not None
            told = "count all runs" if known else "of the earlier runs are not known"
            found.append(
                f"{label}: {attack['resumed']} of {attack['attacked']} images were "
                f"read from the journal; seconds {told}"
            )
        if attack["feasible"] < 1:
            share = percent(1 - attack["feasible"])
            found.append(
                f"{label}: {share} % of the returned images leave the budget or "
                "[0, 1] and count as not broken"
            )
    return found


def _verdict(report):
    """What the checks say in all, and each of their objections."""
    tail = report["verdict"].partition(": ")[2]
    if not tail:
        return ["No check was run: whether the accuracy holds is not known.", ""]
    why = [f"- {explained.linked(line)}" for line in report["why"]]
    return [f"{shown(tail)}{':' if why else '.'}", "", *why, *[""] * bool(why)]


def _list(lines):
    return [*(f"- {shown(line)}" for line in lines), ""] if lines else []


def _curve(report, label):
    """What was run for a curve, where that is known, and what the table ran."""
    title = report.get("curve_titles", {}).get(label)
    if title is None:
        return []
    table = report["attacks"].get(label, {}).get("title", title)
    other = f"; the attack {code(label)} of the table is {shown(table)}"
    return [f"The curve is of {shown(title)}{other if table != title else ''}.", ""]


def _table(cells):
    head, *others = cells
    return page_table(head, others)


def _unions(report):
    lines = []
    for name, union in report["unions"].items():
        title = name if name == "union" else f"union {name}"
        taken = shown(", ".join(union["attacks"]))
        lines.append(f"{code(title)} takes {taken} together.")
    seen = ", ".join(report["seen"]) or "none"
    lines.append(f"Attacks seen in training: {shown(seen)}.")
    if report["means"] is not None:
        counted = shown(", ".join(report["means"]))
        lines.append(f"Unseen and union means count {counted}.")
        if report["unseen_mean_as_printed"] is not None:
            value = percent(report["unseen_mean_as_printed"])
            lines.append(
                "The unseen mean divided by the number of all of them, as some "
                f"published tables print it, would be {value} %."
            )
    return [" ".join(lines), ""]


def _sweeps(report):
    table = sheets.sweep_rows(report, fractions=True)
    if not table:
        return []
    return [
        "## Accuracy by budget",
        "",
        *_table(table),
        "",
        "UAR is the sum of a row's accuracies over that of networks trained against "
        "the same attack at each budget, times 100.",
        "",
    ]


def _distances(report):
    table = sheets.distance_rows(report)
    if not table:
        return []
    return [
        "## How far the broken images moved",
        "",
        *_table(table),
        "",
        "Distances of the returned images from their originals, over the images that "
        "are correct without the attack and broken by it.",
        "",
    ]


def _checks(report):
    if not report["checks"]:
        return []
    return [
        "## Checks",
        "",
        *explained.findings(report["checks"]),
        "",
        "Each number leads to what the check looks at, what it means and what to do.",
        "",
    ]
