"""The report of an evaluation as one Markdown document, what matters most first."""

from collections.abc import Mapping
from typing import Any

from jaxadv.evaluation import metrics
from jaxadv.evaluation.report import explained, headline, judged, sheets
from jaxadv.evaluation.writing.cells import page_table, percent
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
        *_words(report),
        *_checks(report),
        *_sections(report),
    ]
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


def _table(cells):
    head, *others = cells
    return page_table(head, others)


def _words(report):
    """One paragraph of what the metrics say of the table."""
    told = (
        metric.words(report) for metric in metrics.chosen(report.get("metrics", ()))
    )
    return [" ".join(line for lines in told for line in lines), ""]


def _sections(report):
    for section in sheets.sections(report):
        head, *cells = section.rows
        yield from (f"## {shown(section.title)}", "", *section.before)
        yield from page_table(head, cells, first="---:" if section.numbers else "---")
        yield from ("", section.about, "") if section.about else ("",)


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
