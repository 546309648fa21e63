"""The report of an evaluation: printed, JSON for RobustBench, Markdown, HTML, CSV."""

import dataclasses
import importlib.metadata
import math
import os
import platform
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import flax
import jax

from jaxadv import protocols
from jaxadv.evaluation import checks
from jaxadv.evaluation.report import document, headline, sheets
from jaxadv.evaluation.report.page import page
from jaxadv.evaluation.writing import files as out
from jaxadv.evaluation.writing.cells import PENALIZED, aligned, percent
from jaxadv.evaluation.writing.escape import line as one_line


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
        **summary,
        **({"metrics": list(suite.metrics)} if suite.metrics else {}),
        "clean": {**summary["clean"], **timings["clean"]},
        "attacks": attacks,
        **_lpips_distances(suite),
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


def _lpips_distances(suite):
    """The specs of distances that depend on a network, if there are any."""
    specs = suite.distance_specs.items()
    found = {name: spec for name, spec in specs if spec.get("name") == "lpips"}
    return {"lpips_distances": found} if found else {}


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
    for section in sheets.sections(report):
        if section.printed:
            lines += ["", *aligned(section.printed)]
    return "\n".join([*lines, *map(one_line, document.notes(report))])


def write(
    report: Mapping[str, Any], files: Mapping[str, str], workdir: str | os.PathLike
) -> None:
    """Writes `report.json`, `.md`, `.html` and the CSV files of `sheets.files`.

    Each is written whole or not at all.
    """
    folder, lines = Path(workdir), document.markdown(report, files)
    out.write_json(folder / "report.json", report)
    out.write(folder / "report.md", lines)
    out.write(folder / "report.html", page(lines, folder, headline.kind(report)))
    for name, cells in sheets.files(report).items():
        out.write_csv(folder / name, cells)


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
    forward, backward = protocols.network_passes(attack)
    return {"forward_passes": steps * forward, "backward_passes": steps * backward}


def _eps(suite):
    """The budget of the union "autoattack", or else of the first l-infinity attack."""

    def order(planned):
        named = planned.label in suite.unions.get("autoattack", ())
        return not named, protocols.norm(planned.attack.threat) != "linf"

    first = min(suite.attacks, key=order)
    eps, levels = first.eps, 255 * first.eps
    if math.isinf(eps):
        return PENALIZED
    whole = 0.5 < levels < 64 and abs(levels - round(levels)) < 1e-4
    if whole and protocols.norm(first.attack.threat) == "linf":
        return f"{round(levels)}/255"
    return f"{eps:g}"
