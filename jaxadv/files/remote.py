"""Files of object stores and servers, copied once to this machine's disk.

What a URL means is fsspec's to say; the library of a store (gcsfs, s3fs) is loaded by
it. A copy lies in a folder that is named after the URL and after the names, sizes and
tags of all files there: what has changed is another folder, and what is there is not
copied again. One process of a machine copies while the others wait.
"""

import concurrent.futures
import contextlib
import dataclasses
import errno
import fcntl
import functools
import hashlib
import json
import os
import re
import shutil
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path, PurePosixPath
from typing import Any

from tqdm import tqdm

from jaxadv import extras
from jaxadv.files import storage
from jaxadv.specs import UsageError

CACHE = "JAXADV_DATA_CACHE"
_URL = re.compile(r"[A-Za-z][A-Za-z0-9+.-]*://")
_LOCAL = "file://"
# What stores tell of a file beside its size; the first that is there is taken.
_TAGS = "etag ETag generation mtime LastModified last_modified created".split()
_THREADS = 16
_DISK = (errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EIO)  # faults of this machine
_ELSE = "or copy the files to this machine and name that folder"

Wanted = Callable[[str], bool]


class Missing(UsageError):
    """There is nothing at a URL."""


def plain(where: str | os.PathLike) -> str:
    """The path or URL as text; of a `file://` URL the path, of others no last slash."""
    text = os.fspath(where)
    if text.startswith(f"{_LOCAL}/"):
        return text.removeprefix(_LOCAL)
    return re.sub(r"(?<=[^/])/+$", "", text) if _URL.match(text) else text


def is_remote(where: str | os.PathLike) -> bool:
    """Whether it is a URL, and not that of a file on this machine."""
    return _URL.match(plain(where)) is not None


def here(where: str | os.PathLike, wanted: Wanted = lambda name: True) -> Path:
    """A path on this machine of a file or folder, copied first where it is remote.

    Args:
      where: a path, which is returned as it is, or a URL.
      wanted: says of a file's name below a remote folder whether it is needed.

    Raises:
      UsageError: there is nothing, or it cannot be read.
      OSError: the disk is full.
    """
    where = plain(where)
    return look(where).fetch(wanted) if is_remote(where) else Path(where)


def glob(where: str | os.PathLike, pattern: str) -> list[str]:
    """The names below a folder, remote or not, that fit a pattern part by part."""
    where = plain(where)
    if not is_remote(where):
        return [p.relative_to(where).as_posix() for p in Path(where).glob(pattern)]
    depth = len(PurePosixPath(pattern).parts)
    names = map(PurePosixPath, look(where).sizes)
    return [str(n) for n in names if len(n.parts) == depth and n.match(pattern)]


@dataclasses.dataclass(frozen=True)
class Remote:
    """A remote file, or all files below a remote folder.

    Attributes:
      url: where it is.
      is_file: whether it is a single file.
      sizes: name below the folder, or of the file -> bytes, None if that is not told.
      folder: where the copies lie.
    """

    url: str
    is_file: bool
    sizes: Mapping[str, int | None]
    folder: Path
    _store: Any
    _root: str

    def fetch(self, wanted: Wanted = lambda name: True) -> Path:
        """The local path, when all files that are wanted have been copied to it.

        Raises:
          UsageError: the store cannot be read.
          OSError: the disk is full.
        """
        missing = self._missing(filter(wanted, self.sizes))
        if missing:
            with _alone(self.folder):
                missing = self._missing(missing)  # unless another process was faster
                if missing:
                    self._copy(missing)
        return self.folder / next(iter(self.sizes)) if self.is_file else self.folder

    def _missing(self, names: Iterable[str]) -> list[str]:
        return [name for name in names if not self._is_here(name)]

    def _is_here(self, name) -> bool:
        try:
            size = (self.folder / name).stat().st_size
        except OSError:
            return False
        return self.sizes[name] in (None, size)

    def _copy(self, names: list[str]) -> None:
        total = sum(self.sizes[name] or 0 for name in names)
        told = f"{len(names)} files, {total / 1e6:.1f} MB, to {self.folder}"
        print(f"copying {self.url}: {told}", file=sys.stderr, flush=True)
        self.folder.mkdir(parents=True, exist_ok=True)
        for left in self.folder.rglob(".*.tmp*"):  # of a process that was killed
            left.unlink(missing_ok=True)
        free = shutil.disk_usage(self.folder).free
        if free < total:
            text = f"{os.strerror(errno.ENOSPC)}: {free / 1e6:.1f} MB are free"
            raise OSError(errno.ENOSPC, f"{text}; {CACHE} names another folder",
                          str(self.folder))  # fmt: skip
        # A bar appears on a terminal, and only where the work takes long.
        bar = tqdm(total=total, desc="copying", unit="B", unit_scale=True,
                   disable=None, delay=2)  # fmt: skip
        with bar, concurrent.futures.ThreadPoolExecutor(_THREADS) as threads:
            try:
                for name in threads.map(self._copy_one, names):
                    bar.update(self.sizes[name] or 0)
            except BaseException:
                threads.shutdown(wait=False, cancel_futures=True)
                raise

    def _copy_one(self, name: str) -> str:
        source = self._root if self.is_file else f"{self._root.rstrip('/')}/{name}"
        with storage.replacing(self.folder / name) as temporary:
            with _told(self.url):
                self._store.get_file(source, str(temporary))
            size, wanted = temporary.stat().st_size, self.sizes[name]
            if wanted not in (None, size):
                raise UsageError(
                    f"config.data: {self.url}: {name} has {size} bytes in place of "
                    f"{wanted}, so it has changed meanwhile; start again"
                )
        return name


@functools.cache
def look(url: str) -> Remote:
    """What is at a URL; a process looks once, and sees all splits of one state.

    Raises:
      Missing: there is nothing.
      UsageError: no library for such URLs is installed, or the store cannot be read.
    """
    fsspec = extras.needs("fsspec", "data")
    with _told(url):
        store, root = fsspec.core.url_to_fs(url)
        about = store.info(root)
        is_file = about["type"] == "file"
        found = {root: about} if is_file else store.find(root, detail=True)
    rows = {}
    for path, info in found.items():
        name = path.rpartition("/")[2] if is_file else _below(root, path)
        if info["type"] == "file" and not path.endswith("/"):
            tag = next((str(info[key]) for key in _TAGS if info.get(key)), "")
            rows[_checked(url, name)] = info.get("size"), tag
    if not rows:
        raise Missing(f"config.data: there is nothing at {url}; correct the address")
    state = json.dumps([url, sorted(rows.items())])
    code = hashlib.sha256(state.encode()).hexdigest()[:16]
    title = re.sub(r"[^A-Za-z0-9._-]", "_", url.partition("?")[0])[-60:]
    sizes = {name: size for name, (size, _) in rows.items()}
    return Remote(url, is_file, sizes, cache() / f"{title}-{code}", store, root)


def cache() -> Path:
    """Where copies lie: $JAXADV_DATA_CACHE, else `jaxadv/data` in the user's cache."""
    if os.environ.get(CACHE):
        return Path(os.environ[CACHE]).expanduser().absolute()
    given = os.environ.get("XDG_CACHE_HOME", "")
    # The standard says that relative paths are to be ignored.
    base = given if os.path.isabs(given) else os.path.expanduser("~/.cache")
    return Path(base) / "jaxadv" / "data"


def _below(root: str, path: str) -> str:
    return path.removeprefix(root.rstrip("/")).lstrip("/")


def _checked(url, name):
    """A name that stays below its folder."""
    if not name or {"", ".", ".."} & set(name.split("/")) or "\0" in name:
        raise UsageError(
            f"config.data: {url} has a file of the name {name!r}; rename it"
        )
    return name


@contextlib.contextmanager
def _alone(folder: Path) -> Iterator[None]:
    """One process of those that share a cache, where its disk has locks."""
    folder.parent.mkdir(parents=True, exist_ok=True)
    file = os.open(folder.with_name(f".{folder.name}.lock"), os.O_RDWR | os.O_CREAT)
    try:
        with contextlib.suppress(OSError):
            fcntl.flock(file, fcntl.LOCK_EX)
        yield
    finally:
        os.close(file)


@contextlib.contextmanager
def _told(url: str) -> Iterator[None]:
    """What a store's library raises, in one line."""
    try:
        yield
    except UsageError:
        raise
    except ImportError as error:
        raise UsageError(
            f"config.data: {url} cannot be read: {_line(error)}: {_install(url)}, "
            f"{_ELSE}"
        ) from None
    except FileNotFoundError:
        raise Missing(
            f"config.data: there is nothing at {url}; correct the address"
        ) from None
    except Exception as error:  # each library has its own
        if isinstance(error, OSError) and error.errno in _DISK:
            raise
        raise UsageError(
            f"config.data: {url} cannot be read ({type(error).__name__}: "
            f"{_line(error)}); check the address, the connection and your rights, "
            f"{_ELSE}"
        ) from None


def _install(url: str) -> str:
    """The command that brings the library of a store."""
    # The package has another thing of this name.
    registry = extras.needs("fsspec.registry", "data")
    known = registry.known_implementations.get(url.partition("://")[0], {"class": ""})
    module = known["class"].partition(".")[0]
    if module in ("", "fsspec"):
        return "install what it names"
    return f"pip install {module}"


def _line(error: BaseException) -> str:
    return str(error).strip().partition("\n")[0][:200] or type(error).__name__
