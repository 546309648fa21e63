"""The search for the budget at which a training has a wanted clean accuracy.

A budget is one field of a config, or several that move together: at a share s each has
the value low^(1 - s) high^s between its two ends, and beyond them for s outside [0, 1].
"""

import dataclasses
import itertools
import math
from collections.abc import Sequence
from typing import Any

from scipy import interpolate, optimize

from jaxadv import hints
from jaxadv.specs import UsageError
from jaxadv.sweep import grid

RULE = (
    "trainings are compared at equal clean accuracy: the budget of each is moved until "
    "its clean accuracy on held-out training images is within {tolerance:g} points of "
    "{target:g} % (Azizmalayeri and Rohban, 2021, section 4.1)"
)
_INSIDE = 0.1  # of a bracket's length, that a new trial stays away from its ends
_OUTSIDE = 1.0  # of the tried range's length, that it goes beyond
_DIGITS = 4


@dataclasses.dataclass(frozen=True)
class Budget:
    """Fields that move together, each with its two ends, which are above 0."""

    ends: dict[str, tuple[float, float]]

    def at(self, share: float) -> dict[str, str]:
        """Path -> value, as it is written in flags, at a share."""
        found = {}
        for path, (low, high) in self.ends.items():
            value = math.exp((1 - share) * math.log(low) + share * math.log(high))
            found[path] = f"{value:.{_DIGITS}g}"
        return found


@dataclasses.dataclass(frozen=True)
class Trial:
    """Trainings at one budget.

    Attributes:
      share: of the budget.
      clean: seed -> clean accuracy on held-out images, a fraction.
    """

    share: float
    clean: dict[int, float]

    @property
    def mean(self) -> float:
        return sum(self.clean.values()) / len(self.clean)


def budget(texts: Sequence[str]) -> Budget:
    """That of `attack.threat.eps=2/255,8/255`, the arguments of --budget.

    Raises:
      UsageError: no field has two ends, or they are not numbers above 0 or are equal.
    """
    found = {}
    for axis in grid.axes(texts, "--budget"):
        ends = [_number(value) for value in axis.values]
        if len(ends) != 2 or not all(0 < end < math.inf for end in ends):
            raise UsageError(
                f"--budget {axis.path} is {','.join(axis.values)}; give two different "
                "numbers above 0 between which the search begins, as 2/255,8/255"
            )
        found[axis.path] = (ends[0], ends[1])
    if not found:
        raise UsageError("--budget is missing, as --budget=attack.threat.eps=0.01,0.05")
    return Budget(found)


def following(trials: Sequence[Trial], target: float) -> float:
    """The share to try after `trials`, the first two of which are at 0 and 1.

    Between two neighbors of which one is above the target and one below it is where
    a monotone curve through all trials meets it, away from both; of several such pairs
    it takes the one whose ends are nearest to the target. Where there is none, it goes
    on beyond the nearer end.
    """
    for share in (0.0, 1.0):
        if share not in [trial.share for trial in trials]:
            return share
    known = sorted(trials, key=lambda trial: trial.share)
    pairs = [
        (abs(a.mean - target) + abs(b.mean - target), a, b)
        for a, b in itertools.pairwise(known)
        if (a.mean - target) * (b.mean - target) <= 0 and a.mean != b.mean
    ]
    if pairs:
        _, a, b = min(pairs, key=lambda pair: pair[0])
        shares, means = ([getattr(t, k) for t in known] for k in ("share", "mean"))
        curve = interpolate.PchipInterpolator(shares, means)
        met: Any = optimize.brentq(
            lambda share: curve(share) - target, a.share, b.share
        )
        room = _INSIDE * (b.share - a.share)
        return float(min(max(met, a.share + room), b.share - room))
    first, last = known[0], known[-1]
    beyond = _OUTSIDE * (last.share - first.share)
    nearer = abs(last.mean - target) <= abs(first.mean - target)
    return last.share + beyond if nearer else first.share - beyond


def nearest(trials: Sequence[Trial], target: float) -> Trial:
    """The trial whose mean is nearest to the target."""
    return min(trials, key=lambda trial: abs(trial.mean - target))


def _number(text):
    """What a text says, a fraction too; not a number where it says none."""
    try:
        return float(hints.number(text))
    except ValueError:
        return math.nan
