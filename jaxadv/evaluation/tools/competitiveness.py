"""Competitiveness: a network's accuracy under each attack over that of a specialist's.

Dai, Mahloujifar, Xiang, Sehwag, Chen and Mittal, "MultiRobustBench: benchmarking
robustness against multiple attacks" (2023): where the denominator is the
accuracy of a network that was trained for that attack alone at that budget, the mean
over attacks is CR-ind-avg and the least CR-ind-worst.
"""

import json
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

from jaxadv.specs import UsageError


class Ratios(NamedTuple):
    """Of one network.

    Attributes:
      mean: of the ratios over the attacks.
      worst: the smallest of them.
      attack: whose it is.
    """

    mean: float
    worst: float
    attack: str


def read(path: str | Path) -> dict[str, float]:
    """Attack -> accuracy of the network trained against it, from a JSON file.

    Raises:
      UsageError: there is none, or an accuracy is no number in (0, 1].
    """
    try:
        given = json.loads(Path(path).read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise UsageError(f"--specialists: {path}: {error}") from None
    good = isinstance(given, Mapping) and given
    for label, value in given.items() if good else ():
        number = isinstance(value, int | float) and not isinstance(value, bool)
        if not number or not 0 < value <= 1:
            raise UsageError(
                f"--specialists: {path}: {label} is {value!r}; it must be an accuracy "
                "in (0, 1]"
            )
    if not good:
        raise UsageError(
            f'--specialists: {path} must hold {{"label of an attack": accuracy}}'
        )
    return {label: float(value) for label, value in given.items()}


def best(accuracies: Sequence[Mapping[str, float]]) -> dict[str, float]:
    """Attack -> the highest accuracy of several networks, where it is not 0."""
    found: dict[str, float] = {}
    for one in accuracies:
        for label, value in one.items():
            found[label] = max(value, found.get(label, 0.0))
    return {label: value for label, value in found.items() if value > 0}


def ratios(
    accuracies: Mapping[str, float], specialists: Mapping[str, float]
) -> Ratios | None:
    """Of a network's accuracies, attack -> fraction, under the attacks of both.

    None where there is no such attack.
    """
    found = {
        label: value / specialists[label]
        for label, value in accuracies.items()
        if label in specialists
    }
    if not found:
        return None
    attack = min(found, key=lambda label: found[label])
    return Ratios(math.fsum(found.values()) / len(found), found[attack], attack)
