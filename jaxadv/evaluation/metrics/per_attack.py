"""What each attack of a table has done: its accuracy, cost and distances."""

import numpy as np

from jaxadv.evaluation.metrics import accuracies
from jaxadv.evaluation.metrics.base import Metric, seconds, share, threat
from jaxadv.evaluation.writing.cells import PENALIZED, budget


def _compute(table):
    return {label: _one(table, label) for label in table.attacks}


def _one(table, label):
    size, reached = table.attack(label, "size"), accuracies.attacked(table, label)
    moved = accuracies.distances(table, label)
    return {
        **accuracies.accuracy(accuracies.robust(table, [label])),
        "mean_steps": _mean(table.attack(label, "steps")[reached], 0.0),
        "largest_size": float(np.max(size, initial=0.0)),
        "feasible": _mean(table.attack(label, "feasible")[reached], 1.0),
        "attacked": int(np.sum(reached)),
        "broken": int(np.sum(accuracies.broken(table, label))),
        "distances": {name: _middle(values) for name, values in moved.items()},
        "seen": label in table.metadata.get("seen", ()),
        **table.metadata["attacks"][label],
    }


def _mean(values, nothing):
    return float(np.mean(values)) if len(values) else nothing


def _middle(values):
    """Mean and median, None where there is nothing."""
    if not len(values):
        return {"mean": None, "median": None}
    return {"mean": float(np.mean(values)), "median": float(np.median(values))}


def _rows(report):
    for label, found in report["attacks"].items():
        yield {
            "attack": label,
            "norm": threat(found),
            "eps": _eps(found["eps"]),
            "budget": budget(found["eps"], threat(found)),
            **share(found),
            "steps": f"{found['mean_steps']:.1f}",
            "seconds": seconds(found),
            "passes/image": (
                f"{found['forward_passes']:.1f}+{found['backward_passes']:.1f}"
            ),
            "largest size": f"{found['largest_size']:.4g}",
            "note": found.get("note", ""),
        }


def _eps(eps):
    return PENALIZED if eps == np.inf else f"{eps:.4g}"


ATTACKS = Metric(
    "attacks",
    _compute,
    rows=_rows,
    about="accuracy under each attack, with its steps, passes and seconds",
)
