"""A process that ends is told by the others, by its number, and with a status."""

import pytest

from jaxadv import peers
from tests import processes

ENDS = """
import os
import signal
import sys
import time

import numpy as np
from jax.experimental import multihost_utils

from jaxadv import parallel

address, process, victim, how = sys.argv[1:]
parallel.initialize(True, address, 2, int(process))
for turn in range(10**9):
    multihost_utils.process_allgather(np.ones(9))
    if turn == 3 and process == victim:
        if how == "killed":
            os.kill(os.getpid(), signal.SIGKILL)
        if how == "fails":
            sys.exit(parallel.leave(2))
        if how == "stops":
            sys.exit(parallel.leave(75))
        if how == "raises":
            raise KeyError("a fault")
    if turn == 20 and how == "done":
        # The one that ends first has said that all is well.
        time.sleep(2.0 * (process == "1"))
        sys.exit(parallel.leave(0))
"""


def outcomes(victim, how):
    with processes.started(ENDS, str(victim), how) as both:
        found = processes.ended(both)
    return found[victim], found[1 - victim]


@pytest.mark.parametrize(
    "victim, how, status, told",
    [
        (0, "killed", -9, "is lost (killed?)"),
        (1, "killed", -9, "is lost (killed?)"),
        (1, "fails", 2, "has failed, see its output"),
        (1, "stops", 75, "was asked to stop (SIGTERM)"),
        (1, "raises", 1, "has failed, see its output"),
    ],
)
def test_the_other_process_names_it_and_ends(victim, how, status, told):
    (own, _, error), (others, _, line) = outcomes(victim, how)
    assert (own, others) == (status, peers.STATUS), error + line
    assert ("KeyError" in error) == (how == "raises")
    last = line.splitlines()[-1]
    assert last.startswith(f"error: process {victim} of 2 {told}; the same command")
    # Process 0 is what jax itself talks through: its C++ may have begun to complain.
    assert victim == 0 or "Traceback" not in line and "***" not in line, line


def test_processes_end_well_at_different_times():
    assert [(status, error) for status, _, error in outcomes(0, "done")] == [
        (0, "")
    ] * 2


ASKED = """
import os
import signal
import sys
import time

from jaxadv import parallel, preemption

address, process, victim = sys.argv[1:]
parallel.initialize(True, address, 2, int(process))
while not (parallel._peers._links or preemption.asked()):  # the other may be gone
    time.sleep(0.01)
with parallel.heeded(together=False):
    if process == victim:
        os.kill(os.getpid(), signal.SIGTERM)
    while not preemption.asked():
        time.sleep(0.01)
sys.exit(parallel.leave(75))
"""


@pytest.mark.parametrize("victim", [0, 1])
def test_all_processes_are_asked_when_one_is(victim):
    with processes.started(ASKED, str(victim)) as both:
        for status, _, error in processes.ended(both):
            assert status == peers.STATUS, error
            assert "error" not in error
