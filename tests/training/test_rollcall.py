"""Who has not come to the start of a run is named."""

import contextlib
import socket
import threading

import pytest

from jaxadv import peers, rollcall
from tests import processes

LIMIT = 1.0


def told(where, count, process, seconds=LIMIT):
    """What one process is told, "" where it may go on."""
    try:
        rollcall.meet(where, count, process, seconds)
    except rollcall.Absent as error:
        return str(error)
    return ""


def together(*calls):
    """What each of the calls (address, count, process, seconds) was told."""
    found = [None] * len(calls)

    def run(place):
        found[place] = told(*calls[place])

    threads = [threading.Thread(target=run, args=(i,)) for i in range(len(calls))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)
    return found


def test_all_who_come_go_on_and_the_port_is_free():
    where = processes.address()
    for _ in range(2):
        assert together(*((where, 4, i, 20) for i in (3, 0, 2, 1))) == [""] * 4
        with socket.create_server(("", int(where.split(":")[1]))):
            pass


def test_the_missing_are_named_by_all():
    where = processes.address()
    first, other = together((where, 4, 0), (where, 4, 2, 20))
    assert first.startswith(
        f"processes 1 and 3 of 4 have not met the others at {where} within 1 s; start"
    )
    assert other.startswith("processes 1 and 3 of 4 have not met the others")


def test_without_process_0_the_others_say_so():
    where = processes.address()
    (text,) = together((where, 2, 1))
    assert text == (
        f"process 0 of 2 at {where} does not answer; start it, or mend --coordinator "
        "(1 s)"
    )


def test_a_number_twice_and_another_count():
    where = processes.address()
    found = together((where, 3, 0), (where, 3, 1, 20), (where, 3, 1, 20))
    assert "process 1 has been started twice" in found[1:]
    assert found[0].startswith("process 2 of 3 has not met")
    first, other = together((where, 2, 0), (where, 3, 1, 20))
    assert other == (
        "process 1 was started as one of 3, process 0 as one of 2; give all the same "
        "--processes"
    )
    assert first.startswith("process 1 of 2 has not met")


def calling(where, words):
    """A connection to process 0 that has said `words`."""
    host, port = where.split(":")
    while True:
        with contextlib.suppress(ConnectionRefusedError):
            link = socket.create_connection((host, int(port)), timeout=20)
            link.sendall(words)
            return link


def test_who_has_gone_again_is_missing_and_a_stranger_is_no_one():
    where = processes.address()
    found: list[str] = []
    thread = threading.Thread(target=lambda: found.append(told(where, 3, 0, 20)))
    thread.start()
    for words in (b"GET / HTTP/1.1\n", b"jaxadv 1 of 3\n"):
        calling(where, words).close()
    with calling(where, b"jaxadv 2 of 3\n") as other:
        other.settimeout(0.5)
        with pytest.raises(TimeoutError):
            other.recv(9)
        other.settimeout(20)
        with calling(where, b"jaxadv 1 of 3\n") as again:
            assert (other.recv(9), again.recv(9)) == (b"go\n", b"go\n")
    thread.join(30)
    assert found == [""]


def test_a_port_that_is_taken_and_no_address():
    with socket.create_server(("", 0)) as server:
        port = server.getsockname()[1]
        assert f"cannot listen at port {port}" in told(f"localhost:{port}", 2, 0)
    with pytest.raises(ValueError, match="'localhost' is not host:port"):
        rollcall.meet("localhost", 2, 0, 1)


def test_many_are_not_all_listed():
    words = rollcall.numbers(list(range(1, 100)), 100)
    assert words == "processes 1, 2, 3, 4, 5, 6, 7, 8 and 91 more of 100"


START = """
import sys

from jaxadv import parallel

address, process = sys.argv[1:]
parallel.initialize(True, address, 4, int(process), seconds=1.0)
"""


def test_a_command_ends_with_the_names():
    with processes.started(START, count=1) as started:
        ((status, _, error),) = processes.ended(started)
    assert status == peers.STATUS, error
    assert error.startswith("error: --distributed: processes 1, 2 and 3 of 4 have not")
