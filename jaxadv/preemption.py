"""SIGTERM, by which schedulers ask a process to end before they take its machine.

Within `heeded` it only leaves a mark. Work that can be gone on with looks at it now and
then, keeps what it has and ends with `console.Stopped`.
"""

import contextlib
import os
import signal
import threading
from collections.abc import Callable, Iterator

from jaxadv import console

_asked = threading.Event()


def asked() -> bool:
    """Whether this process has been asked to stop."""
    return _asked.is_set()


def ask() -> None:
    """Asks this process to stop, as SIGTERM within `heeded` does."""
    _asked.set()


def stop_if_asked() -> None:
    """Ends work whose finished parts are kept.

    Raises:
      Stopped: this process has been asked to stop.
    """
    if asked():
        raise console.Stopped("asked to stop (SIGTERM); what is finished is kept")


@contextlib.contextmanager
def heeded(tell: Callable[[], None] = lambda: None) -> Iterator[None]:
    """Within this block SIGTERM asks this process to stop in place of ending it.

    In other threads than the main one it stays as it is.

    Args:
      tell: called in a thread of its own when it comes, even where the main thread
        waits for other processes.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    heard, sounds = os.pipe()
    os.set_blocking(sounds, False)
    threading.Thread(target=_listen, args=(heard, tell), daemon=True).start()
    handler = signal.signal(signal.SIGTERM, lambda *_: ask())
    wakeup = signal.set_wakeup_fd(sounds, warn_on_full_buffer=False)
    try:
        yield
    finally:
        signal.set_wakeup_fd(wakeup)
        signal.signal(signal.SIGTERM, handler or signal.SIG_DFL)
        os.close(sounds)
        _asked.clear()


def _listen(heard, tell):
    """Reads the numbers of signals until the other end of the pipe is closed."""
    with open(heard, "rb", buffering=0) as signals:
        while number := signals.read(1):
            if number[0] == signal.SIGTERM:
                ask()
                tell()
