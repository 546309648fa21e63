"""Metrics of other packages: what they return is JSON, and a fault is one line."""

import dataclasses
import functools
from collections.abc import Mapping
from typing import Any

import numpy as np

from jaxadv.evaluation.metrics.base import Metric, nothing
from jaxadv.specs import UsageError


def guarded(metric: Metric, name: str) -> Metric:
    """The same metric, whose functions fail as a UsageError that has its `name`.

    What `compute` returns is made plain: NumPy numbers and arrays are Python's.
    """
    changed = {
        field.name: _guarded(getattr(metric, field.name), name)
        for field in dataclasses.fields(metric)
        if callable(getattr(metric, field.name)) and field.name != "compute"
    }
    compute = metric.compute
    if compute is not None:
        changed["compute"] = _guarded(lambda table: _plain(compute(table)), name)
    return dataclasses.replace(metric, **changed)


def _guarded(function, name):
    if function is nothing:
        return function

    @functools.wraps(function)
    def call(*given):
        try:
            found = function(*given)
            # Generators do their work here.
            return found if isinstance(found, _JSON) else list(found)
        except Exception as error:  # whatever the package raises
            raise UsageError(
                f"config.metrics: {name} fails: {type(error).__name__}: {error}"
            ) from error

    return call


_JSON = (dict, list, tuple, str, int, float, bool, type(None))


def _plain(value: Any) -> Any:
    if isinstance(value, np.ndarray | np.generic) or hasattr(value, "__array__"):
        return np.asarray(value).tolist()
    if isinstance(value, Mapping):
        return {str(key): _plain(one) for key, one in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(one) for one in value]
    if not isinstance(value, _JSON):
        raise TypeError(
            f"{type(value).__name__} is no number, text, list or dictionary"
        )
    return value
