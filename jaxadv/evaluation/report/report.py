"""The report of an evaluation: printed, JSON for RobustBench, Markdown, HTML, CSV."""

import dataclasses
import importlib.metadata
import os
import platform
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import flax
import jax

from jaxadv import protocols
from jaxadv.evaluation import checks
from jaxadv.evaluation.report import sheets
from jaxadv.evaluation.report.page import page
from jaxadv.evaluation.suite.planned import threat_name, training_attacks
from jaxadv.evaluation.writing import files as out
from jaxadv.evaluation.writing.cells import aligned, markdown_row, page_table, percent
from jaxadv.evaluation.writing.escape import code
from jaxadv.evaluation.writing.escape import line as one_line
from jaxadv.evaluation.writing.escape import markdown as shown

_SUMMARY = (
    "unions",
    "seen",
    "means",
    "seen_mean",
    "unseen_mean",
    "unseen_mean_as_printed",
    "union_mean",
    "cascades",
    "sweeps",
    "broken_by",
    "curves",
)


def build(
    summary: Mapping[str, Any],
    outcome: Any,
    suite: Any,
    info: Mapping[str, Any],
    version: str,
) -> dict[str, Any]:
    """Everything that is reported, as plain JSON.

    `verdict` says sound or not sound, and `why` has a line for each objection of the
    checks. The next fifteen keys are those of a RobustBench model file, accuracies as
    percent strings, `unreliable` where a check failed. `autoattack_acc` is filled
    from a union called "autoattack" and is empty where the suite has none. Everything
    after them is a fraction.

    Args:
      summary: `metrics.summarize` of the table.
      outcome: the `suite.Outcome`.
      suite: the `config.Suite`.
      info: what is known of the model: `name`, `architecture`, `checkpoint`,
        `training`, each optional.
      version: of jaxadv.
    """
    timings = {k: _timing(v) for k, v in outcome.timings.items()}
    attacks = {
        planned.label: {
            **summary["attacks"][planned.label],
            **_passes(planned.attack, summary["attacks"][planned.label]["mean_steps"]),
            **timings[planned.label],
            "unconfirmed": outcome.unconfirmed[planned.label],
            "title": planned.title,
            "note": suite.notes.get(planned.label, ""),
        }
        for planned in suite.attacks
    }
    metadata, findings = outcome.table.metadata, outcome.findings
    failed = any(finding.verdict == "fail" for finding in findings)
    return {
        "verdict": checks.summary(findings),
        "why": [finding.line for finding in checks.objections(findings)],
        **_robustbench(summary, metadata["dataset"], suite, info),
        "unreliable": failed,
        "suite": suite.name,
        "split": metadata["split"],
        "examples": summary["clean"]["n"],
        "classes": outcome.classes,
        "clean": {**summary["clean"], **timings["clean"]},
        "attacks": attacks,
        **{key: summary[key] for key in _SUMMARY},
        "curve_titles": {k: suite.behind(k).title for k in summary["curves"]},
        "curve_timing": timings.get("curve"),
        "checks": [dataclasses.asdict(finding) for finding in findings],
        "check_timing": timings.get("checks"),
        "seed": suite.seed,
        "batch_size_per_device": suite.batch_size,
        "fingerprint": metadata["fingerprint"],
        "environment": environment(version),
        "model": dict(info),
    }


def _robustbench(summary, dataset, suite, info):
    about = suite.about
    autoattack = summary["unions"].get("autoattack")
    return {
        "link": about["link"],
        "name": about["name"] or info.get("name", ""),
        "authors": about["authors"],
        "additional_data": about["additional_data"],
        "number_forward_passes": str(suite.draws),
        "dataset": dataset,
        "venue": about["venue"],
        "architecture": info.get("architecture", ""),
        "eps": _eps(suite),
        "clean_acc": percent(summary["clean"]["accuracy"]),
        "reported": about["reported"],
        "autoattack_acc": percent(autoattack["accuracy"]) if autoattack else "",
        "external": "",
        "footnote": about["footnote"],
    }


def environment(version: str) -> dict[str, Any]:
    """Versions, devices and precision."""
    device = jax.devices()[0]
    precision = jax.config.jax_default_matmul_precision  # type: ignore
    return {
        "python": platform.python_version(),
        "jaxadv": version,
        "jax": jax.__version__,
        "jaxlib": importlib.metadata.version("jaxlib"),
        "flax": flax.__version__,
        "platform": device.platform,
        "device": device.device_kind,
        "devices": jax.device_count(),
        "processes": jax.process_count(),
        "attack_matmul_precision": precision or "default",
        "verification_matmul_precision": "highest",
    }


def verdict(report: Mapping[str, Any]) -> str:
    """Whether the table is sound, and a line for each reason why not."""
    why = (f"- {one_line(reason)}" for reason in report["why"])
    return "\n".join([report["verdict"], *why])


def text(report: Mapping[str, Any]) -> str:
    """The tables for a terminal."""
    lines = aligned(sheets.rows(report))
    for more in (sheets.sweep_rows(report), sheets.distance_rows(report)):
        if more:
            lines += ["", *aligned(more)]
    return "\n".join([*lines, *map(one_line, notes(report))])


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


def markdown(report: Mapping[str, Any], files: Mapping[str, str]) -> str:
    """The report as a page; `files` names pictures relative to it."""
    lines = [
        f"# {shown(report['name'] or 'Model')} on {shown(report['dataset'])} "
        f"({shown(report['split'])})",
        "",
        f"**{shown(report['verdict'])}**",
        "",
        *_list(report["why"]),
        f"Suite {code(report['suite'])}: {report['examples']} images, "
        f"seed {report['seed']}, {report['environment']['devices']} x "
        f"{shown(report['environment']['device'])}, "
        f"jax {report['environment']['jax']}.",
        "",
        *_network(report["model"]),
        *_table(sheets.rows(report)),
        "",
        *_list(notes(report)),
        "An image counts as correct under an attack if it is correct without one and "
        "no returned image that is inside the budget and [0, 1], checked again at the "
        "highest precision, is misclassified. Intervals are Wilson 95 %. Steps and "
        "passes (forward + backward, verification excluded) are means over the "
        "attacked images; seconds include compilation.",
        "",
        *_unions(report),
        *_sweeps(report),
        *_distances(report),
        "## Which attacks break an image",
        "",
        *_table(sheets.broken_rows(report)),
    ]
    if report["checks"]:
        lines += ["", "## Checks", "", *_checks(report["checks"])]
    for label, points in report["curves"].items():
        head, *cells = sheets.point_rows(points)
        lines += ["", f"## Accuracy by eps, {shown(label)}", ""]
        lines += _curve(report, label)
        lines += page_table(head, cells, first="---:")
    for name, file in files.items():
        if file.endswith(".png"):
            lines += ["", f"## {shown(name)}", "", f"![{shown(name)}]({file})"]
    return "\n".join(lines) + "\n"


def write(
    report: Mapping[str, Any], files: Mapping[str, str], workdir: str | os.PathLike
) -> None:
    """Writes `report.json`, `.md`, `.html` and the CSV files of `sheets.files`.

    Each is written whole or not at all.
    """
    folder, lines = Path(workdir), markdown(report, files)
    out.write_json(folder / "report.json", report)
    out.write(folder / "report.md", lines)
    sound = None if report["verdict"] == "not checked" else not report["unreliable"]
    out.write(folder / "report.html", page(lines, folder, sound))
    for name, cells in sheets.files(report).items():
        out.write_csv(folder / name, cells)


def _list(lines):
    return [*(f"- {shown(line)}" for line in lines), ""] if lines else []


def _network(model):
    """What is known of the network: its name, checkpoint and training."""
    found, training = [], model.get("training") or {}
    if model.get("architecture"):
        found.append(f"Network {code(model['architecture'])}")
    if model.get("checkpoint"):
        words = f"checkpoint {code(model['checkpoint'])}"
        if model.get("which"):
            words += f" ({shown(model['which'])}, step {model.get('step')})"
        found.append(words)
    defense = f" by {code(model['defense'])}" if model.get("defense") else ""
    against = ", ".join(map(_trained, training_attacks(training)))
    if defense or against:
        found.append(f"trained{defense}{against and ' '}{against}")
    line = "; ".join(found)
    return [f"{line[:1].upper()}{line[1:]}.", ""] if line else []


def _trained(spec):
    threat = spec.get("threat")
    eps = threat.get("eps") if isinstance(threat, Mapping) else None
    budget = f" of eps {eps:.4g}" if isinstance(eps, (int, float)) else ""
    return (
        f"against {code(spec.get('name', ''))}"
        f"{f' in {code(threat_name(spec))}' if threat else ''}{budget}"
    )


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
    table = sheets.sweep_rows(report)
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


def _checks(findings):
    fields = ("id", "name", "verdict", "evidence")
    cells = [tuple(finding[field] for field in fields) for finding in findings]
    return list(map(markdown_row, [fields, ["---"] * len(fields), *cells]))


def _timing(timing):
    return {
        "seconds": timing.seconds,
        "measured_seconds": timing.measured,
        "compile_seconds": timing.compile_seconds,
        "steady_seconds": timing.seconds - timing.compile_seconds,
        "programs_compiled": timing.programs,
        "resumed": timing.resumed,
    }


def _passes(attack, steps):
    """Forward and backward passes an image; a gradient step is one of each."""
    forward, backward = protocols.passes(attack)
    samples = protocols.draws(attack.objective)
    return {
        "forward_passes": steps * forward * samples,
        "backward_passes": steps * backward * samples,
    }


def _eps(suite):
    """The budget of the union "autoattack", or else of the first l-infinity attack."""

    def order(planned):
        named = planned.label in suite.unions.get("autoattack", ())
        return not named, protocols.norm(planned.attack.threat) != "linf"

    first = min(suite.attacks, key=order)
    eps, levels = first.eps, 255 * first.eps
    whole = 0.5 < levels < 64 and abs(levels - round(levels)) < 1e-4
    if whole and protocols.norm(first.attack.threat) == "linf":
        return f"{round(levels)}/255"
    return f"{eps:g}"
