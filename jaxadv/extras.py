"""Libraries that are installed on request: the extras of the package."""

import importlib
import importlib.util
from typing import Any

from jaxadv.specs import UsageError


def have(module: str) -> bool:
    """Whether a module that an extra brings is installed."""
    try:
        return importlib.util.find_spec(module) is not None
    except (ImportError, ValueError):
        return False


def needs(module: str, extra: str) -> Any:
    """The module, which an extra of the package brings.

    Raises:
      UsageError: it, or something that it needs itself, is not installed.
    """
    try:
        return importlib.import_module(module)
    except ImportError as error:
        reason = str(error).partition("\n")[0]
        raise UsageError(
            f"{module} is needed for this, but cannot be imported ({reason}): "
            f'pip install "jaxadv[{extra}]"'
        ) from None
