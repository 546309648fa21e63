"""Means and deviations that public networks normalize their images with, by name.

A network that is given images of other statistics is another network, and none says so
when it is called: they are never guessed.
"""

import math
import numbers
from collections.abc import Mapping, Sequence
from typing import Any

from jaxadv import specs

Statistics = tuple[tuple[float, ...], tuple[float, ...]]

NORMALIZATIONS: dict[str, Statistics] = {
    "none": ((0.0,), (1.0,)),
    "half": ((0.5,), (0.5,)),
    "imagenet": ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225)),
    "cifar10": ((0.4914, 0.4822, 0.4465), (0.2471, 0.2435, 0.2616)),
    "cifar10_robustness": ((0.4914, 0.4822, 0.4465), (0.2023, 0.1994, 0.2010)),
    "cifar100": ((0.5071, 0.4865, 0.4409), (0.2673, 0.2564, 0.2762)),
    "imagenet100_robustness": ((0.4717, 0.4499, 0.3837), (0.2600, 0.2516, 0.2575)),
    "mnist": ((0.1307,), (0.3081,)),
}
"""Name -> mean and standard deviation in [0, 1] units.

"none" is what networks in TRADES' form take, "half" what many transformers do.
"cifar10_robustness" is that of the robustness package and of kuangliu's models, whose
deviations are means of single images', and so of perceptual-advex's ResNets for
CIFAR-10 and of Cohen's smoothed networks; "imagenet100_robustness" that of the
robustness package for a choice of ImageNet's classes, and so of perceptual-advex's
ResNets for ImageNet-100. Their AlexNets take "imagenet", also for CIFAR-10.
"""


def statistics(given: Any, field: str = "normalization") -> Statistics:
    """Mean and deviation of a name of `NORMALIZATIONS`, or of a pair of numbers.

    Args:
      given: a name; (mean, std), each a number or one for each channel; or a mapping
        with these two.
      field: what the error calls it.

    Raises:
      UsageError: the name is unknown, or the numbers are none.
    """
    if isinstance(given, str):
        return specs.lookup(given, NORMALIZATIONS, field)
    if isinstance(given, Mapping) and set(given) == {"mean", "std"}:
        given = given["mean"], given["std"]
    mean, std = map(_numbers, given) if _is_pair(given) else (None, None)
    if mean is None or std is None or min(std) <= 0:
        raise specs.UsageError(
            f"{field} is {given!r}; give one of {', '.join(NORMALIZATIONS)}, or (mean, "
            "std) in [0, 1] units with std > 0"
        )
    return mean, std


def _is_pair(given):
    return isinstance(given, Sequence) and len(given) == 2


def _numbers(part):
    """A tuple of finite numbers; None for something else."""
    values = part if isinstance(part, Sequence) else (part,)
    good = all(isinstance(v, numbers.Real) and math.isfinite(v) for v in values)
    return tuple(map(float, values)) if good and values else None
