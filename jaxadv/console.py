"""How every command ends: what goes wrong is one line on stderr and an exit status."""

import argparse
import errno
import logging
import os
import sys
from collections.abc import Callable
from typing import NoReturn

from jaxadv.specs import UsageError

USER = 2  # a mistake in a flag, a config, a file that was handed over
SYSTEM = 74  # the disk is full, or another fault of the machine: EX_IOERR of sysexits.h
INTERRUPTED = 130
AGAIN = 75  # EX_TEMPFAIL of sysexits.h: the same command, started again, goes on


class Stopped(BaseException):
    """A command was asked to end, and has kept what it had; see `AGAIN`."""


# What names that a user gave lead to; other errors of files are the machine's.
_OF_NAMES = {
    errno.ENOENT,
    errno.EACCES,
    errno.EPERM,
    errno.ENOTDIR,
    errno.EISDIR,
    errno.EEXIST,
    errno.ENAMETOOLONG,
    errno.ELOOP,
    errno.EROFS,
    errno.EINVAL,
}
# Libraries in other languages tell a full disk in the words of the system only.
_FULL = ("No space left on device", "Disk quota exceeded", "File too large")


class Parser(argparse.ArgumentParser):
    """An ArgumentParser whose errors are one line too."""

    def error(self, message: str) -> NoReturn:
        self.exit(USER, f"error: {_line(message)} (see {self.prog} --help)\n")


def conclude(work: Callable[[], int | None], again: str = "") -> int:
    """Runs a command; the exit status, after one line on stderr where it fails.

    `USER` for a UsageError and for names of files that lead nowhere, `SYSTEM` where
    the disk is full or fails, `AGAIN` where it has been asked to stop. Other exceptions
    are faults of the program and raised.

    Args:
      work: the command; what it returns is the status, None is 0.
      again: told after an interruption or a stop.
    """
    libraries = logging.getLogger("absl")
    level = libraries.level
    # What Orbax's threads tell of a failed write, with its traceback, is raised too.
    libraries.setLevel(logging.CRITICAL)
    try:
        return work() or 0
    except BrokenPipeError:  # who reads it has read enough, as `| head`
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    except KeyboardInterrupt:
        print(f"interrupted{again and '; '}{again}", file=sys.stderr)
        return INTERRUPTED
    except Stopped as stop:
        print(f"{stop}{again and '; '}{again}", file=sys.stderr)
        return AGAIN
    except Exception as error:
        fault = _fault(error)
        if fault is not None:
            text, status = fault, SYSTEM
        elif isinstance(error, UsageError):
            text, status = str(error), USER
        elif isinstance(error, OSError):
            text, status = _told(error), USER
        else:
            raise
        print(f"error: {_line(text)}", file=sys.stderr)
        return status
    finally:
        libraries.setLevel(level)


def _fault(error: BaseException | None) -> str | None:
    """What the machine did wrong, if that is behind `error`."""
    seen: set[int] = set()
    while error is not None and id(error) not in seen:
        seen.add(id(error))
        if isinstance(error, OSError) and error.errno not in {None, *_OF_NAMES}:
            return _told(error)
        for line in str(error).splitlines():
            if any(words in line for words in _FULL):
                return line[-300:]
        error = error.__cause__ or error.__context__
    return None


def _told(error: OSError) -> str:
    reason = error.strerror or str(error) or type(error).__name__
    return f"{error.filename}: {reason}" if error.filename else reason


def _line(text: str) -> str:
    return " ".join(str(text).split())
