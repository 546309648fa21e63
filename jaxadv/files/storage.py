"""Files and folders that a user names: checked before use, written whole or not at all.

A folder, a FIFO or a device in place of a file would hang or end in an obscure error,
and a file of any size may be handed over in place of a small one.
"""

import contextlib
import errno
import os
import re
from collections.abc import Iterator
from pathlib import Path

from jaxadv.specs import UsageError


def check_folder(path: str | os.PathLike, where: str) -> None:
    """Raises UsageError unless a folder is there, or can be made, to be written into.

    Nothing is made. `where` names the flag or field in the message.
    """
    text, path = os.fspath(path), Path(path)
    if match := re.match(r"([A-Za-z][A-Za-z0-9+.-]*):/", text):
        raise UsageError(
            f"{where} is {text!r}; {match[1]}:// is not supported, give a local folder"
        )
    try:
        there = next(p for p in (path, *path.absolute().parents) if p.exists())
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or error
        raise UsageError(f"{where} is {text!r}: {reason}; give a folder") from None
    if not there.is_dir():
        raise UsageError(f"{where} is {text!r}, but {there} is no folder")
    if not os.access(there, os.W_OK | os.X_OK):
        raise UsageError(f"{where} is {text!r}, but {there} cannot be written into")


def check_file(path: str | os.PathLike, where: str = "", most: int | None = None):
    """The path of a regular file of at most `most` bytes.

    Raises:
      UsageError: there is none, or it is a folder, a FIFO, a device or too large.
    """
    path, where = Path(path), f"{where}: " if where else ""
    try:
        regular = path.is_file()
        size = path.stat().st_size if regular else 0
        there = path.exists() or path.is_symlink()
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or error
        raise UsageError(f"{where}{path}: {reason}") from None
    if not regular:
        reason = "no regular file, but a folder, a FIFO or a link to nothing"
        raise UsageError(f"{where}{path}: {reason if there else 'No such file'}")
    if most is not None and size > most:
        raise UsageError(f"{where}{path}: {size} bytes; at most {most} are read")
    return path


@contextlib.contextmanager
def replacing(path: str | os.PathLike) -> Iterator[Path]:
    """A name to write to, which takes the place of `path` when the block ends well.

    The content is on the disk before the name is, so that not even a power failure
    leaves half a file. What was written is removed where the block fails, and errors
    of the disk name `path`. A kill leaves the temporary name; see `remove_temporary`.
    """
    path = Path(path)
    temporary = path.with_name(f".{path.stem}.{os.getpid()}.tmp{path.suffix}")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        yield temporary
        with open(temporary, "rb") as file:
            os.fsync(file.fileno())
        os.replace(temporary, path)
    except OSError as error:
        raise named(error, path) from error
    finally:
        with contextlib.suppress(OSError):
            temporary.unlink()


def remove_temporary(folder: Path) -> None:
    """Removes what killed writers of `replacing` have left in `folder`.

    Only for whoever holds the folder's lock: a writer at work would lose its file.
    """
    for path in folder.glob(".*.tmp*"):
        path.unlink(missing_ok=True)


@contextlib.contextmanager
def naming(path: str | os.PathLike) -> Iterator[None]:
    """Errors of the disk inside name `path`, which those of an open file do not."""
    try:
        yield
    except OSError as error:
        raise named(error, path) from error


def named(error: OSError, path: str | os.PathLike) -> OSError:
    """The same error, of `path`."""
    return OSError(error.errno or errno.EIO, error.strerror or str(error), str(path))
