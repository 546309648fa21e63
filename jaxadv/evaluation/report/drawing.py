"""The pictures of an evaluation: which are drawn, and what stands above them."""

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from jaxadv.evaluation import metrics
from jaxadv.evaluation.report import charts, plots
from jaxadv.evaluation.table import threat_name
from jaxadv.evaluation.writing.cells import bound

FILES = (
    "curve_*.png",
    "pictures_*.png",
    "distances.png",
    "overlap.png",
    "queries.png",
)
_MOST = 8  # attacks whose sets of broken images are drawn, unless a suite names them


def draw(
    outcome: Any,
    plan: Any,
    summary: Mapping[str, Any],
    workdir: Path,
    class_names: Sequence[str] | None,
    tell: Callable[[str], None] = lambda what: None,
) -> dict[str, str]:
    """Writes the pictures, each told of; name -> file relative to `workdir`."""
    files = {}
    for label, points in summary["curves"].items():
        planned = plan.behind(label)
        file = f"curve_{label}.png"
        tell(file)
        plots.curve(
            points,
            workdir / file,
            attack=planned.title,
            threat=threat_name(planned.spec),
            dataset=f"{outcome.table.metadata['dataset']} {plan.split}",
            classes=outcome.classes,
            eps=marked(plan, label, points),
        )
        files[f"accuracy against eps, {label}"] = file
    tell("attacks side by side")
    files |= compare(outcome.table, plan, workdir)
    for planned in plan.attacks:
        if len(outcome.pictures[planned.label].ids):
            file = f"pictures_{planned.label}.png"
            tell(file)
            grid(outcome, planned, plan, workdir / file, class_names)
            files[f"images, {planned.label}"] = file
    return files


def grid(
    outcome: Any,
    planned: Any,
    plan: Any,
    path: Path,
    class_names: Sequence[str] | None,
) -> None:
    """Draws images that one attack has returned, broken ones and others."""
    label, threat = planned.label, threat_name(planned.spec)
    title = f"{label}, {threat} {bound(planned.eps, threat)}"
    cascade = plan.cascades.get(plan.cascade(label) or "", ())
    if label in cascade[1:]:
        title += ", on images that those before have left"
    broken = int(np.sum(metrics.broken(outcome.table, label)))
    attacked = int(np.sum(metrics.attacked(outcome.table, label)))
    plots.grid(
        outcome.pictures[label],
        path,
        title=f"{title}: {broken} of {attacked} images broken",
        factor=magnification(outcome.pictures),
        class_names=class_names,
    )


def magnification(pictures: Mapping[str, Any]) -> float:
    """The one factor by which the grids of all attacks magnify differences."""
    changes = [(p.adversarials - p.images).ravel() for p in pictures.values()]
    return plots.magnification(np.concatenate([np.zeros(1), *changes]))


def compare(found: Any, plan: Any, workdir: Path) -> dict[str, str]:
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
    if spent := metrics.METRICS["queries"].compute(found):
        title = f"Attacks without a gradient, {len(found)} images of {where}"
        charts.queries(spent, workdir / "queries.png", title=title)
        files["accuracy against queries"] = "queries.png"
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


def marked(plan: Any, label: str, points: Sequence[Mapping[str, Any]]) -> float | None:
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
