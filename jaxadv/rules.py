"""What the plain fields of a config may hold, told in one line where they do not."""

import dataclasses
import math
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from jaxadv.hints import LARGEST
from jaxadv.specs import UsageError, known

SEEDS = 2**32  # JAX and NumPy take the seeds below; larger ones would wrap around


@dataclasses.dataclass(frozen=True)
class Rule:
    """Which values `fits`, and what to call them."""

    fits: Callable[[Any], bool]
    words: str


def whole(least: int, most: int = LARGEST) -> Rule:
    """An int from `least` to `most`."""
    upper = "< 2**31" if most == LARGEST else f"<= {most}"
    return Rule(
        lambda v: isinstance(v, int) and not isinstance(v, bool) and least <= v <= most,
        f"a whole number >= {least} and {upper}",
    )


def number(
    least: float = -math.inf,
    *,
    above: float = -math.inf,
    below: float = math.inf,
    infinite: bool = False,
) -> Rule:
    """A number >= `least`, > `above` and < `below`; `infinite` admits inf."""
    limits = {">=": least, ">": above, "<": below}
    bounds = [f"{k} {v}" for k, v in limits.items() if not math.isinf(v)]

    def fits(value: Any) -> bool:
        if not isinstance(value, int | float | np.number) or isinstance(value, bool):
            return False
        if math.isinf(value):
            return infinite and bool(value > 0)
        return bool(value >= least and above < value < below)

    words = "a number" if infinite else "a finite number"
    return Rule(fits, " ".join((words, " and ".join(bounds))).strip())


def several(one: Rule) -> Rule:
    """A tuple or list of at least one."""
    return Rule(
        lambda v: isinstance(v, (tuple, list)) and len(v) > 0 and all(map(one.fits, v)),
        f"a tuple of at least one, each {one.words}",
    )


def optional(one: Rule) -> Rule:
    """That, or None."""
    return Rule(lambda v: v is None or one.fits(v), f"{one.words}, or None")


SEED = whole(0, SEEDS - 1)
NAME = Rule(
    lambda v: isinstance(v, str) and bool(v.strip()), "a name that is not empty"
)
TEXT = Rule(lambda v: isinstance(v, str), "a text")
FLAG = Rule(lambda v: isinstance(v, bool), "True or False")
GROUP = Rule(lambda v: isinstance(v, Mapping), "a group of fields")
LIST = Rule(lambda v: isinstance(v, (tuple, list)), "a tuple")
SPEC = Rule(
    lambda v: isinstance(v, (Mapping, str)), "a spec: a name, or {'name': …} and more"
)


def check(given: Mapping[str, Any], rules: Mapping[str, Rule], where: str) -> None:
    """Checks the fields of `given` and, by dotted paths, those of its groups.

    Raises:
      UsageError: a field is missing, unknown or does not fit its rule.
    """
    own = {name: rule for name, rule in rules.items() if "." not in name}
    known(given, own, where)
    for name, rule in own.items():
        path = f"{where}.{name}"
        if name not in given:
            raise UsageError(f"{path} is missing; it must be {rule.words}")
        if not rule.fits(given[name]):
            raise UsageError(f"{path} is {given[name]!r}; it must be {rule.words}")
        prefix = f"{name}."
        inner = {k[len(prefix) :]: r for k, r in rules.items() if k.startswith(prefix)}
        if inner and given[name] is not None:
            check(given[name], inner, path)
