"""One run in a folder at a time.

The lock is the kernel's (flock): it ends with its process, however that ends. On NFS
it holds between machines where the server runs a lock service; where a file system
has no locks, or machines see different copies of a folder, nobody is kept out, and
the first case is said.
"""

import contextlib
import errno
import fcntl
import os
import socket
import warnings
from collections.abc import Iterator
from pathlib import Path

from jaxadv.specs import UsageError

FILE = ".lock"
_BUSY = (errno.EACCES, errno.EAGAIN)


@contextlib.contextmanager
def hold(folder: str | os.PathLike) -> Iterator[None]:
    """Keeps other runs out of `folder`.

    The folder is made where it is missing, and goes again if it stays empty.

    Raises:
      UsageError: another run is at work there, or the folder cannot be written.
    """
    path = Path(folder).absolute() / FILE
    made = [parent for parent in path.parents if not parent.exists()]
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        file = _take(path)
    except OSError as error:
        raise UsageError(
            f"--workdir: {folder} cannot be written: {error.strerror}"
        ) from None
    try:
        yield
    finally:
        # Before the lock ends: who comes now makes a file of its own.
        with contextlib.suppress(OSError):
            path.unlink()
        os.close(file)
        with contextlib.suppress(OSError):
            for parent in made:
                parent.rmdir()


def _take(path: Path) -> int:
    while True:
        file = os.open(path, os.O_RDWR | os.O_CREAT, 0o644)
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            if error.errno in _BUSY:
                owner = os.pread(file, 200, 0).decode("utf-8", "replace").strip()
                os.close(file)
                raise UsageError(
                    f"--workdir: {path.parent} is in use by "
                    f"{owner or 'another process'}; wait until it has ended, or give "
                    "another --workdir"
                ) from None
            warnings.warn(
                f"{path.parent}: this file system has no locks ({error.strerror}); "
                "see to it that no second run starts in this folder",
                stacklevel=3,
            )
        if _is(file, path):
            os.ftruncate(file, 0)
            os.pwrite(
                file, f"process {os.getpid()} on {socket.gethostname()}".encode(), 0
            )
            return file
        os.close(file)  # its owner has just ended and taken the name away


def _is(file, path):
    try:
        return os.path.samestat(os.fstat(file), os.stat(path))
    except FileNotFoundError:
        return False
