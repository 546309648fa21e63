"""Suites by name: those of `configs/suites`, installed beside the package."""

import difflib

from ml_collections import ConfigDict

from jaxadv import configfiles
from jaxadv.specs import UsageError

_NO_SUITES = ("base", "certify", "corruptions")  # the others attack nothing


def names() -> list[str]:
    """The suites that can be given by name."""
    every = {path.stem for path in configfiles.files("suites")}
    return sorted(every.difference(_NO_SUITES))


def load(suite: str) -> ConfigDict:
    """`get_config()` of a suite, `NAME` or `FILE.py`; of `NAME:text` with that text.

    Raises:
      UsageError: there is no such suite, or its file fails.
    """
    return configfiles.load(path(suite), "suite")


def path(suite: str) -> str:
    """What `--config` takes for a suite, `NAME` or `FILE.py`, with `:text` or without.

    Raises:
      UsageError: there is no such suite.
    """
    name, colon, text = suite.partition(":")
    if name.endswith(".py"):
        return suite
    if name not in names():
        near = difflib.get_close_matches(name, names(), n=1)
        hint = f" (did you mean {near[0]!r}?)" if near else ""
        raise UsageError(
            f"suite: there is no {name!r}{hint}; give one of {', '.join(names())}, or "
            "the path of a .py file"
        )
    return f"configs/suites/{name}.py{colon}{text}"
