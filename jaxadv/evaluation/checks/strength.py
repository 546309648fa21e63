"""Checks that run attacks again: longer, from other seeds, at other budgets.

`rerun(planned, chosen) -> success` attacks the images where `chosen` [n] is true;
both arrays are of the table's length.
"""

import dataclasses
import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from jaxadv import protocols, specs
from jaxadv.attacks import ATTACKS
from jaxadv.evaluation import metrics
from jaxadv.evaluation.checks import results
from jaxadv.evaluation.checks.base import Check, Finding
from jaxadv.evaluation.table import Table

Rerun = Callable[[Any, np.ndarray], np.ndarray]
MOST = 200  # images that are attacked again
SEEDS = 3

CURVE = Check(
    id="R8",
    name="accuracy against eps",
    looks="the strongest attack of each threat again at half, once and twice "
    "the budget, and where it may reach every image",
    means="accuracy rises with the budget, or stays above chance where "
    "nothing can be robust: the attack itself fails",
    warns="",
    todo="see R3, R5 and R10; other losses, other steps, attacks without gradients",
    level="full",
)
CONVERGED = Check(
    id="R9",
    name="doubled steps",
    looks="each attack with gradients again on what it left, with twice the "
    "steps and five times the restarts",
    means="it breaks more than one point more: the attack had not finished",
    warns="",
    todo="more steps or restarts",
    level="full",
)
SPREAD = Check(
    id="R17",
    name="seed spread",
    looks="the strongest attack of each threat again from three seeds",
    means="",
    warns="the accuracy differs by more than two points: luck has a part in it",
    todo="more restarts",
    level="full",
)


def curve(
    table: Table, attacks: Sequence[Any], rerun: Rerun, classes: int, pixels: int
) -> Finding:
    """R8: whether accuracy falls as the budget grows, and to chance at a huge one.

    For each threat with a finite `eps`, the strongest attack with gradients at half,
    once and twice the budget and, in lp balls, at one in which the gray image lies.

    Args:
      table, attacks: what was found, and by what.
      rerun: see the module.
      classes: of the network.
      pixels: channels of an image, all pixels counted.
    """
    told, bad = [], []
    for planned in _strongest(table, attacks):
        if protocols.unbounded(planned.attack.threat):
            continue
        chosen = _some(metrics.clean_correct(table))
        total = int(np.sum(chosen))
        budgets = [planned.eps * f for f in (0.5, 1, 2)]
        huge = _gray(planned.attack.threat, pixels)
        if huge is not None:
            budgets = [b for b in budgets if b < huge] + [huge]
        left = [total - int(np.sum(rerun(_at(planned, eps), chosen) & chosen))
                for eps in budgets]  # fmt: skip
        shown = ", ".join(
            f"{100 * k / max(total, 1):.0f} % at {eps:.3g}"
            for k, eps in zip(left, budgets, strict=True)
        )
        told.append(f"{planned.label}: {shown}")
        slack = max(2, 0.02 * total)
        if any(b > a + slack for a, b in zip(left, left[1:], strict=False)):
            bad.append(f"{planned.label} rises with eps")
        if huge is not None and metrics.wilson(left[-1], total)[0] > 1 / classes:
            bad.append(f"{planned.label} stays above chance")
    if not told:
        return CURVE.found("not run", "no attack with gradients and an eps")
    evidence = "; ".join([*bad, *told])
    remedy = "the attack fails, whatever the budget: see R3, R5 and R10"
    return CURVE.found("fail" if bad else "ok", evidence, remedy * bool(bad))


def challenges(
    table: Table, attacks: Sequence[Any], rerun: Rerun, spec: Mapping[str, Any]
) -> list[tuple[Any, np.ndarray]]:
    """An attack without gradients, and its success [n], for each lp ball without one.

    Args:
      table, attacks, rerun: as for `curve`.
      spec: of the attack, without its threat; balls that it does not search are
        attacked with as many random points.
    """
    found = []
    searched = [
        p.spec["threat"] for p in attacks if not protocols.takes_gradient(p.attack)
    ]
    for group in results.balls(attacks):
        threat = group[0].spec["threat"]
        if threat in searched:
            continue
        full, attack = _blind(spec, threat)
        planned = dataclasses.replace(
            group[0],
            label=f"{group[0].label}-{full['name']}",
            spec=full,
            attack=attack,
        )
        chosen = _some(metrics.robust(table, [p.label for p in group]))
        found.append((planned, rerun(planned, chosen) & chosen))
    return found


def _blind(spec, threat):
    """(spec, attack) in the threat; random points where the attack cannot search it."""
    try:
        full = {**spec, "threat": threat}
        return full, specs.build(full, ATTACKS, "config.black_box")
    except specs.UsageError:
        steps = spec.get("steps", 100)
        full = {"name": "uniform_noise", "steps": steps, "threat": threat}
        return full, specs.build(full, ATTACKS, "config.black_box")


def converged(table: Table, attacks: Sequence[Any], rerun: Rerun) -> Finding:
    """R9: whether twice the steps and five times the restarts break more.

    Each attack with gradients on its own survivors; more than one point of accuracy
    is a fail.
    """
    told, bad = [], []
    for planned in attacks:
        longer = _longer(planned)
        if longer is None or not protocols.takes_gradient(planned.attack):
            continue
        survivors = metrics.robust(table, [planned.label])
        chosen = _some(survivors)
        fell = np.sum(rerun(longer, chosen) & chosen) / max(np.sum(chosen), 1)
        points = 100 * float(fell * np.mean(survivors))
        told.append(f"{planned.label} -{points:.1f}")
        if points > 1:
            bad.append(planned.label)
    if not told:
        return CONVERGED.found("not run", "no attack whose steps can be doubled")
    evidence = f"accuracy in points with 2 x steps, 5 x restarts: {', '.join(told)}"
    remedy = f"more steps or restarts for {', '.join(bad)}" if bad else ""
    return CONVERGED.found("fail" if bad else "ok", evidence, remedy)


def seeds(table: Table, attacks: Sequence[Any], rerun: Rerun) -> Finding:
    """R17: how far the accuracy under each threat's strongest attack depends on the
    seed, on a part of the images."""
    told, wide = [], []
    chosen = _some(metrics.clean_correct(table), MOST // 2)
    total = max(int(np.sum(chosen)), 1)
    for planned in _strongest(table, attacks):
        left = [
            100 * (1 - np.sum(rerun(again, chosen) & chosen) / total)
            for again in (_named(planned, f"seed{i}") for i in range(SEEDS))
        ]
        told.append(f"{planned.label} {min(left):.1f} to {max(left):.1f} %")
        if max(left) - min(left) > 2:
            wide.append(planned.label)
    if not told:
        return SPREAD.found("not run", "no attack with gradients")
    evidence = f"{SEEDS} seeds, {total} correct images: {', '.join(told)}"
    remedy = f"more restarts for {', '.join(wide)}" if wide else ""
    return SPREAD.found("warn" if wide else "ok", evidence, remedy)


def _strongest(table, attacks):
    """Of each kind of threat the attack with gradients that leaves least."""
    best: dict[str, Any] = {}
    for planned in attacks:
        attack = planned.attack
        if not (protocols.takes_gradient(attack) and protocols.has_eps(attack.threat)):
            continue
        kind = type(attack.threat).__name__
        old = best.get(kind)
        if old is None or _left(table, planned) < _left(table, old):
            best[kind] = planned
    return list(best.values())


def _left(table, planned):
    return np.sum(metrics.robust(table, [planned.label])), -planned.attack.steps


def _some(rows, most=MOST):
    """The first `most` of the rows [n] that are true."""
    return rows & (np.cumsum(rows) <= most)


def _named(planned, name, attack=None, **fields):
    """Another attack in name, so that it draws other random numbers."""
    return dataclasses.replace(
        planned,
        label=f"{planned.label}-{name}",
        spec={**planned.spec, "check": name, **fields},
        attack=planned.attack if attack is None else attack,
    )


def _at(planned, eps):
    eps = _allowed(planned.attack.threat, eps)
    attack, factor = planned.attack, eps / planned.eps if planned.eps else 1.0
    if getattr(attack, "step_size", None) is not None:
        attack = attack.replace(step_size=attack.step_size * factor)
    attack = attack.replace(threat=_with_eps(attack.threat, eps))
    return _named(planned, "eps", attack, eps=eps)


def _with_eps(threat, eps):
    """The threat with another budget; its parts', in proportion, if they have it."""
    fields = {f.name: getattr(threat, f.name) for f in dataclasses.fields(threat)}
    if "eps" in fields:
        return threat.replace(eps=_allowed(threat, eps))
    factor = eps / threat.eps if threat.eps else 1.0
    parts = {k: v for k, v in fields.items() if protocols.has_eps(v)}
    return threat.replace(**{k: _with_eps(v, v.eps * factor) for k, v in parts.items()})


def _allowed(threat, eps):
    """`eps`, or the whole number below it where the threat counts something."""
    for field in dataclasses.fields(threat):
        if field.name == "eps" and "whole" in field.metadata:
            return float(math.floor(eps))
    return eps


def _longer(planned):
    attack = planned.attack
    fields = {f.name for f in dataclasses.fields(attack)}
    more = {}
    for name in ("steps", "round_steps"):
        if name in fields:
            more[name] = 2 * getattr(attack, name)
    if not more:
        return None
    if "restarts" in fields:
        more["restarts"] = 5 * attack.restarts
    return _named(planned, "longer", attack.replace(**more), **more)


def _gray(threat, pixels):
    """An eps of an lp ball around any image in which the gray image lies."""
    sizes = {"linf": 0.5, "l2": 0.5 * pixels**0.5, "l1": 0.5 * pixels, "l0": pixels}
    return sizes.get(protocols.norm(threat) or "")
