"""Numbers of many certificates: accuracy at radii, average radius, abstentions.

A row counts at a radius if its prediction is right and certified to that radius at
least.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from jaxadv.evaluation import metrics
from jaxadv.evaluation.writing.cells import percent
from jaxadv.smoothing.statistics import ABSTAIN


def summarize(
    columns: Mapping[str, np.ndarray], radii: Sequence[float]
) -> dict[str, Any]:
    """Plain numbers of the columns of `smoothing.certify` and `label`.

    Returns:
      `n`; `certified`: for each radius its `radius`, `accuracy`, and the ends of its
      Wilson 95 % interval; `average_radius` (ACR: the mean radius over all images, 0
      where the prediction is wrong or there is none) with its standard error;
      `abstained` and `wrong`, shares with their intervals; `draws` and `seconds`.
    """
    n, right = len(columns["label"]), columns["prediction"] == columns["label"]
    abstained = columns["prediction"] == ABSTAIN
    radius = np.where(right, columns["radius"], 0.0)
    error = float(np.std(radius, ddof=1) / np.sqrt(n)) if n > 1 else float("nan")
    return {
        "n": n,
        "certified": [
            {"radius": float(r), **metrics.accuracy(right & (radius >= r))}
            for r in radii
        ],
        "average_radius": {"mean": float(np.mean(radius)), "standard_error": error},
        "abstained": metrics.accuracy(abstained),
        "wrong": metrics.accuracy(~right & ~abstained),
        "draws": int(np.sum(columns["draws"])),
        "seconds": float(np.sum(columns["seconds"])),
    }


def curve(columns: Mapping[str, np.ndarray]) -> tuple[np.ndarray, np.ndarray]:
    """Radii, ascending from 0, and the certified accuracy up to each, a fraction."""
    right = columns["prediction"] == columns["label"]
    steps = np.unique(np.append(columns["radius"][right], 0.0))
    share = [np.mean(right & (columns["radius"] >= r)) for r in steps]
    return steps, np.array(share)


def table(content: Mapping[str, Any]) -> list[tuple[str, ...]]:
    """The cells of the main table, header first; shares in percent."""
    cells = [("l2 radius", "certified accuracy", "n", "95 % interval")]
    for row in content["certified"]:
        cells.append((f"{row['radius']:g}", *_share(row)))
    cells.append(("abstained", *_share(content["abstained"])))
    cells.append(("wrong", *_share(content["wrong"])))
    mean = content["average_radius"]
    both = mean["mean"], 1.96 * mean["standard_error"]
    ends = f"{both[0] - both[1]:.3f} - {both[0] + both[1]:.3f}"
    cells.append(("average radius (ACR)", f"{both[0]:.3f}", str(content["n"]), ends))
    return cells


def _share(row):
    interval = f"{percent(row['low'])} - {percent(row['high'])}"
    return percent(row["accuracy"]), str(row["n"]), interval


def published(columns: Mapping[str, np.ndarray]) -> str:
    """The tab-separated lines that the field's plotting scripts read.

    `idx label predict radius correct time`, radii with all their digits.
    """
    lines = ["idx\tlabel\tpredict\tradius\tcorrect\ttime"]
    names = ("id", "label", "prediction", "radius", "seconds")
    for example, label, prediction, radius, seconds in zip(
        *(columns[name].tolist() for name in names), strict=True
    ):
        right = int(prediction == label)
        lines.append(
            f"{example}\t{label}\t{prediction}\t{radius!r}\t{right}\t{seconds:.3f}"
        )
    return "\n".join(lines) + "\n"
