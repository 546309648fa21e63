"""Checks of what the network says: randomness, classes, verification.

Sources: facts that Croce and Hein's AutoAttack (2020) looks at before it runs, and the
list of Carlini et al., "On evaluating adversarial robustness" (2019).
"""

from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np

from jaxadv.evaluation.checks.base import (
    ALIKE,
    SAMPLES,
    SURE,
    Finding,
    Probe,
    correct,
    distance,
    margin,
)

PASSES = 5


def randomized(probe: Probe, samples: int = 1) -> Finding:
    """R1: whether the logits change from pass to pass.

    Args:
      probe: the network; each pass has keys of its own, and two passes have the same.
        Its `draws` are those of the table, which must be enough as well.
      samples: draws that every attack with gradients averages over.
    """
    name = "randomized forward"
    first = probe.logits(probe.images, 0)
    again = probe.logits(probe.images, 0)
    passes = [probe.logits(probe.images, seed) for seed in range(1, PASSES)]
    moved = max(distance(first, other) for other in [again, *passes])
    right = [int(np.sum(correct(z, probe.labels))) for z in [first, *passes]]
    evidence = (
        f"{PASSES} passes over {len(probe)} images: normalized logits differ by "
        f"{moved:.1e}, {min(right)} to {max(right)} correct"
    )
    if moved <= ALIKE and min(right) == max(right):
        return Finding("R1", name, "ok", evidence)
    if distance(first, again) > ALIKE:
        return Finding(
            "R1",
            name,
            "fail",
            f"{evidence}; the key does not decide it",
            "draw all randomness from the key that the model is called with",
        )
    evidence += f"; the attacks average over {samples} draws, the table {probe.draws}"
    todo = []
    if samples < SAMPLES:
        todo.append(f"attack the expectation over {SAMPLES} or more keys")
    if probe.draws < SAMPLES:
        todo.append(f"judge the mean prediction: give --config.draws={SAMPLES}")
    if todo:
        return Finding("R1", name, "fail", evidence, "; ".join(todo))
    remedy = "report the accuracy as that of the mean prediction"
    return Finding("R1", name, "warn", evidence, remedy)


def class_count(classes: int, named: int | None, attacks: Mapping[str, Any]) -> Finding:
    """R6: whether losses and targets fit the number of classes.

    Args:
      classes: logits of the network.
      named: classes of the data set, None where it does not say.
      attacks: label -> attack.
    """
    wrong, odd = [], []
    if classes < 2:
        wrong.append(f"{classes} logit")
    if named is not None and named != classes:
        odd.append(f"{classes} logits for {named} classes")
    for label, attack in attacks.items():
        for part in _parts(attack):
            kind = type(part).__name__
            needs = {"DLR": 3, "TargetedDLR": 4}.get(kind, 0)
            if classes < needs:
                odd.append(f"{label}: {kind} needs {needs} classes")
            target = np.max(getattr(part, "target", 0) or 0)
            if target >= classes:
                wrong.append(f"{label}: target {target:g}")
            count = getattr(part, "targets", 0)
            if isinstance(count, int) and count >= classes:
                odd.append(f"{label}: {count} targets of {classes - 1}")
    verdict = "fail" if wrong else "warn" if odd else "ok"
    evidence = "; ".join([*wrong, *odd]) or f"{classes} classes"
    remedy = (
        f"with {classes} classes take the margin loss in place of DLR, targets below "
        f"{classes} and at most {classes - 1} of them"
    )
    return Finding("R6", "class count", verdict, evidence, remedy * (verdict != "ok"))


def verification(probe: Probe, samples: Mapping[str, Any]) -> Finding:
    """R7: whether saved adversarial images are broken at another batch size as well.

    Once as they are, in float32, and once rounded to 8 bits. What left its budget is
    not broken, whatever the network says, and what the draws of a random network
    leave open may change: neither is compared.

    Args:
      probe: the network; its block is the other batch size.
      samples: label -> images that an attack returned: `adversarials` [k, h, w, c],
        `labels` [k], and `success` and `feasible` [k], what the table says of them.
    """
    name = "final verification"
    filled = [s for s in samples.values() if len(s.labels)]
    if not filled:
        return Finding("R7", name, "not run", "no adversarial images")
    if probe.undecided:
        return Finding("R7", name, "not run", probe.undecided)
    images = np.concatenate([s.adversarials for s in filled])
    labels = np.concatenate([s.labels for s in filled])
    success = np.concatenate([s.success for s in filled])
    feasible = np.concatenate([s.feasible for s in filled])
    bad = int(np.sum(~np.all((images >= 0) & (images <= 1), axis=(1, 2, 3))))
    logits, errors = probe.judged(images, labels)
    margins = margin(logits, labels)
    # On the decision boundary rounding decides, and minimal attacks end there.
    scale = np.max(np.abs(logits), axis=1)
    near = np.abs(margins) <= 1e-4 * np.maximum(scale, 1e-6)
    unsure = feasible & (np.abs(margins) < SURE * errors)
    compared = feasible & ~unsure
    changed = int(np.sum((~(margins < 0) != success) & compared & ~near))
    kept = ~correct(probe.judged(eight_bit(images), labels)[0], labels)
    broken = success & compared
    lost = int(np.sum(broken & ~kept))
    count = int(np.sum(unsure))
    evidence = (
        f"{len(images)} images again, {probe.block} at a time: {changed} changed sides"
        f"{f', {count} left open by {probe.draws} draws' if count else ''}"
        f"{f', {bad} have NaN or leave [0, 1]' if bad else ''}; rounded to 8 bits, "
        f"{int(broken.sum()) - lost} of {int(broken.sum())} broken ones hold"
    )
    if changed or bad:
        return Finding(
            "R7",
            name,
            "fail",
            evidence,
            "the outputs depend on the batch: give a network in evaluation mode",
        )
    if not np.any(compared):
        return Finding("R7", name, "not run", f"nothing to compare: {evidence}")
    if lost > 0.25 * max(int(broken.sum()), 4):
        return Finding(
            "R7", name, "warn", evidence, "keep adversarial images in float32"
        )
    return Finding("R7", name, "ok", evidence)


def eight_bit(images: np.ndarray) -> np.ndarray:
    """Images in [0, 1] as they come back from 8-bit files, float32."""
    return np.round(images * 255).astype(np.uint8) / np.float32(255)


def _parts(attack) -> Iterable[Any]:
    """An attack and the parts that it is made of."""
    yield attack
    for name in getattr(attack, "__dataclass_fields__", {}):
        value = getattr(attack, name)
        for part in value if isinstance(value, (tuple, list)) else (value,):
            if hasattr(part, "__dataclass_fields__") and name != "threat":
                yield from _parts(part)
