"""Numbers computed from a per-example table; pure functions of its columns.

An accuracy counts an image only if it is correct without an attack as well.
"""

import math
import statistics
from collections.abc import Collection, Mapping, Sequence
from typing import Any

import numpy as np

from jaxadv.evaluation.table import Table
from jaxadv.specs import UsageError


def wilson(correct: int, n: int, confidence: float = 0.95) -> tuple[float, float]:
    """The Wilson score interval of a proportion, as fractions.

    Source: Wilson, "Probable inference, the law of succession, and statistical
    inference", 1927. No examples give (0, 1): nothing is known.
    """
    if n == 0:
        return 0.0, 1.0
    z = statistics.NormalDist().inv_cdf(0.5 + confidence / 2)
    p, scale = correct / n, 1 + z * z / n
    center = (p + z * z / (2 * n)) / scale
    half = z * math.sqrt(p * (1 - p) / n + z * z / (4 * n * n)) / scale
    low = 0.0 if correct == 0 else center - half
    high = 1.0 if correct == n else center + half
    return low, high


def clean_correct(table: Table) -> np.ndarray:
    """[n] whether the unattacked image is classified correctly; a tie is not."""
    return table.columns["clean/margin"] < 0


def robust(table: Table, labels: Collection[str]) -> np.ndarray:
    """[n] whether an image is correct and no attack in `labels` breaks it.

    Raises:
      UsageError: an attack is not in the table.
    """
    survives = clean_correct(table).copy()
    for label in labels:
        survives &= ~table.attack(label, "success")
    return survives


def accuracy(correct: np.ndarray) -> dict[str, Any]:
    """Accuracy, count and Wilson 95 % interval, as fractions, of a [n] of bools."""
    n, count = len(correct), int(np.sum(correct))
    low, high = wilson(count, n)
    share = count / n if n else math.nan
    return {"accuracy": share, "n": n, "correct": count, "low": low, "high": high}


def whole(table: Table) -> list[str]:
    """The attacks over which means are taken: of a cascade the last, which has all."""
    parts = [
        p for some in table.metadata.get("cascades", {}).values() for p in some[:-1]
    ]
    return [label for label in table.attacks if label not in parts]


def counted(table: Table) -> list[str]:
    """What unseen and union means count: the suite's `means`, or all of `whole`."""
    means = table.metadata.get("means")
    return whole(table) if means is None else list(means)


def union_mean(table: Table) -> float | None:
    """Mean robust accuracy over the attacks of `counted`; None where there are none.

    Source: Azizmalayeri and Rohban, "Lagrangian objective function leads to improved
    unforeseen attack generalization in adversarial training", 2021, table 1. Not the
    accuracy against the union, which is at most the smallest of these.
    """
    return unseen_mean(table, ())


def uar(accuracies: Sequence[float], ata: Sequence[float]) -> float:
    """Unforeseen attack robustness: the accuracies' sum over that of `ata`.

    Args:
      accuracies: [k] fractions, at k calibrated budgets of an attack.
      ata: [k] those of networks adversarially trained against each.

    Source: Kang et al., "Testing robustness against unforeseen adversaries", 2019,
    section 4; theirs is 100 times as large.
    """
    return float(np.sum(accuracies) / np.sum(ata))


def sweep(table: Table, name: str) -> dict[str, Any]:
    """`points`, one `accuracy` with "eps" and "attack" a budget, and `uar` or None."""
    found = table.metadata["sweeps"][name]
    points = [
        {
            "attack": label,
            "eps": table.metadata["attacks"][label]["eps"],
            **accuracy(robust(table, [label])),
        }
        for label in found["attacks"]
    ]
    score = None
    if found["ata"]:
        score = uar([point["accuracy"] for point in points], found["ata"])
    return {"points": points, "uar": score}


def unseen_mean(table: Table, seen: Collection[str]) -> float | None:
    """Mean robust accuracy over the attacks of `counted` that are not in `seen`.

    None where every attack was seen.
    """
    values = _unseen(table, seen)
    return float(np.mean(values)) if values else None


def seen_mean(table: Table, seen: Collection[str]) -> float | None:
    """Mean robust accuracy over the attacks of `whole` in `seen`; None without any."""
    values = _accuracies(table, [label for label in whole(table) if label in seen])
    return float(np.mean(values)) if values else None


def unseen_mean_as_printed(table: Table, seen: Collection[str]) -> float | None:
    """The sum over the unseen attacks of `counted` divided by the number of all its.

    Tables 2 and 3 of Laidlaw, Singla and Feizi, "Perceptual adversarial robustness:
    defense against unseen threat models", 2021, print this for the adversarially
    trained rows, though the text describes `unseen_mean`. For comparison only.
    """
    values = _unseen(table, seen)
    return float(np.sum(values) / len(counted(table))) if values else None


def _unseen(table, seen):
    return _accuracies(table, [label for label in counted(table) if label not in seen])


def _accuracies(table, labels):
    return [float(np.mean(robust(table, [label]))) for label in labels]


def types(losses: np.ndarray, correct: np.ndarray) -> dict[str, float]:
    """Accuracies over several types of attack, as fractions.

    "acc_max" counts each example as the attack of largest loss leaves it (the first
    at ties); "union" counts those that every attack leaves correct, and is no larger;
    "acc_avg" is the mean of the attacks' accuracies. Source: Wang et al., "Adversarial
    attack generation empowered by min-max optimization", 2021, section 4.2, whose
    Acc_max is once above an attack's own accuracy, which no union can be.

    Args:
      losses: [k, n] of the attacked images; NaN counts as the largest.
      correct: [k, n] whether they are classified correctly.

    Raises:
      UsageError: the shapes differ, or there is no attack or example.
    """
    losses, correct = np.asarray(losses), np.asarray(correct, bool)
    if losses.shape != correct.shape or losses.ndim != 2 or not losses.size:
        raise UsageError(
            f"types: losses {losses.shape} and correct {correct.shape} must both be "
            "[attacks, examples]"
        )
    strongest = np.argmax(np.where(np.isnan(losses), np.inf, losses), axis=0)
    left = np.take_along_axis(correct, strongest[None], axis=0)
    return {
        "acc_max": float(np.mean(left)),
        "union": float(np.mean(np.all(correct, axis=0))),
        "acc_avg": float(np.mean(correct)),
    }


def area(eps: Sequence[float], accuracies: Sequence[float]) -> float:
    """Area under accuracy against eps, by trapezoids, in units of eps.

    Of "acc_max" it is the overall robustness S of Wang et al., 2021, section 4.2.

    Args:
      eps: [k] ascending budgets.
      accuracies: [k] fractions.

    Raises:
      UsageError: lengths differ, or `eps` does not ascend.
    """
    x, y = np.asarray(eps, float), np.asarray(accuracies, float)
    if x.shape != y.shape or len(x) < 2 or np.any(np.diff(x) <= 0):
        raise UsageError(
            f"area: eps {eps} must ascend, with one accuracy for each of two or more"
        )
    return float(np.sum(np.diff(x) * (y[1:] + y[:-1]) / 2))


def attacked(table: Table, label: str) -> np.ndarray:
    """[n] whether the attack has run: the image is correct, and no earlier part of
    its cascade has broken it."""
    return robust(table, _before(table, label))


def broken(table: Table, label: str) -> np.ndarray:
    """[n] whether this attack breaks a correct image; in a cascade, as the first."""
    return attacked(table, label) & table.attack(label, "success")


def _before(table, label):
    """The labels of the cascade of `label` that run before it."""
    for some in table.metadata.get("cascades", {}).values():
        if label in some:
            return some[: list(some).index(label)]
    return ()


def distances(table: Table, label: str) -> dict[str, np.ndarray]:
    """Name -> distances [k] of the images that the attack breaks."""
    chosen = broken(table, label)
    return {name: column[chosen] for name, column in table.distances(label).items()}


def strongest(table: Table, most: int) -> list[str]:
    """The labels of the attacks that break most images, in the table's order."""
    counts = {label: int(np.sum(broken(table, label))) for label in table.attacks}
    chosen = sorted(counts, key=lambda label: -counts[label])[:most]
    return [label for label in table.attacks if label in chosen]


def broken_by(
    table: Table, labels: Sequence[str], names: Mapping[str, str] | None = None
) -> dict[str, int]:
    """How many clean-correct images each exact set of attacks breaks.

    Of a cascade only the first part in `labels` that breaks an image counts: the
    later ones have not attacked it, and it also stands for earlier ones that are not
    in `labels`.

    Args:
      table: the table.
      labels: the attacks.
      names: label -> what to call it in place of its label.

    Returns:
      "a + b" -> number of images that a and b break and no other attack in
      `labels` does, most frequent first; "none" is the number that survives all.
    """
    correct = clean_correct(table)
    called = np.array([(names or {}).get(label, label) for label in labels])
    counts: dict[str, int] = {}
    hits = [
        robust(table, [k for k in _before(table, label) if k in labels])[correct]
        & table.attack(label, "success")[correct]
        for label in labels
    ]
    for row in np.stack(hits, axis=1) if hits else ():
        name = " + ".join(called[row]) or "none"
        counts[name] = counts.get(name, 0) + 1
    return dict(sorted(counts.items(), key=lambda item: (-item[1], item[0])))


def standing_for(table: Table, labels: Collection[str]) -> dict[str, str]:
    """Label -> its name in `broken_by(table, labels)`, where that is another.

    A part of a cascade without those before it counts what they have broken as well.
    """
    names = {}
    for cascade, parts in table.metadata.get("cascades", {}).items():
        for label in parts:
            if label in labels and set(_before(table, label)) - set(labels):
                whole = label == parts[-1]
                names[label] = cascade if whole else f"{cascade} up to {label}"
                names[label] += " (cascade)"
    return names


def curve(table: Table, label: str) -> list[dict[str, Any]]:
    """Accuracy against eps: one `accuracy` dictionary with "eps" a point.

    The first point is eps 0, the clean accuracy on the curve's examples. An image
    that is broken at one eps is broken at every larger one, so it never rises.

    Raises:
      UsageError: the table has no such curve.
    """
    curves = table.metadata.get("curves", {})
    if label not in curves:
        known = ", ".join(curves) or "none"
        raise UsageError(f"table: no curve {label!r}; curves: {known}")
    smallest = table.columns[f"curve/{label}/eps"]
    smallest = smallest[~np.isnan(smallest)]
    points = [0.0, *curves[label]["eps"]]
    # In the precision of the column, or an eps would differ from itself.
    kind = smallest.dtype.type
    return [{"eps": eps, **accuracy(smallest > kind(eps))} for eps in points]
