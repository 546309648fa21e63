"""What single predictions of a random network say, beside their mean."""

import math

import numpy as np

from jaxadv.evaluation.metrics import accuracies
from jaxadv.evaluation.metrics.base import Metric, Section
from jaxadv.evaluation.writing.cells import percent

_ABOUT = (
    "Accuracy, in percent, of the mean prediction, which the tables above go by; of "
    "one prediction, with the deviation that it would have from one evaluation of "
    "all images to the next; and of the majority, where more than half of the draws "
    "say the label. An image that the mean prediction has wrong without an attack is "
    "not attacked, and counts for single draws as it is. The adversarial images are "
    "the same for all. EOT: the draws over which an attack has averaged in each "
    "step; a network whose accuracy falls as they grow was not attacked hard enough "
    "with few."
)
_HEAD = ("judged by", "EOT", "mean of {}", "one draw", "majority")
_CLEAN = "clean/draws_right"


def _compute(table):
    """Label -> accuracies of a mean, of one draw and of the majority; "" is clean."""
    draws = int(table.metadata["draws"])
    correct = accuracies.clean_correct(table)
    found = {"": _one(correct, table.columns[_CLEAN], draws)}
    for label in table.attacks:
        right = table.attack(label, "draws_right")
        own = _one(accuracies.robust(table, [label]), right, draws)
        found[label] = {**own, "eot": table.metadata["attacks"][label].get("eot", 1)}
    return {"draws": draws, "attacks": found}


def _one(robust, right, draws):
    share = right / draws
    # Unbiased for each image, and images draw independently of one another.
    variance = share * (1 - share) * draws / max(draws - 1, 1)
    n = max(len(right), 1)
    return {
        "mean": float(np.mean(robust)),
        "single": float(np.mean(share)),
        "deviation": math.sqrt(float(np.sum(variance))) / n,
        "majority": float(np.mean(2 * right > draws)),
    }


def _rows(report):
    told = report["draws"]
    head = [cell.format(f"{told['draws']} draws") for cell in _HEAD]
    rows = [tuple(head)]
    for label, found in told["attacks"].items():
        eot = str(found["eot"] or "no noise") if label else "-"
        single = f"{percent(found['single'])} ± {percent(found['deviation'])}"
        cells = percent(found["mean"]), single, percent(found["majority"])
        rows.append((label or "clean", eot, *cells))
    return rows


def _sections(report):
    if report.get("draws"):
        rows = _rows(report)
        yield Section("One draw at a time", rows, about=_ABOUT, printed=rows)


DRAWS = Metric(
    "draws",
    _compute,
    sections=_sections,
    csv=lambda report: _rows(report) if report.get("draws") else (),
    about="accuracy of single predictions of a random network, and of their majority",
    needs=_CLEAN,
)
