"""What an evaluation has found in one sentence that a person can quote."""

from collections.abc import Mapping
from typing import Any

from jaxadv.evaluation import metrics
from jaxadv.evaluation.writing.cells import PENALIZED, budget, listed

_NAMED = 3  # threats that a sentence names; more are counted


def sentence(report: Mapping[str, Any]) -> str:
    """Clean accuracy, worst case with its Wilson 95 % interval, budget, n, verdict.

    The worst case counts an image as correct if no attack of the table breaks it.
    """
    n = report["examples"]
    clean = f"{100 * report['clean']['accuracy']:.1f} % clean"
    if not report["attacks"]:
        return f"{clean}, not attacked, n = {n}: {verdict(report)}"
    left = report["broken_by"].get("none", 0)
    low, high = (100 * end for end in metrics.wilson(left, n))
    worst = f"{100 * left / max(n, 1):.1f} % ({low:.1f}\u2013{high:.1f}) worst case"
    return f"{clean}, {worst} under {_against(report)}, n = {n}: {verdict(report)}"


def verdict(report: Mapping[str, Any]) -> str:
    """ "sound", "not sound" or "not checked"."""
    return report["verdict"].partition(":")[0]


def kind(report: Mapping[str, Any]) -> str:
    """The class of the verdict on a page: "sound", "unsound" or "unchecked"."""
    if report["verdict"] == "not checked":
        return "unchecked"
    return "unsound" if report["unreliable"] else "sound"


def threats(report: Mapping[str, Any]) -> dict[str, dict[str, list[str]]]:
    """Name of a threat -> eps in words, ascending -> the attacks that search it."""
    found: dict[str, dict[str, list[str]]] = {}
    attacks = report["attacks"]
    for label in sorted(attacks, key=lambda label: attacks[label]["eps"]):
        name = metrics.threat(attacks[label])
        eps = budget(attacks[label]["eps"], name)
        found.setdefault(name, {}).setdefault(eps, []).append(label)
    order = dict.fromkeys(map(metrics.threat, attacks.values()))
    return {name: found[name] for name in order}


def _most(budgets):
    """The largest of ascending budgets in words; a threat without one has no other."""
    if budgets == [PENALIZED]:
        return PENALIZED
    return f"eps {'up to ' * (len(budgets) > 1)}{budgets[-1]}"


def _against(report):
    found = threats(report)
    if len(found) > _NAMED:
        return f"{len(found)} threats"
    most = {name: _most(list(budgets)) for name, budgets in found.items()}
    if len(most) == 1:
        return ", ".join(*most.items())
    return listed([f"{name} ({eps})" for name, eps in most.items()], "or")
