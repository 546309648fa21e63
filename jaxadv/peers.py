"""Notices that another process of the run has ended, says which, and ends too.

Process 0 listens, the others connect, and nothing is sent: the kernel closes the
connection of a process that dies, whatever kills it, and asks after a silent machine
itself. Without this the others wait in a collective until jax aborts them, a minute
or two later. A process that ends well says so before; one that fails, or is asked to
stop, says that.
"""

import atexit
import contextlib
import os
import secrets
import socket
import sys
import threading
import time
from collections.abc import Callable
from typing import Any, NoReturn

from jaxadv import console

STATUS = console.AGAIN
# Seconds in which the others may meet the same error, or end their work, themselves.
GRACE = {"killed": 0.0, "failed": 10.0, "stopped": 30.0}
_HOW = {
    "killed": "is lost (killed?)",
    "failed": "has failed, see its output",
    "stopped": "was asked to stop (SIGTERM)",
}
_KEY = "jaxadv/peers"
_CONNECT = 60  # seconds
_KEEPALIVE = {"TCP_KEEPIDLE": 10, "TCP_KEEPINTVL": 5, "TCP_KEEPCNT": 4}


class Peers:
    """The connections of this process to the others of its run.

    Args:
      process: this one's number.
      count: of all processes.
      host: where process 0 can be reached.
      store: jax's key-value store, which all processes share.
      low: what `reserve` gave before jax opened its own connections.
      stop: called when another process has called `ask`, or ends because it was asked.
    """

    def __init__(
        self,
        process: int,
        count: int,
        host: str,
        store: Any,
        low: list[int],
        stop: Callable[[], None] = lambda: None,
    ):
        self._process, self._count, self._low = process, count, low
        self._stop = stop
        self._links: dict[int, socket.socket] = {}
        self._line = ""
        self._lock = threading.Lock()
        self._ending, self._gone = threading.Event(), threading.Event()
        if process == 0:
            self._listen(store)
        else:
            self._connect(host, store)
            _close(low)
        self._show, sys.excepthook = sys.excepthook, self._excepthook
        # Before jax's own exit, which waits for the others.
        atexit.register(lambda: self.leave(int(hasattr(sys, "last_type"))))

    def leave(self, status: int) -> int:
        """Tells the others that this process ends, with `status`, 0 for well.

        Returns `status` where it is 0, and else ends the process: jax's exit would
        wait for the others, who have no reason to come.
        """
        if self._ending.is_set():
            return status
        self._ending.set()
        word = {0: "done", STATUS: "stopped"}.get(status, "failed")
        self._tell(word)
        if status:
            if self._process == 0:  # with it ends what the others talk through
                deadline = time.monotonic() + GRACE[word] + 2
                while self._links and time.monotonic() < deadline:
                    time.sleep(0.05)
            _exit(status)
        return status

    def ask(self) -> None:
        """Asks all other processes to stop."""
        self._tell("stop")

    def _excepthook(self, *error):
        """A collective fails where a process has ended: that is told instead."""
        if self._gone.wait(1.0):
            self._end()
        self._show(*error)

    def _listen(self, store):
        token = secrets.token_hex(8)
        both = socket.has_dualstack_ipv6()
        server = socket.create_server(
            ("", 0),
            family=socket.AF_INET6 if both else socket.AF_INET,
            dualstack_ipv6=both,
        )
        store.key_value_set(_KEY, f"{server.getsockname()[1]} {token}")
        _thread(self._accept, server, token)

    def _accept(self, server, token):
        while True:
            link, _ = server.accept()
            if self._low:
                own = self._low.pop()
                os.dup2(link.fileno(), own, inheritable=False)
                link.close()
                link = socket.socket(fileno=own)
            _thread(self._welcome, link, token)

    def _welcome(self, link, token):
        lines = link.makefile()
        said, _, number = lines.readline().strip().partition(" ")
        if said != token:
            link.close()
            return
        self._watch(link, lines, int(number))

    def _connect(self, host, store):
        try:
            found = store.blocking_key_value_get(_KEY, 1000 * _CONNECT)
            port, token = found.split()
            link = socket.create_connection((host, int(port)), timeout=_CONNECT)
        except Exception as error:  # a firewall, or jax's own kinds
            print(
                f"WARNING: process {self._process} cannot reach process 0 at {host}: a "
                f"lost process will be noticed late ({error})",
                file=sys.stderr,
            )
            return
        link.settimeout(None)
        link.sendall(f"{token} {self._process}\n".encode())
        _thread(self._watch, link, link.makefile(), 0)

    def _watch(self, link, lines, other):
        """Listens to one process until it ends."""
        keep_alive(link)
        with self._lock:
            self._links[other] = link
        last = ""
        with contextlib.suppress(OSError):
            for line in lines:
                last = line.strip()
                if last == "stop":
                    self._asked()
                if last.startswith("lost"):
                    _, process, how = last.split()
                    self._lost(int(process), how)
                if last in ("failed", "stopped"):
                    break
        self._links.pop(other, None)
        if last != "done":
            self._lost(other, last if last in GRACE else "killed")

    def _asked(self):
        if self._process == 0:  # who alone is connected to all
            self.ask()
        self._stop()

    def _tell(self, message):
        with self._lock:
            for link in self._links.values():
                with contextlib.suppress(OSError):
                    link.sendall(f"{message}\n".encode())

    def _lost(self, process, how):
        """Ends this process because another one has ended."""
        if self._process == 0:
            self._tell(f"lost {process} {how}")
        self._line = (
            f"error: process {process} of {self._count} {_HOW[how]}; the same command, "
            "started again for all processes, goes on from what is saved\n"
        )
        self._gone.set()
        if how == "stopped":
            self._stop()
        if not self._ending.wait(GRACE[how]):
            self._end()

    def _end(self):
        with self._lock:  # held until the end: one thread tells it
            # What the libraries in C++ have to say of the same event comes too late.
            stderr = os.dup(2)
            os.dup2(os.open(os.devnull, os.O_WRONLY), 2)
            os.write(stderr, self._line.encode())
            if self._process == 0:
                time.sleep(0.5)  # the others read their message before it is cut off
            _exit(STATUS)


def reserve(count: int | None) -> list[int]:
    """Low descriptors for the connections of `count` processes.

    A dying process closes the lowest first. With process 0 dies what jax talks
    through, and jax aborts; whoever waits here is to hear of it earlier.
    """
    return sorted(
        (os.open(os.devnull, os.O_RDONLY) for _ in range(count or 64)), reverse=True
    )


def _close(descriptors):
    for descriptor in descriptors:
        os.close(descriptor)


def keep_alive(link: socket.socket) -> None:
    """Lets the kernel ask after a silent machine, and close the link to a lost one."""
    link.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
    for name, value in _KEEPALIVE.items():
        if hasattr(socket, name):
            link.setsockopt(socket.IPPROTO_TCP, getattr(socket, name), value)


def _thread(target, *arguments):
    threading.Thread(target=target, args=arguments, daemon=True).start()


def _exit(status) -> NoReturn:
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(status)
