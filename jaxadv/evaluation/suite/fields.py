"""The fields of a config as plain values."""

from collections.abc import Mapping
from typing import Any


def plain(config: Any) -> dict[str, Any]:
    """A config as nested plain dictionaries."""
    if hasattr(config, "to_dict"):
        return config.to_dict()
    return {
        k: plain(v) if isinstance(v, Mapping) or hasattr(v, "to_dict") else v
        for k, v in config.items()
    }
