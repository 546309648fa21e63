"""Checks of the table alone: who broke what, and how sure the numbers are."""

import json
from collections.abc import Sequence
from typing import Any

import numpy as np

from jaxadv import protocols
from jaxadv.evaluation import metrics
from jaxadv.evaluation.checks.base import Check, Finding
from jaxadv.evaluation.table import Table

GAP = 0.002  # of all images, AutoAttack's alarm
WIDE = 0.1  # half of a Wilson interval

BLACK_BOX = Check(
    id="R4",
    name="black-box beats white-box",
    looks="whether attacks without gradients break, in the same threat, what "
    "those with gradients did not",
    means="in an lp ball they do: gradients are masked or the attacks too "
    "short, and the accuracy is too high",
    warns="they do for a single image, or where a grid may well win",
    todo="keep the attack without gradients in the suite, give the others "
    "more steps and other losses; see R3, R5, R9",
)
ALONE = Check(
    id="R12",
    name="who broke what",
    looks="what each attack alone breaks, and whether a single step breaks "
    "what many do not",
    means="longer attacks are weaker than one step: their steps, loss or "
    "gradient are wrong",
    warns="",
    todo="see R3, R5 and R9",
)
INTERVALS = Check(
    id="R15",
    name="intervals",
    looks="how wide the Wilson 95 % interval of the worst case is",
    means="",
    warns="few images: the accuracy is known to ten points or worse",
    todo="evaluate more images, if there are any: --config.examples=1000",
)
ADMISSIBLE = Check(
    id="R18",
    name="RobustBench admissibility",
    looks="whether RobustBench would list the network, by R1, R3 and R5",
    means="",
    warns="it would not: the network is random, without gradients, or optimizes inside",
    todo="report it apart, as an adaptive defense",
    level="full",
)
EXTERNAL = Check(
    id="R19",
    name="external LPIPS",
    looks="how far self-bounded perceptual attacks went, measured by a "
    "network that was not attacked",
    means="",
    warns="the budget is measured by the attacked network alone, which "
    "training may have bent",
    todo="add a distance with a network of its own: --config.distances",
    level="full",
)


def by_threat(attacks):
    """Lists of attacks that search the same threat with the same budget."""
    groups: dict[str, list[Any]] = {}
    for planned in attacks:
        key = json.dumps(planned.spec.get("threat"), sort_keys=True, default=str)
        groups.setdefault(key, []).append(planned)
    return list(groups.values())


def balls(attacks: Sequence[Any]) -> list[list[Any]]:
    """Attacks with gradients in one lp ball, ball by ball."""
    groups = [
        [p for p in group if protocols.takes_gradient(p.attack)]
        for group in by_threat(attacks)
    ]
    return [g for g in groups if g and protocols.norm(g[0].attack.threat)]


def black_box(
    table: Table, attacks: Sequence[Any], more: Sequence[tuple[Any, np.ndarray]] = ()
) -> Finding:
    """R4: whether attacks without gradients break what those with gradients do not.

    Only attacks of one and the same threat and budget are compared; outside lp balls
    a grid may well win, since a few parameters are searched better by hand.

    Args:
      table: the per-example table.
      attacks: its attacks, each with `label`, `spec` and `attack`.
      more: attacks that are not in the table, each with its success [n].
    """
    told, worst, compared = [], "ok", 0
    broken = {p.label: table.attack(p.label, "success") for p in attacks}
    broken |= {p.label: success for p, success in more}
    for group in by_threat([*attacks, *(p for p, _ in more)]):
        blind = [p for p in group if not protocols.takes_gradient(p.attack)]
        seeing = [p.label for p in group if protocols.takes_gradient(p.attack)]
        for planned in blind if seeing else ():
            compared += 1
            survive = metrics.robust(table, seeing)
            count = int(np.sum(survive & broken[planned.label]))
            if not count:
                continue
            told.append(f"{planned.label} breaks {count} that {_all(seeing)} did not")
            ball = bool(protocols.norm(planned.attack.threat))
            large = ball and count > max(1, GAP * len(table))
            worst = "fail" if large or worst == "fail" else "warn"
    if not compared:
        evidence = "no threat is attacked both with gradients and without"
        return BLACK_BOX.found("not run", evidence)
    evidence = "; ".join(told) or f"never, in {_times(compared, 'comparison')}"
    remedy = "the gradients are masked or the attacks too short: see R3, R5 and R9"
    return BLACK_BOX.found(worst, evidence, remedy * (worst != "ok"))


def who_broke_what(table: Table, attacks: Sequence[Any]) -> Finding:
    """R12: what each attack alone breaks; a single step must not beat many.

    In a cascade an attack counts what those before have left, whatever the later
    ones, which take it over, add.

    Args:
      table, attacks: as for `black_box`.
    """
    parts = []
    for planned in attacks:
        others = {p.label for p in attacks} - {planned.label}
        for labels in table.metadata.get("cascades", {}).values():
            if planned.label in labels:
                others -= set(labels[labels.index(planned.label) :])
        alone = metrics.broken(table, planned.label) & metrics.robust(table, others)
        parts.append(f"{planned.label} {int(np.sum(alone))}")
    evidence = f"broken by one attack alone: {', '.join(parts)}"
    for group in by_threat(attacks):
        single = [p.label for p in group if p.attack.steps == 1]
        many = [p.label for p in group if p.attack.steps > 1]
        if not single or not many:
            continue
        survive = metrics.robust(table, many)
        count = int(np.sum(survive & ~metrics.robust(table, single)))
        if count > max(1, GAP * len(table)):
            evidence += f"; {count} by {_all(single)} and not by {_all(many)}"
            remedy = "the longer attacks are weaker than one step: see R3, R5 and R9"
            return ALONE.found("fail", evidence, remedy)
    return ALONE.found("ok", evidence)


def intervals(table: Table) -> Finding:
    """R15: how wide the 95 % Wilson interval of the accuracy under all attacks is."""
    found = metrics.accuracy(metrics.robust(table, table.attacks))
    half = (found["high"] - found["low"]) / 2
    evidence = (
        f"union {100 * found['accuracy']:.1f} %, between {100 * found['low']:.1f} and "
        f"{100 * found['high']:.1f} on {found['n']} images"
    )
    if half > WIDE:
        remedy = "judge 1,000 images, if there are so many, for plus or minus 3 points"
        return INTERVALS.found("warn", evidence, remedy)
    return INTERVALS.found("ok", evidence)


def admissible(findings: Sequence[Finding]) -> Finding:
    """R18: whether RobustBench would list the network.

    It asks for a deterministic network with gradients and without an inner
    optimization: R1 and R5 must have found nothing, and R3 a loss that the attacks
    could climb everywhere.
    """
    wanted = [f for f in findings if f.id in ("R1", "R3", "R5")]
    against = [
        f.id
        for f in wanted
        if f.verdict == "fail" or (f.verdict == "warn" and f.id != "R3")
    ]
    if not wanted:
        return ADMISSIBLE.found("not run", "R1, R3 and R5 have not run")
    if against:
        evidence = f"not eligible because of {_all(against)}"
        return ADMISSIBLE.found("warn", evidence, "report it apart, as adaptive")
    return ADMISSIBLE.found("ok", "eligible")


def external_distance(table: Table, attacks: Sequence[Any]) -> Finding:
    """R19: how far self-bounded perceptual attacks went for an external network.

    Args:
      table, attacks: as for `black_box`; the suite's distances that are LPIPS with a
        network of their own are the external ones.
    """
    own = [p for p in attacks if protocols.self_bounded(p.attack.threat)]
    if not own:
        return EXTERNAL.found("not run", "no self-bounded perceptual attack")
    outside = [
        key
        for key, spec in table.metadata.get("distances", {}).items()
        if spec.get("name") == "lpips" and spec.get("network") is not None
    ]
    labels = [p.label for p in own]
    if not outside:
        return EXTERNAL.found(
            "warn",
            f"{_all(labels)}: measured by the attacked network alone",
            "add to config.distances {'name': 'lpips', 'network': …}",
        )
    told = []
    for planned in own:
        moved = metrics.distances(table, planned.label)
        feasible = table.attack(planned.label, "feasible")[metrics.clean_correct(table)]
        share = 100 * np.mean(feasible) if len(feasible) else 100.0
        means = [f"{k} {np.mean(moved[k]):.3g}" for k in outside if len(moved[k])]
        told.append(
            f"{planned.label}: eps {float(planned.attack.threat.eps):.3g} of its own, "
            f"mean {', '.join(means) or 'unknown, nothing broken'}; {share:.0f} % "
            "feasible"
        )
    return EXTERNAL.found("ok", "; ".join(told))


def _all(names):
    return ", ".join(names)


def _times(count, noun):
    return f"{count} {noun}" + ("s" if count != 1 else "")
