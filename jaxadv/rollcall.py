"""The processes of a run meet before jax connects them, so that a missing one is named.

jax waits for all at the coordinator's address, and after its limit aborts without a
word about who is not there. Here process 0 listens at that address first; the others
call their number and wait for its word. When all have called, the address is jax's.
"""

import contextlib
import os
import re
import socket
import time

from jaxadv import peers

_TOLD = 5.0, 30.0  # seconds until process 0 says whom it waits for, and between
_LINE = 2.0  # seconds in which who connects says its number
_PAUSE = 0.2  # seconds between two tries to reach process 0
_NAMED = 8  # numbers that a message lists


class Absent(Exception):
    """The processes of a run have not met; the message says why, and who is missing."""


def meet(address: str, count: int, process: int, seconds: float) -> None:
    """Returns when all processes of a run have called this with their own number.

    Args:
      address: host:port of process 0.
      count: of all processes.
      process: this one's number.
      seconds: how long process 0 waits for the others, and they for process 0.

    Raises:
      Absent: not all have come, a number has come twice, or another count.
      ValueError: the address is not host:port.
    """
    host, _, port = address.rpartition(":")
    if not host or not port.isdecimal():
        raise ValueError(f"the coordinator {address!r} is not host:port")
    if process:
        _called(host.strip("[]"), int(port), count, process, seconds)
    else:
        _Call(address, int(port), count, seconds).all()


class _Call:
    """What process 0 does."""

    def __init__(self, address: str, port: int, count: int, seconds: float):
        self._address, self._count, self._seconds = address, count, seconds
        self._links: dict[int, socket.socket] = {}
        self._open = contextlib.ExitStack()
        self._server = _listening(port)

    def all(self):
        start = time.monotonic()
        told = start + _TOLD[0]
        with self._server, self._open:
            while missing := self._missing():
                now = time.monotonic()
                if now > start + self._seconds:
                    self._give_up(missing)
                if now > told:
                    told = now + _TOLD[1]
                    who = numbers(missing, self._count)
                    print(f"waiting for {who} at {self._address}", flush=True)
                self._server.settimeout(min(1.0, max(start + self._seconds - now, 0.1)))
                with contextlib.suppress(TimeoutError):
                    self._welcome(self._server.accept()[0])
            self._let_go()

    def _missing(self):
        """The numbers of those who have not come, or are gone again."""
        self._links = {k: link for k, link in self._links.items() if _alive(link)}
        return sorted(set(range(1, self._count)) - set(self._links))

    def _welcome(self, link):
        self._open.enter_context(link)
        link.settimeout(_LINE)
        match = re.fullmatch(r"jaxadv (\d+) of (\d+)", _line(link))
        if match is None:  # a stranger
            return link.close()
        process, count = map(int, match.groups())
        if count != self._count:
            _say(link, f"count {self._count}")
        elif process in self._links and _alive(self._links[process]):
            _say(link, "twice")
        else:
            self._links[process] = link

    def _give_up(self, missing):
        for link in self._links.values():
            _say(link, "missing " + " ".join(map(str, missing)))
        raise _missed(missing, self._count, self._address, self._seconds)

    def _let_go(self):
        """The others close first: the port is free at once."""
        for link in self._links.values():
            _say(link, "go")
        for link in self._links.values():
            with contextlib.suppress(OSError):
                link.settimeout(_LINE)
                link.recv(1)


def _listening(port):
    """The socket of process 0, bound as jax will bind its own."""
    host, both = "", socket.has_dualstack_ipv6()
    if bind := os.environ.get("JAX_COORDINATOR_BIND_ADDRESS"):
        host, port = bind.rsplit(":", 1)
        host, both = host.strip("[]"), False
    family = socket.AF_INET6 if both or ":" in host else socket.AF_INET
    try:
        return socket.create_server(
            (host, int(port)), family=family, dualstack_ipv6=both
        )
    except OSError as error:
        raise Absent(
            f"process 0 cannot listen at port {port} ({error.strerror}); give another "
            "one with --coordinator"
        ) from None


def _called(host, port, count, process, seconds):
    """What the others do: they call until process 0 says a word."""
    deadline, heard = time.monotonic() + seconds, False
    address = f"{host}:{port}"
    while time.monotonic() < deadline:
        word = ""
        with contextlib.suppress(OSError):
            left = max(deadline - time.monotonic(), 0.1)
            with socket.create_connection((host, port), timeout=min(left, 5)) as link:
                _say(link, f"jaxadv {process} of {count}")
                peers.keep_alive(link)
                link.settimeout(None)  # process 0 has a limit, and tells it
                word = _line(link)
                heard = True
        word, *rest = word.split() or [""]
        if word == "go":
            return
        if word == "missing":
            raise _missed(list(map(int, rest)), count, address, None)
        if word == "twice":
            raise Absent(f"process {process} has been started twice")
        if word == "count":
            raise Absent(
                f"process {process} was started as one of {count}, process 0 as one of "
                f"{rest[0]}; give all the same --processes"
            )
        time.sleep(_PAUSE)
    how = (
        "has not called it: another run may be at work there"
        if heard
        else ("does not answer; start it, or mend --coordinator")
    )
    raise Absent(f"process 0 of {count} at {address} {how} ({seconds:g} s)")


def _missed(missing, count, address, seconds):
    within = "" if seconds is None else f" within {seconds:g} s"
    verb = "has" if len(missing) == 1 else "have"
    return Absent(
        f"{numbers(missing, count)} {verb} not met the others at {address}{within}; "
        "start all of them, or give them longer with --start_timeout"
    )


def numbers(processes: list[int], count: int) -> str:
    """Words for them: "process 1 of 4", "processes 1, 2 and 3 of 4"."""
    if len(processes) == 1:
        return f"process {processes[0]} of {count}"
    named, more = processes[:_NAMED], len(processes) - _NAMED
    last = f"{more} more" if more > 0 else str(named.pop())
    return f"processes {', '.join(map(str, named))} and {last} of {count}"


def _alive(link):
    """Whether the other end has not been closed; it has nothing more to say."""
    link.setblocking(False)
    try:
        return bool(link.recv(1))
    except BlockingIOError:
        return True
    except OSError:
        return False
    finally:
        link.settimeout(_LINE)


def _say(link, text):
    with contextlib.suppress(OSError):
        link.sendall(f"{text}\n".encode())


def _line(link):
    """What is said up to the end of a line; "" where the link is closed or silent."""
    try:
        with link.makefile(errors="replace") as lines:
            return lines.readline(4096).strip()
    except OSError:
        return ""
