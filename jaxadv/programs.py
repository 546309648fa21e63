"""Compiled programs that are kept from one command to the next.

JAX reads and writes them; an entry that is damaged, or that no longer fits, costs a
warning and is compiled anew. They are code that is run as it is read, so the folder is
the user's own.
"""

import contextlib
import os
import platform
import re
import zlib
from importlib import metadata
from pathlib import Path

import jax

from jaxadv.files import storage
from jaxadv.specs import UsageError

OFF = "off"
LIMIT = 4 << 30  # bytes; JAX itself bounds a folder only with a library more
_FLAG = "--compilation_cache"
_SET = "JAX_COMPILATION_CACHE_DIR"


def keep(where: str | None = None, processes: bool = False) -> None:
    """Keeps what this process compiles from now on; call before the first program.

    By default in the user's cache folder, unless JAX has been told of a folder itself
    (JAX_COMPILATION_CACHE_DIR). Not by default for the processes of one run: a program
    that one of them reads and another compiles can make both wait for each other.

    Args:
      where: a folder, or "off"; None for the default.
      processes: whether there are several.

    Raises:
      UsageError: `where` cannot be written into. Of the default one line says it.
    """
    config = jax.config
    if where == OFF:
        config.update("jax_enable_compilation_cache", False)
        return
    told = _SET in os.environ or getattr(config, "jax_compilation_cache_dir", None)
    if where is None and (told or processes):
        return
    folder = Path(where) if where else default()
    try:
        storage.check_folder(folder, _FLAG)
    except UsageError as error:
        if where:
            raise
        print(f"compiled programs are not kept: {error}")
        return
    prune(folder)
    config.update("jax_compilation_cache_dir", str(folder))


def default() -> Path:
    """The user's folder, of this jaxlib and this kind of processor.

    Programs for another processor may end in an illegal instruction.
    """
    given = os.environ.get("XDG_CACHE_HOME", "")
    # The standard says that relative paths are to be ignored.
    base = given if os.path.isabs(given) else os.path.expanduser("~/.cache")
    name = f"jaxlib-{metadata.version('jaxlib')}-{_processor():08x}"
    return Path(base) / "jaxadv" / "xla" / name


def prune(folder: Path, limit: int = LIMIT) -> None:
    """Removes the oldest files of `folder` until the rest takes half of `limit` bytes.

    Only where all of them take more than `limit`.
    """
    found = []
    for path in folder.glob("*-cache"):
        with contextlib.suppress(OSError):  # another process may prune as well
            stat = path.stat()
            found.append((stat.st_mtime, stat.st_size, path))
    total = sum(size for _, size, _ in found)
    if total <= limit:
        return
    for _, size, path in sorted(found):
        if total <= limit // 2:
            return
        with contextlib.suppress(OSError):
            path.unlink()
        total -= size


def _processor() -> int:
    """A number for what programs may use of the processor."""
    text = f"{platform.machine()} {platform.processor()}"
    with contextlib.suppress(OSError):
        found = Path("/proc/cpuinfo").read_text("utf-8", "replace")
        if match := re.search(r"^(?:flags|Features)\s*:.*$", found, re.MULTILINE):
            text += match[0]
    return zlib.crc32(text.encode())
