"""Attacks that were built in Python, as the plain specs that reports keep."""

import dataclasses
from typing import Any

import numpy as np

from jaxadv import protocols
from jaxadv.attacks import ATTACKS
from jaxadv.objectives import OBJECTIVES
from jaxadv.specs import UsageError
from jaxadv.threats import THREATS

_LONGEST = 16  # numbers of an array that are written out


def spec(attack: Any, where: str) -> dict[str, Any]:
    """The name and the fields of an attack, nested parts too.

    A part that is in no registry has the name of its class; a large array is its type
    and shape.

    Raises:
      UsageError: its threat has no eps that is one number above or at 0, and is not one
        without a budget.
    """
    eps = attack.threat.eps if protocols.has_eps(attack.threat) else None
    if protocols.unbounded(attack.threat):
        return plain(attack)
    if eps is None or np.ndim(eps) or not np.isfinite(float(eps)):
        raise UsageError(
            f"{where}: an attack needs a threat whose eps is one number; it is {eps!r}"
        )
    return plain(attack)


def plain(value: Any) -> Any:
    """A part as the spec that describes it, or a value as reports keep it."""
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        fields = [f for f in dataclasses.fields(value) if "bound" not in f.metadata]
        return {
            "name": _name(type(value)),
            **{field.name: plain(getattr(value, field.name)) for field in fields},
        }
    if isinstance(value, (tuple, list)):
        return [plain(one) for one in value]
    if value is None or isinstance(value, (bool, int, float, str)):
        return value
    if hasattr(value, "shape"):
        return _array(np.asarray(value))
    return getattr(value, "__qualname__", type(value).__name__)


def _array(value):
    if value.size > _LONGEST:
        return f"{value.dtype} {list(value.shape)}"
    return value.tolist()


def _name(kind):
    for registry in (ATTACKS, THREATS, OBJECTIVES):
        if kind in registry.data.values():
            return registry.name_of(kind)
    return kind.__name__
