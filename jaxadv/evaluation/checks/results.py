"""Checks of the table alone: who broke what, and how sure the numbers are."""

import json
from collections.abc import Sequence
from typing import Any

import numpy as np

from jaxadv import protocols
from jaxadv.evaluation import metrics
from jaxadv.evaluation.checks.base import Finding
from jaxadv.evaluation.table import Table

GAP = 0.002  # of all images, AutoAttack's alarm
WIDE = 0.1  # half of a Wilson interval


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
    name = "black-box beats white-box"
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
        return Finding("R4", name, "not run", evidence)
    evidence = "; ".join(told) or f"never, in {_times(compared, 'comparison')}"
    remedy = "the gradients are masked or the attacks too short: see R3, R5 and R9"
    return Finding("R4", name, worst, evidence, remedy * (worst != "ok"))


def who_broke_what(table: Table, attacks: Sequence[Any]) -> Finding:
    """R12: what each attack alone breaks; a single step must not beat many.

    In a cascade an attack counts what those before have left, whatever the later
    ones, which take it over, add.

    Args:
      table, attacks: as for `black_box`.
    """
    name = "who broke what"
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
            return Finding("R12", name, "fail", evidence, remedy)
    return Finding("R12", name, "ok", evidence)


def intervals(table: Table) -> Finding:
    """R15: how wide the 95 % Wilson interval of the accuracy under all attacks is."""
    found = metrics.accuracy(metrics.robust(table, table.attacks))
    half = (found["high"] - found["low"]) / 2
    evidence = (
        f"union {100 * found['accuracy']:.1f} %, between {100 * found['low']:.1f} and "
        f"{100 * found['high']:.1f} on {found['n']} images"
    )
    if half > WIDE:
        remedy = "give --config.examples=1000 for plus or minus 3 points"
        return Finding("R15", "intervals", "warn", evidence, remedy)
    return Finding("R15", "intervals", "ok", evidence)


def admissible(findings: Sequence[Finding]) -> Finding:
    """R18: whether RobustBench would list the network.

    It asks for a deterministic network with gradients and without an inner
    optimization: R1 and R5 must have found nothing, and R3 a loss that the attacks
    could climb everywhere.
    """
    name = "RobustBench admissibility"
    wanted = [f for f in findings if f.id in ("R1", "R3", "R5")]
    against = [
        f.id
        for f in wanted
        if f.verdict == "fail" or (f.verdict == "warn" and f.id != "R3")
    ]
    if not wanted:
        return Finding("R18", name, "not run", "R1, R3 and R5 have not run")
    if against:
        evidence = f"not eligible because of {_all(against)}"
        return Finding("R18", name, "warn", evidence, "report it apart, as adaptive")
    return Finding("R18", name, "ok", "eligible")


def external_distance(table: Table, attacks: Sequence[Any]) -> Finding:
    """R19: how far self-bounded perceptual attacks went for an external network.

    Args:
      table, attacks: as for `black_box`; the suite's distances that are LPIPS with a
        network of their own are the external ones.
    """
    name = "external LPIPS"
    own = [p for p in attacks if protocols.self_bounded(p.attack.threat)]
    if not own:
        return Finding("R19", name, "not run", "no self-bounded perceptual attack")
    outside = [
        key
        for key, spec in table.metadata.get("distances", {}).items()
        if spec.get("name") == "lpips" and spec.get("network") is not None
    ]
    labels = [p.label for p in own]
    if not outside:
        return Finding(
            "R19",
            name,
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
    return Finding("R19", name, "ok", "; ".join(told))


def _all(names):
    return ", ".join(names)


def _times(count, noun):
    return f"{count} {noun}" + ("s" if count != 1 else "")
