"""Arithmetic that attacks must get exactly right."""

from jaxadv.numerics.balls import (
    add_toward,
    project_simplex,
    shrink,
    steepest,
    take_largest,
    uniform_in_ball,
)
from jaxadv.numerics.safe import (
    check_norm,
    clip,
    dot,
    finite_or_zero,
    flat,
    power_of_two,
    safe_norm,
    safe_normalize,
)
from jaxadv.numerics.search import bisect, first_float, rise

__all__ = [
    "add_toward",
    "bisect",
    "check_norm",
    "clip",
    "dot",
    "finite_or_zero",
    "first_float",
    "flat",
    "power_of_two",
    "project_simplex",
    "rise",
    "safe_norm",
    "safe_normalize",
    "shrink",
    "steepest",
    "take_largest",
    "uniform_in_ball",
]
