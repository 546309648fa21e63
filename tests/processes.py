"""The processes of one run, for tests."""

import contextlib
import os
import socket
import subprocess
import sys

from tests.paths import ROOT


def address() -> str:
    """A free `host:port` of this machine."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return f"127.0.0.1:{probe.getsockname()[1]}"


@contextlib.contextmanager
def started(script: str, *arguments: str, count: int = 2):
    """Processes that run `script` with an address, their number and `arguments`."""
    where = address()
    with contextlib.ExitStack() as stack:
        processes = []
        for i in range(count):
            process = subprocess.Popen(
                [sys.executable, "-c", script, where, str(i), *arguments],
                cwd=ROOT,
                env={**os.environ, "JAX_PLATFORMS": "cpu"},
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                text=True,
            )
            stack.enter_context(process)
            stack.callback(process.kill)
            processes.append(process)
        yield processes


def ended(processes, seconds: float = 60) -> list[tuple[int, str, str]]:
    """(status, stdout, stderr) of each process when it has ended."""
    texts = [process.communicate(timeout=seconds) for process in processes]
    return [(p.returncode, *t) for p, t in zip(processes, texts, strict=True)]
