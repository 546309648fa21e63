"""Suites by name: those of `configs/suites`, installed beside the package."""

import contextlib
import difflib
import runpy
import sys
from collections.abc import Iterator
from pathlib import Path

from ml_collections import ConfigDict

from jaxadv.specs import UsageError

ROOT = Path(__file__).resolve().parents[3]
FOLDER = ROOT / "configs" / "suites"
_NO_SUITES = ("__init__", "base", "corruptions")  # the last is no suite of attacks


def names() -> list[str]:
    """The suites that can be given by name."""
    return sorted({p.stem for p in FOLDER.glob("*.py")}.difference(_NO_SUITES))


def load(suite: str) -> ConfigDict:
    """`get_config()` of a suite, `NAME` or `FILE.py`; of `NAME:text` with that text.

    Raises:
      UsageError: there is no such suite, or its file fails.
    """
    name, *text = suite.split(":", 1)
    own = name.endswith(".py")
    path = Path(name) if own else FOLDER / f"{name}.py"
    if not (path.is_file() if own else name in names()):
        raise UsageError(f"suite: there is no {name!r}{_meant(name)}")
    try:
        with _own_configs():
            config = runpy.run_path(str(path))["get_config"](*text)
    except UsageError:
        raise
    except Exception as error:  # whatever the file raises
        raise UsageError(f"suite: {path}: {type(error).__name__}: {error}") from None
    if not isinstance(config, ConfigDict):
        raise UsageError(f"suite: get_config() of {path} returned no ConfigDict")
    return config


def _meant(name):
    near = difflib.get_close_matches(name, names(), n=1)
    hint = f" (did you mean {near[0]!r}?)" if near else ""
    return f"{hint}; give one of {', '.join(names())}, or the path of a .py file"


@contextlib.contextmanager
def _own_configs() -> Iterator[None]:
    """`configs` is ours inside, whatever else has that name on the user's path."""

    def taken():
        every = [n for n in sys.modules if n.partition(".")[0] == "configs"]
        return {n: sys.modules.pop(n) for n in every}

    theirs, path = taken(), list(sys.path)
    sys.path.insert(0, str(ROOT))
    try:
        yield
    finally:
        sys.path[:] = path
        taken()
        sys.modules.update(theirs)
