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
    Check,
    Finding,
    Probe,
    correct,
    distance,
    margin,
)

PASSES = 5

RANDOMIZED = Check(
    id="R1",
    name="randomized forward",
    looks="whether the logits of the same images change from pass to pass",
    means="the network is random and attacks or table go by too few draws, "
    "or its randomness does not come from the key: the accuracy is "
    "partly luck",
    warns="the network is random; attacks and table average over enough draws",
    todo="draw all randomness from the key, attack the expectation over 20 "
    "or more keys, judge the mean prediction (--config.draws=20), and "
    "report it as that",
)
CLASSES = Check(
    id="R6",
    name="class count",
    looks="whether the losses and targets of the attacks and the data set "
    "fit the number of logits",
    means="an attack aims at a class that is not there, or there is one "
    "logit: it attacks nothing",
    warns="a loss needs more classes than there are, or the data set names "
    "another number",
    todo="with few classes take the margin loss in place of DLR, and fewer targets",
)
VERIFICATION = Check(
    id="R7",
    name="final verification",
    looks="saved adversarial images again at another batch size, as they are "
    "and rounded to 8 bits",
    means="what is broken depends on the batch, or images have NaN or leave "
    "[0, 1]: the table is not of one network",
    warns="many broken images hold only in float32",
    todo="give a network in evaluation mode; keep adversarial images in float32",
)


def randomized(probe: Probe, samples: int = 1) -> Finding:
    """R1: whether the logits change from pass to pass.

    Args:
      probe: the network; each pass has keys of its own, and two passes have the same.
        Its `draws` are those of the table, which must be enough as well.
      samples: draws that every attack with gradients averages over.
    """
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
        return RANDOMIZED.found("ok", evidence)
    if distance(first, again) > ALIKE:
        return RANDOMIZED.found(
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
        return RANDOMIZED.found("fail", evidence, "; ".join(todo))
    remedy = "report the accuracy as that of the mean prediction"
    return RANDOMIZED.found("warn", evidence, remedy)


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
    return CLASSES.found(verdict, evidence, remedy * (verdict != "ok"))


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
    filled = [s for s in samples.values() if len(s.labels)]
    if not filled:
        return VERIFICATION.found("not run", "no adversarial images")
    if probe.undecided:
        return VERIFICATION.found("not run", probe.undecided)
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
        return VERIFICATION.found(
            "fail",
            evidence,
            "the outputs depend on the batch: give a network in evaluation mode",
        )
    if not np.any(compared):
        return VERIFICATION.found("not run", f"nothing to compare: {evidence}")
    if lost > 0.25 * max(int(broken.sum()), 4):
        return VERIFICATION.found(
            "warn", evidence, "keep adversarial images in float32"
        )
    return VERIFICATION.found("ok", evidence)


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
