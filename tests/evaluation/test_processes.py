"""An evaluation of several processes that is killed, and resumed by one."""

from pathlib import Path

import numpy as np
import pytest

from jaxadv import peers
from tests import processes
from tests.evaluation import test_evaluation as whole

# Each process journals every batch; one kills itself when it has written some.
SUITE = """
import os, signal, sys
import jax
jax.config.update("jax_num_cpu_devices", 1)
from jaxadv import parallel

address, number, count, folder, after = sys.argv[1:]
parallel.initialize(True, address, int(count), int(number))
from jaxadv.craft import journal
from tests.evaluation import test_evaluation as whole

write = journal.Journal.write
attacked = 0

def counted(self, ids, rows):
    global attacked
    write(self, ids, rows)
    self.flush()
    attacked += len(ids)
    if number == "1" and attacked >= int(after) > 0:
        os.kill(os.getpid(), signal.SIGKILL)

journal.Journal.write = counted
whole.run(folder)
sys.exit(parallel.leave(0))
"""


@pytest.fixture(scope="module")
def straight(tmp_path_factory):
    """The table of one process that nothing disturbed."""
    return whole.run(tmp_path_factory.mktemp("straight")).table


def finished(folder: Path) -> dict[str, set[int]]:
    """Attack -> the ids of its images in the journal; none is there twice."""
    found: dict[str, list[int]] = {}
    for path in sorted(folder.glob("journal/*/*/*.npz")):
        with np.load(path) as shard:
            found.setdefault(path.parts[-3], []).extend(shard["ids"].tolist())
    assert all(len(set(ids)) == len(ids) for ids in found.values())
    return {label: set(ids) for label, ids in found.items()}


def count(folder):
    return sum(map(len, finished(folder).values()))


TOTAL = 2 * (len(whole.LABELS) - len(whole.WRONG))  # of both attacks


def test_one_process_goes_on_where_one_of_two_was_killed(straight, tmp_path):
    arguments = "2", str(tmp_path), "3"
    with processes.started(SUITE, *arguments) as both:
        (other, _, text), (killed, *_) = processes.ended(both, 300)
    assert (killed, other) == (-9, peers.STATUS), text
    before = count(tmp_path)
    shards = {path.name[:4] for path in tmp_path.glob("journal/*/*/*.npz")}
    assert shards == {"000-", "001-"} and 3 <= before < TOTAL
    found = whole.run(tmp_path)
    whole.same(found.table, straight)
    assert sum(found.timings[label].resumed for label in ("pgd", "noise")) == before
    assert count(tmp_path) == TOTAL
