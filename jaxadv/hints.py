"""What declared types say: which values fit, and as what."""

import functools
import numbers
import re
import types
import typing
from collections.abc import Callable, Mapping
from typing import Any

LARGEST = 2**31 - 1  # of the whole numbers that devices count with
_DIGITS = r"(?:\d+\.?\d*|\.\d+)(?:[eE][+-]?\d+)?"
_FRACTION = re.compile(rf"\s*([+-]?{_DIGITS})\s*/\s*({_DIGITS})\s*")


@functools.cache
def of(make: Callable[..., Any]) -> Mapping[str, Any]:
    """Name -> type of the fields of a dataclass, or the arguments of a function.

    None of them where one names what only type checkers import.
    """
    try:
        return typing.get_type_hints(make)
    except NameError:
        return {}


def members(hint: Any) -> frozenset[Any]:
    """The types that a value may have: those of a union, or the one."""
    if typing.get_origin(hint) in (types.UnionType, typing.Union):
        return frozenset(typing.get_args(hint))
    return frozenset({types.NoneType if hint is None else hint})


def number(value: Any) -> Any:
    """The number that a text `8/255` stands for; anything else as it is."""
    match = _FRACTION.fullmatch(value) if isinstance(value, str) else None
    if match is None or not float(match[2]):
        return value
    return float(match[1]) / float(match[2])


def convert(value: Any, kinds: frozenset[Any]) -> tuple[bool, Any]:
    """Whether `value` is of one of the `kinds`, and itself as that one."""
    if float in kinds and str not in kinds:
        value = number(value)
    is_number = isinstance(value, numbers.Real) and not isinstance(value, bool)
    if is_number and isinstance(value, int) and abs(value) > LARGEST:
        return False, value  # neither float32 nor int32 has it
    if float in kinds and is_number:
        return True, float(value)
    if int in kinds and is_number and float(value).is_integer():
        return True, int(float(value))
    plain = {typing.get_origin(kind) or kind for kind in kinds}
    fits = (
        (value is None and types.NoneType in kinds)
        or not plain & {float, int, bool, str, tuple}
        or (bool in kinds and isinstance(value, bool))
        or (str in kinds and isinstance(value, str))
        or (tuple in plain and isinstance(value, (tuple, list)))
    )
    return fits, value
