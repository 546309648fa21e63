"""Evaluation: suites of attacks, the per-example table, metrics, report, plots."""

import contextlib
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from jaxadv import parallel
from jaxadv.evaluation import metrics, report, table
from jaxadv.evaluation.judging import inputs
from jaxadv.evaluation.report import charts, plots
from jaxadv.evaluation.run import meters, runner
from jaxadv.evaluation.suite import config
from jaxadv.evaluation.suite.planned import threat_name
from jaxadv.evaluation.writing import escape
from jaxadv.files import locks
from jaxadv.files.storage import remove_temporary

_MOST = 8  # attacks whose sets of broken images are drawn, unless a suite names them


def evaluate(
    model: Any,
    source: Any,
    suite_config: Any,
    workdir: str | Path,
    *,
    info: Mapping[str, Any] | None = None,
    show: Callable[[str], None] = print,
    progress: Callable[..., meters.Progress] = meters.Progress,
) -> dict[str, Any]:
    """Runs a suite and writes table, report and pictures; the same call resumes.

    Args:
      model: a Classifier.
      source: the images; see `suite.run`.
      suite_config: a ConfigDict or mapping (see `jaxadv.evaluation.suite.config`),
        or the Suite that it is resolved to.
      workdir: gets `table.npz`, `report.json`, `.md`, `.html` and `.csv`, the other
        CSV files of `sheets.files`, `curve_*.png`, `distances.png`, `overlap.png`,
        `pictures_*.png` and the journal.
      info: what is known of the model: `name`, `architecture`, `checkpoint` and
        `training`, its training config; each optional.
      show: prints the verdict of the checks, the table and where the files lie.
      progress: makes the progress display of one attack.

    Returns:
      The report; see `report.build`.

    Raises:
      UsageError: a bad config, a workdir in use, images or labels that do not fit
        the model, or logits that are not numbers. Nothing but the journal is written
        then.
    """
    info = dict(info or {})
    plan = suite_config
    if not isinstance(plan, config.Suite):
        plan = config.resolve(suite_config, info.get("training"))
    workdir = Path(workdir)
    with contextlib.ExitStack() as stack:
        parallel.primary_first(lambda: stack.enter_context(locks.hold(workdir)))
        outcome = runner.run(model, plan, source, workdir, progress=progress)
        summary = metrics.summarize(outcome.table)
        content = report.build(summary, outcome, plan, info, inputs.version())
        if parallel.is_primary():
            _write(content, outcome, plan, summary, source, workdir, show)
    return content


def _write(content, outcome, plan, summary, source, workdir, show):
    """Writes everything but the journal, and shows the table."""
    remove_temporary(workdir)
    table.save(outcome.table, workdir / "table.npz")
    names = getattr(source, "class_names", None)
    files = _draw(outcome, plan, summary, workdir, names)
    report.write(content, files, workdir)
    show(report.verdict(content))
    show(report.text(content))
    files = {"page": "report.html", "data": "report.json", "table": "table.npz"} | files
    for name, file in files.items():
        show(f"{name}: {escape.line(workdir / file)}")


def _draw(outcome, plan, summary, workdir, class_names):
    """Writes the pictures; name -> file relative to `workdir`."""
    files = {}
    for label, points in summary["curves"].items():
        planned = plan.behind(label)
        file = f"curve_{label}.png"
        plots.curve(
            points,
            workdir / file,
            attack=planned.title,
            threat=threat_name(planned.spec),
            dataset=f"{outcome.table.metadata['dataset']} {plan.split}",
            classes=outcome.classes,
            eps=_budget(plan, label, points),
        )
        files[f"accuracy against eps, {label}"] = file
    files |= _compare(outcome.table, plan, workdir)
    for planned in plan.attacks:
        pictures = outcome.pictures[planned.label]
        if len(pictures.ids):
            file = f"pictures_{planned.label}.png"
            budget = f"{threat_name(planned.spec)} eps {planned.eps:.4g}"
            cascade = plan.cascades.get(plan.cascade(planned.label) or "", ())
            if planned.label in cascade[1:]:
                budget += ", on images that those before have left"
            plots.grid(
                pictures,
                workdir / file,
                attack=planned.label,
                budget=budget,
                class_names=class_names,
            )
            files[f"images, {planned.label}"] = file
    return files


def _compare(found, plan, workdir):
    """Writes the pictures that set attacks side by side; name -> file."""
    files = {}
    where = f"{found.metadata['dataset']} {plan.split}"
    if plan.distances:
        moved = {label: metrics.distances(found, label) for label in found.attacks}
        values = {
            name: {label: moved[label][name] for label in moved}
            for name in plan.distances
        }
        title = f"Distances of the broken images of {where}"
        charts.violins(values, workdir / "distances.png", title=title)
        files["distances of the broken images"] = "distances.png"
    labels = plan.overlap
    if labels is None:
        labels = metrics.strongest(found, _MOST)
    names = metrics.standing_for(found, labels)
    counts = metrics.broken_by(found, labels, names)
    if len(labels) > 1 and counts:
        left_out = set(found.attacks) - set(labels)
        which = "these attacks, whatever others do" if left_out else "these attacks"
        title = f"Broken by exactly {which}: correct images of {where}"
        called = [names.get(label, label) for label in labels]
        charts.overlap(counts, called, workdir / "overlap.png", title=title)
        files["sets of broken images"] = "overlap.png"
    return files


def _budget(plan, label, points):
    """The eps of the table that is marked in a curve; None where the table has none.

    That of the attack of the same label, or else the first in the same threat. What
    an attack that minimizes may reach at most is no budget if nothing came near it.
    """
    threat = threat_name(plan.behind(label).spec)
    same = [p for p in plan.attacks if threat_name(p.spec) == threat]
    for planned in sorted(same, key=lambda p: p.label != label):
        if not planned.measures or planned.eps <= 2 * points[-1]["eps"]:
            return planned.eps
    return None
