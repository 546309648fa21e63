"""Config files: found by path, those of ours from any folder too, and run."""

import contextlib
import difflib
import importlib.util
import os
import sys
from collections.abc import Iterator
from pathlib import Path

from ml_collections import ConfigDict

from jaxadv.specs import UsageError

ROOT = Path(__file__).resolve().parents[1]  # configs/ lies beside the package


def load(path: str, where: str = "--config") -> ConfigDict:
    """`get_config()` of a config file, locked; of `FILE.py:text` with that text.

    A path that begins with configs/ and is not there is looked for beside the package.

    Raises:
      UsageError: there is no such file, or it fails; `where` names the argument.
    """
    name, *argument = path.split(":", 1)
    if not os.path.isfile(name) and name.startswith("configs/"):
        name = str(ROOT / name) if (ROOT / name).is_file() else name
    if not os.path.isfile(name):
        raise UsageError(f"{where}: there is no file {name!r}{_meant(Path(name))}")
    spec = importlib.util.spec_from_file_location("run_config", name)
    if spec is None or spec.loader is None:
        raise UsageError(f"{where}: {name} is not a Python file")
    module = importlib.util.module_from_spec(spec)
    try:
        with _imports_of(name):
            spec.loader.exec_module(module)
            config = module.get_config(*argument)
        if isinstance(config, ConfigDict):
            return config.lock()
    except UsageError:
        raise
    except Exception as error:  # whatever the user's file raises
        raise UsageError(f"{where}: {name}: {type(error).__name__}: {error}") from None
    raise UsageError(f"{where}: get_config() of {name} returned no ConfigDict")


def files(folder: str = "") -> list[Path]:
    """The config files of ours below a folder of configs/, sorted."""
    return sorted((ROOT / "configs" / folder).rglob("[a-z]*.py"))


def _meant(path: Path) -> str:
    """A hint at the config that has the path's name, or a name like it."""
    here = sorted(Path("configs").rglob("[a-z]*.py"))
    found = {file.as_posix(): file.name for file in here}
    found |= {file.relative_to(ROOT).as_posix(): file.name for file in files()}
    same = [p for p, name in found.items() if name == path.name]
    same = same or [p for p in found if Path(p).stem == str(path)]
    near = same or difflib.get_close_matches(str(path), found)
    return f" (did you mean {near[0]}?)" if near else ""


@contextlib.contextmanager
def _imports_of(name: str) -> Iterator[None]:
    """For a file of ours, `configs` is ours, whatever else has that name."""
    if not Path(name).resolve().is_relative_to(ROOT / "configs"):
        yield
        return

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
