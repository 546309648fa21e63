"""The fields of a config as plain values, and its whole numbers."""

from collections.abc import Mapping
from typing import Any

from jaxadv.specs import UsageError


def plain(config: Any) -> dict[str, Any]:
    """A config as nested plain dictionaries."""
    if hasattr(config, "to_dict"):
        return config.to_dict()
    return {
        k: plain(v) if isinstance(v, Mapping) or hasattr(v, "to_dict") else v
        for k, v in config.items()
    }


def check_numbers(full: Mapping[str, Any], least: Mapping[str, int]) -> None:
    """Raises UsageError unless each field of `least` is a whole number as large.

    `examples` may be None.
    """
    for field, minimum in least.items():
        value = full[field]
        if value is None and field == "examples":
            continue
        if not isinstance(value, int) or isinstance(value, bool) or value < minimum:
            raise UsageError(
                f"config.{field} is {value!r}; it must be a whole number >= {minimum}"
            )
